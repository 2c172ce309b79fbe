"""The networks of the quadtree codec: order of decoding, layers, the prior of each rate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from codec_jax import blocks
from codec_jax.entropy import factorized
from codec_jax.entropy.factorized import Factorized
from codec_jax.latents import quadtree
from codec_jax.latents.quadtree import STEPS
from codec_jax.models.architectures import networks
from codec_jax.models.quadtree import QuadtreeConfig
from tests.codec_jax import small_codecs


@pytest.fixture(scope="module")
def params():
    return small_codecs.quadtree_params()


def test_each_latent_is_decoded_once_and_each_step_reaches_every_place():
    masks = [quadtree.step_mask((5, 6, 8), step) for step in range(STEPS)]
    np.testing.assert_array_equal(np.sum(masks, axis=0), 1)
    assert all(mask.any(-1).all() for mask in masks)


def test_space_to_depth_is_undone():
    x = jnp.arange(2 * 8 * 12 * 3, dtype=jnp.float32).reshape(2, 8, 12, 3)
    deep = blocks.space_to_depth(x, 4)
    np.testing.assert_array_equal(deep[1, 1, 2, :3], x[1, 4, 8])
    np.testing.assert_array_equal(blocks.depth_to_space(deep, 4), x)


def test_depthwise_equals_the_library_with_its_gradients():
    x = jax.random.normal(jax.random.key(1), (2, 5, 7, 3))
    kernel = jax.random.normal(jax.random.key(2), (3, 3, 3))

    def library(x, kernel):
        return lax.conv_general_dilated(
            x,
            kernel[:, :, None],
            (1, 1),
            ((1, 1), (1, 1)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=3,
            precision="highest",
        )

    weight = jax.random.normal(jax.random.key(3), x.shape)
    found, expected = (
        jax.value_and_grad(lambda x, k, f=f: jnp.sum(weight * f(x, k)), (0, 1))(
            x, kernel
        )
        for f in (blocks.depthwise, library)
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), found, expected
    )


def test_a_step_sees_earlier_steps_alone(params):
    """Means that a latent is decoded with do not change with it or what comes later."""
    model = networks(small_codecs.QUADTREE).latent_codec
    features = jax.random.normal(jax.random.key(4), (1, 6, 6, 16))

    @jax.jit
    def means(symbols):
        return model.apply(
            {"params": params},
            features,
            lambda means: symbols + means,
            method="refined",
        )[0]

    masks = np.stack([quadtree.step_mask((6, 6, 8), step) for step in range(STEPS)])
    symbols = jnp.round(4 * jax.random.normal(jax.random.key(5), (1, 6, 6, 8)))
    before = means(symbols)
    for step in range(STEPS):
        from_here = masks[step:].any(0)
        after = means(jnp.where(from_here[None], symbols + 3, symbols))
        known = masks[: step + 1].any(0)
        np.testing.assert_array_equal(
            np.asarray(before)[0][known], np.asarray(after)[0][known]
        )
        assert step == STEPS - 1 or not np.allclose(before, after)


def test_a_prior_that_is_scaled_and_shifted_has_weights_of_its_own():
    prior = Factorized(3)
    x = jnp.asarray(np.linspace(-6, 6, 39).reshape(13, 3), jnp.float32)
    params = prior.init(jax.random.key(0), x)["params"]
    scale, shift = jnp.asarray([0.5, 1.0, 3.0]), jnp.asarray([0.3, 0.0, -1.0])
    expected = prior.apply(
        {"params": params}, x, scale[None], shift[None], method=Factorized.scaled
    )
    folded = factorized.folded(params, scale, shift)
    np.testing.assert_allclose(prior.apply({"params": folded}, x), expected, atol=1e-5)


@pytest.mark.slow
def test_gradients_reach_every_parameter(params):
    images = jax.random.uniform(jax.random.key(6), (2, 64, 64, 3))

    def loss(params):
        passed = networks(small_codecs.QUADTREE).apply(
            {"params": params},
            images,
            jnp.asarray([0.4, 1.7]),
            jax.random.split(jax.random.key(7), 2),
        )
        return jnp.mean(passed.bits) / 4096 + 100 * jnp.mean(
            (passed.images - images) ** 2
        )

    gradient = jax.jit(jax.grad(loss))(params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.isfinite(leaf).all(), path
        assert np.abs(leaf).max() > 0, path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latents": 6}, "multiple of 4"),
        ({"features": 0}, "features"),
        ({"lambdas": (0.1,)}, "lambdas"),
        ({"lambdas": (0.1, 0.01)}, "ascending"),
    ],
)
def test_sizes_that_no_network_has_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        QuadtreeConfig(**changes)
