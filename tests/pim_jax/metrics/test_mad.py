import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pim_jax.metrics import METRICS, mad
from pim_jax.ops import colour


def test_equals_pyiqa(golden_pairs):
    distance = jax.jit(mad.mad)
    for pair in golden_pairs.values():
        # The square parts that the golden values belong to.
        side = min(pair.reference.shape[1:3])
        a, b = (x[:, :side, :side] for x in (pair.reference, pair.distorted))
        grey = [colour.luma(x) for x in (a, b)]
        rounded = [jnp.round(255 * x) / 255 for x in grey]
        for name, images in (("mad", grey), ("mad-rounded", rounded)):
            value = distance(*images)
            np.testing.assert_allclose(value, pair.values[name], rtol=1e-4)


def test_statistics_of_blocks_keep_their_digits():
    """Also where the mean is a hundred times the deviation, which raw moments lose."""
    means = np.array([[[3]], [[300]]])
    maps = np.float32(means + np.random.default_rng(0).gamma(2, size=(2, 37, 30)))
    found = jax.jit(mad._block_moments)(maps)
    windows = np.lib.stride_tricks.sliding_window_view(
        maps.astype(np.float64), (16, 16), axis=(1, 2)
    )[:, ::4, ::4]
    mean = windows.mean((-1, -2))
    np.testing.assert_allclose(found.mean, mean, rtol=1e-5)
    shift = windows - mean[..., None, None]
    for order, moment in enumerate(found[1:], start=2):
        expected = np.mean(shift**order, (-1, -2))
        np.testing.assert_allclose(moment, expected, rtol=1e-4)


def test_what_is_masked_is_not_seen(golden_pairs):
    metric = METRICS["mad"]()
    a = 0.1 + 0.8 * golden_pairs["noise"].reference
    assert metric(a, a * 0.99) == 0
    assert metric(a, golden_pairs["noise"].distorted) > 1


def test_height_and_width_are_alike(golden_pairs):
    """Published code scrambles images that are not square."""
    metric = METRICS["mad"]()
    a, b = golden_pairs["jpeg"].reference, golden_pairs["jpeg"].distorted
    turned = metric(a.swapaxes(1, 2), b.swapaxes(1, 2))
    np.testing.assert_allclose(turned, metric(a, b), rtol=0.02)


def test_wrong_shapes_are_refused():
    a = jnp.zeros((1, 20, 20, 1))
    with pytest.raises(ValueError, match="one shape"):
        mad.mad(a, a[:, 1:])
    with pytest.raises(ValueError, match="at least 16x16 pixels, found 15x20"):
        mad.mad(a[:, :15], a[:, :15])
