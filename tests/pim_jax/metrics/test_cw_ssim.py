import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pim_jax.metrics import METRICS, cw_ssim
from pim_jax.ops import colour


def test_equals_pyiqa(golden_pairs):
    similarity = jax.jit(cw_ssim.cw_ssim)
    for pair in golden_pairs.values():
        a, b = colour.luma(pair.reference), colour.luma(pair.distorted)
        value = similarity(a, b)
        np.testing.assert_allclose(value, pair.values["cw-ssim"], atol=1e-5)
        # pyiqa does this by itself if it is given colour.
        a, b = jnp.round(255 * a) / 255, jnp.round(255 * b) / 255
        value = similarity(a, b)
        np.testing.assert_allclose(value, pair.values["cw-ssim-rounded"], atol=1e-5)
        value = METRICS["cw-ssim"]()(pair.reference, pair.distorted)
        np.testing.assert_allclose(1 - value, pair.values["cw-ssim"], atol=1e-5)


def test_small_shifts_are_forgiven(golden_pairs):
    a = jnp.asarray(golden_pairs["jpeg"].reference)
    x, y = a[:, :90, :120], a[:, 1:91, 1:121]
    shifted, ordinary = (METRICS[k]()(x, y)[0] for k in ("cw-ssim", "ssim-luma"))
    assert shifted < 0.02 < 0.2 < ordinary


def test_brightness_and_negatives_are_not_seen(golden_pairs):
    metric = METRICS["cw-ssim"]()
    a = 0.8 * jnp.asarray(golden_pairs["jpeg"].reference)
    np.testing.assert_allclose(metric(a, a + 0.2), 0, atol=1e-5)
    np.testing.assert_allclose(metric(a, 1 - a), 0, atol=1e-5)


def test_images_without_structure_are_equal():
    metric = METRICS["cw-ssim"]()
    dark, light = jnp.full((1, 64, 70, 3), 0.2), jnp.full((1, 64, 70, 3), 0.7)
    np.testing.assert_allclose(metric(dark, light), 0, atol=1e-3)


def test_wrong_shapes_are_refused():
    a = jnp.zeros((1, 70, 80, 1))
    with pytest.raises(ValueError, match="one shape"):
        cw_ssim.cw_ssim(a, a[:, 1:])
    with pytest.raises(ValueError, match="at least 64x64 pixels, found 63x80"):
        cw_ssim.cw_ssim(a[:, :63], a[:, :63])
