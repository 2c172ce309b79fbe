"""Sizes, variants, options and precision of the networks."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pim_jax.pim.model import (
    ModelConfig,
    Pim,
    param_shapes,
    position_weights,
    positions,
    pyramid,
)

SMALL = ModelConfig(num_scales=1, filters=(4, 3), z_dim=4, mixtures=3)
KEY = jax.random.key(0)


def images(size: tuple[int, int] = (12, 11)) -> jax.Array:
    return jax.random.uniform(jax.random.key(7), (2, 2, *size, 3))


@functools.partial(jax.jit, static_argnums=0)
def outputs(config: ModelConfig, params, x, y):
    return Pim(config).apply({"params": params}, x, y)


def random_params(config: ModelConfig):
    """Weights and biases from NumPy, whose draws need no compilation."""
    random = np.random.default_rng(0)

    def draw(leaf):
        scale = 0.1 if len(leaf.shape) == 1 else np.prod(leaf.shape[:-1]) ** -0.5
        return (scale * random.standard_normal(leaf.shape)).astype(np.float32)

    return jax.tree.map(draw, param_shapes(config))


@pytest.fixture(scope="module")
def small():
    params = random_params(SMALL)
    x, y = images()
    return params, x, y, outputs(SMALL, params, x, y)


def count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(("components", "marginal"), [(1, 1_200), (5, 22_640)])
def test_parameter_counts_of_the_published_models(components, marginal):
    config = ModelConfig(mixtures=components)
    params = param_shapes(config)
    assert count(params["frontend"]) == 8 * 214_595 == 1_716_760
    assert count(params["marginal_encoder"]) == marginal
    assert count(params["joint_encoder"]) == 2_480
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))


def test_parameters_of_the_paper():
    params = param_shapes(ModelConfig(variant="paper"))
    encoder = params["marginal_encoder"]["encoders_0"]
    assert encoder["base_0"]["kernel"].shape == (3, 100)
    assert encoder["base_1"]["kernel"].shape == (100, 100)
    assert encoder["mean_layer"]["kernel"].shape == (100, 100)
    assert encoder["logit_layer"]["bias"].shape == (10,)
    assert "base_2" in params["joint_encoder"]["encoders_0"]
    assert "base_3" not in params["joint_encoder"]["encoders_0"]


def test_shapes(small):
    _, x, _, (marginal_x, _, joint) = small
    sizes = [(6, 6), (12, 11), (12, 11), (12, 11)]
    assert SMALL.num_levels == len(marginal_x) == len(joint) == len(sizes)
    assert [level.shape[1:3] for level in pyramid(SMALL, x)] == sizes
    for mixture, mean, size in zip(marginal_x, joint, sizes, strict=True):
        assert mixture.logits.shape == (2, *size, 3)
        assert mixture.loc.shape == (2, *size, 3, 4)
        assert mean.shape == (2, *size, 4)


def test_methods_agree_with_the_whole(small):
    params, x, y, (marginal_x, marginal_y, _) = small
    variables = {"params": params}
    represent = jax.jit(lambda v, x: Pim(SMALL).apply(v, x, method=Pim.represent))
    for image, expected in ((x, marginal_x), (y, marginal_y)):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
            represent(variables, image),
            expected,
        )


def test_sign_of_the_means(small):
    _, _, _, (marginal, _, joint) = small
    # The published marginal means come out of a ReLU, the joint ones do not.
    assert min(float(q.loc.min()) for q in marginal) == 0
    assert min(float(mean.min()) for mean in joint) < 0
    config = dataclasses.replace(SMALL, variant="paper")
    params = random_params(config)
    marginal, _, _ = outputs(config, params, *images())
    assert min(float(q.loc.min()) for q in marginal) < 0
    assert marginal[0].loc.shape[-2:] == (3, 4)


def test_the_joint_encoder_is_not_symmetric(small):
    params, x, y, (_, _, joint) = small
    _, _, swapped = outputs(SMALL, params, y, x)
    assert float(jnp.abs(joint[0] - swapped[0]).max()) > 1e-3


def test_images_do_not_see_each_other(small):
    params, x, y, (marginal_x, _, joint) = small
    alone = outputs(SMALL, params, x[:1], y[:1])
    for found, expected in ((alone[0], marginal_x), (alone[2], joint)):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b[:1], atol=1e-5),
            found,
            expected,
        )


@pytest.mark.parametrize(
    ("options", "levels", "sizes"),
    [
        ({"frontend": "none"}, 1, [(30, 41)]),
        ({"frontend": "laplacian", "num_scales": 2}, 2, [(14, 20), (26, 37)]),
        ({"frontend": "laplacian", "padding": "valid", "num_scales": 2}, 2, None),
        ({"steerable_order": 0, "num_scales": 1}, 3, [(15, 21), (30, 41), (30, 41)]),
        ({"steerable_order": 3, "num_scales": 1}, 6, None),
        ({"mixtures": 1}, 4, None),
    ],
)
def test_options(options, levels, sizes):
    config = dataclasses.replace(SMALL, **options)
    x, y = images((30, 41))

    def run(key):
        return Pim(config).init_with_output(key, x, y)[0]

    marginal, _, joint = jax.eval_shape(run, KEY)
    assert len(marginal) == len(joint) == config.num_levels == levels
    if sizes:
        assert [mean.shape[1:3] for mean in joint] == sizes
    assert marginal[0].loc.shape[-2:] == (config.components, 4)


def test_bfloat16_is_close_and_ends_in_float32(small):
    params, x, y, full = small
    config = dataclasses.replace(SMALL, dtype="bfloat16")
    half = outputs(config, params, x, y)
    for a, b in zip(jax.tree.leaves(half), jax.tree.leaves(full), strict=True):
        assert a.dtype == jnp.float32
        scale = float(jnp.abs(b).max()) + 1e-3
        assert float(jnp.abs(a - b).max()) < 0.1 * scale
    leaves = jax.tree.leaves(param_shapes(config))
    assert all(leaf.dtype == jnp.float32 for leaf in leaves)


def test_components():
    assert ModelConfig().components == 5
    assert ModelConfig(variant="paper").components == 10
    assert ModelConfig(variant="paper", mixtures=2).components == 2


def test_a_configuration_is_a_key_and_comes_from_a_dictionary():
    options = {"filters": [8, 3], "mixtures": None, "padding": "valid"}
    config = ModelConfig.from_dict(options)
    assert config == ModelConfig(filters=(8, 3), padding="valid")
    assert hash(config) == hash(ModelConfig(filters=(8, 3), padding="valid"))
    assert ModelConfig.from_dict(dataclasses.asdict(config)) == config


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"frontend": "wavelet"}, "model.frontend must be one of .* found 'wavelet'"),
        ({"variant": "other"}, "model.variant"),
        ({"padding": "SAME"}, "model.padding"),
        ({"dtype": "float16"}, "model.dtype"),
        ({"steerable_order": 2}, "model.steerable_order must be one of .* found 2"),
        ({"num_scales": 0}, "at least 1, found .*num_scales=0"),
        ({"filters": (8, 0)}, "at least 1"),
        ({"mixtures": 0}, "at least 1"),
        ({"z_dim": -1}, "at least 1"),
        ({"filters": 8}, "model.filters must be a list, found 8"),
        ({"filters": (8, "3")}, "model.filters must have whole numbers, found '3'"),
        ({"z_dim": 1.5}, "model.z_dim must have whole numbers, found 1.5"),
        ({"padding": []}, "model.padding must be one of"),
        ({"mixture": 3}, r"unknown model options \['mixture'\]"),
    ],
)
def test_bad_options(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        ModelConfig.from_dict(options)


def test_positions_and_their_weights():
    levels = [
        jnp.arange(2 * h * w * 3.0).reshape(2, h, w, 3) for h, w in ((2, 1), (3, 4))
    ]
    flat = positions(levels)
    assert flat.shape == (2, 14, 3)
    np.testing.assert_array_equal(flat[:, :2], levels[0].reshape(2, 2, 3))
    weights = position_weights([2, 12])
    found = jnp.sum(flat * weights[None, :, None], axis=1)
    expected = sum(level.mean((1, 2)) for level in levels) / 2
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    repeated = positions(levels, [3, 1])
    np.testing.assert_array_equal(repeated[:, 2:4], repeated[:, :2])
    found = jnp.sum(repeated * position_weights([6, 12])[None, :, None], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
