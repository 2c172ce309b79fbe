"""DISTS: equal to its published code, on a random VGG-16."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
from golden import lpips_dists

import pim_jax
from pim_jax.features import backbones
from pim_jax.metrics import METRICS, dists

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def metric():
    return dists.metric(backbones.random_params("vgg16", lpips_dists.SEED))


@pytest.fixture(scope="module")
def value_and_gradient():
    def value(y, x, metric):
        distance = metric(x, y)
        return distance.sum(), distance

    return jax.jit(jax.grad(value, has_aux=True))


def test_equals_the_published_code(golden_folder, metric, value_and_gradient):
    with np.load(golden_folder / "lpips_dists.npz") as golden:
        expected = {k[6:]: golden[k] for k in golden if k.startswith("dists/")}
    x, y = map(jnp.asarray, lpips_dists.images())
    gradient, distance = value_and_gradient(y, x, metric)
    np.testing.assert_allclose(distance, expected["value"], 0, TOLERANCE)
    assert np.abs(expected["gradient"]).max() > 1e-3
    np.testing.assert_allclose(
        gradient[:, ::3, ::3], expected["gradient"], 0, TOLERANCE
    )


@pytest.mark.skipif("PIM_JAX_BACKBONES" not in os.environ, reason="needs its file")
def test_equals_the_published_code_on_the_trained_backbone(golden_folder):
    """PIM_JAX_BACKBONES as in test_lpips.py."""
    metric = pim_jax.load("dists", Path(os.environ["PIM_JAX_BACKBONES"], "vgg16.ckpt"))
    with np.load(golden_folder / "lpips_dists_trained.npz") as golden:
        expected = golden["dists/value"]
    found = metric(*lpips_dists.photographs())
    np.testing.assert_allclose(found, expected, TOLERANCE, TOLERANCE)


def test_identical_images_are_at_distance_zero(metric, value_and_gradient):
    x, _ = map(jnp.asarray, lpips_dists.images())
    for image in (x, jnp.full_like(x, 0.5), jnp.zeros_like(x), jnp.ones_like(x)):
        gradient, distance = value_and_gradient(image, image, metric)
        # The two halves of a batch may be summed in another order.
        np.testing.assert_allclose(distance, 0, atol=1e-14)
        assert np.isfinite(gradient).all()
    # And a change in the last bit is seen as small, not as noise.
    assert 0 <= value_and_gradient(x * (1 - 1e-6), x, metric)[1].max() < 1e-5


def test_about(metric):
    about = METRICS["dists"]
    assert about.backbone == "vgg16"
    assert (metric.version, metric.minimum_size) == (about.version, about.minimum_size)


def test_weights_that_do_not_fit():
    with pytest.raises(ValueError, match=r"alpha must be >= 0 and of shape \(1475,\)"):
        dists.metric({}, alpha=np.ones(3))
    with pytest.raises(ValueError, match="beta must be >= 0"):
        dists.metric({}, beta=-np.ones(1475))


def test_resized_is_pillows():
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (300, 411, 3), np.uint8)
    found = dists.resized(jnp.asarray(pixels[None] / 255, jnp.float32))
    assert found.shape == (1, 256, 350, 3)
    expected = PIL.Image.fromarray(pixels).resize((350, 256), PIL.Image.BILINEAR)
    # Pillow rounds to 8 bits after each axis.
    np.testing.assert_allclose(found[0] * 255, expected, atol=1.01)
    small = jnp.zeros((1, 256, 300, 3))
    assert dists.resized(small) is small
