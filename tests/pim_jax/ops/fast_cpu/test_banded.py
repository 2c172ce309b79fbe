"""Banded matrices against direct correlation in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate2d

from pim_jax.ops.fast_cpu import banded

TAPS = (0.1, 0.5, -0.3, 0.2, 0.15)


@pytest.mark.parametrize("mode", ["zero", "reflect", "symmetric", "edge"])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_rows_are_windows_of_the_padded_axis(mode, stride):
    signal = np.random.default_rng(0).normal(size=23)
    padded = np.pad(signal, 4, mode={"zero": "constant"}.get(mode, mode))
    expected = np.correlate(padded, TAPS, "valid")[::stride]
    matrix = banded.correlation(23, TAPS, stride, padding=4, mode=mode)
    np.testing.assert_allclose(matrix @ signal, expected, atol=1e-6)


def test_both_axes_equal_a_correlation_in_two_dimensions():
    # Larger than the blocks that a product is made of.
    image = np.random.default_rng(1).normal(size=(2, 300, 141, 2))
    window = np.outer(TAPS, TAPS)
    value = jax.jit(lambda x: banded.valid(x, TAPS, stride=2))(jnp.float32(image))
    for n, c in np.ndindex(2, 2):
        expected = correlate2d(image[n, ..., c], window, "valid")[::2, ::2]
        np.testing.assert_allclose(value[n, ..., c], expected, atol=1e-5)


def test_the_gaussian_is_symmetric_and_sums_to_one():
    weights = np.array(banded.gaussian(11, 1.5))
    np.testing.assert_allclose(weights.sum(), 1, rtol=1e-12)
    np.testing.assert_array_equal(weights, weights[::-1])
    np.testing.assert_allclose(weights[6] / weights[5], np.exp(-0.5 / 1.5**2))


def test_matrices_are_shared_and_cannot_be_changed():
    matrix = banded.correlation(23, TAPS)
    assert banded.correlation(23, TAPS) is matrix
    with pytest.raises(ValueError, match="read-only"):
        matrix[0, 0] = 1


def test_a_window_larger_than_the_axis_is_refused():
    with pytest.raises(ValueError, match="window of 5 samples needs as many, found 4"):
        banded.correlation(4, TAPS)
