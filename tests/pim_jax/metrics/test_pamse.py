import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import convolve2d

from pim_jax.metrics import METRICS, pamse


def test_equals_the_published_procedure(golden_pairs):
    """The authors' few lines, written again with SciPy in double precision."""
    offset = np.arange(-3, 4)
    window = np.exp(-(offset[:, None] ** 2 + offset**2) / (2 * 0.8**2))
    window /= window.sum()
    for pair in golden_pairs.values():
        error = np.float64(pair.reference - pair.distorted)[0] @ [0.299, 0.587, 0.114]
        expected = np.mean(convolve2d(error, window, "valid") ** 2)
        value = METRICS["pamse"]()(pair.reference, pair.distorted)
        np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_a_constant_error_stays_and_fine_noise_is_forgiven():
    a = jnp.full((1, 20, 30, 3), 0.5)
    np.testing.assert_allclose(METRICS["pamse"]()(a, a + 0.25), 0.0625, rtol=1e-5)
    i, j = np.indices((20, 30))
    board = 0.25 * (-1.0) ** (i + j)[None, ..., None]
    fine, squared = (METRICS[k]()(a, a + board)[0] for k in ("pamse", "mse"))
    assert fine < 0.01 * squared


def test_wrong_shapes_are_refused():
    a = jnp.zeros((1, 20, 20, 1))
    with pytest.raises(ValueError, match="one shape"):
        pamse.pamse(a, a[:, 1:])
    with pytest.raises(ValueError, match="at least 7x7 pixels, found 6x20"):
        pamse.pamse(a[:, :6], a[:, :6])
