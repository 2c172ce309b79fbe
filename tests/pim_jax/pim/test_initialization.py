"""Where training starts: reproducible, of one size at all levels, beyond the saddle."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pim_jax.data import frame_pairs, frame_runs
from pim_jax.evaluation.held_out import held_out_ixyz
from pim_jax.pim.initialization import CONTRAST, begin_from, init_params
from pim_jax.pim.model import ModelConfig, Pim, param_shapes, pyramid

KEY = jax.random.key(0)
FILTERS = (16, 16, 3)


def difference(a, b) -> float:
    return float(jnp.abs(a - b).max())


@pytest.mark.parametrize("variant", ["published", "paper"])
def test_a_function_of_the_key(variant):
    config = ModelConfig(frontend="none", filters=FILTERS, variant=variant)
    params = init_params(config, KEY)
    jax.tree.map(np.testing.assert_array_equal, params, init_params(config, KEY))
    jax.eval_shape(lambda: init_params(config, KEY))  # as restoring does
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype), params)
    assert shapes == jax.tree.map(lambda x: (x.shape, x.dtype), param_shapes(config))
    other = init_params(config, jax.random.key(1))
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(other), strict=True):
        assert a.ndim == 1 or difference(a, b) > 0.01
    # Every kernel has a draw of its own.
    joint = params["joint_encoder"]["encoders_0"]
    kernels = [joint[f"base_cond_mul_{i}"]["kernel"] for i in range(2)]
    assert difference(*kernels) > 0.01


@pytest.mark.parametrize("frontend", ["steerable", "laplacian", "none"])
def test_all_levels_are_heard(small_frames, frontend):
    """On natural frames the features of every level have about the size one."""
    config = ModelConfig(frontend=frontend, filters=FILTERS)
    runs = frame_runs.open_runs(small_frames, "validation")
    x, _ = frame_pairs.validation_pairs(runs, 8, crop=64)
    image = jnp.asarray(x, jnp.float32) / 255
    params = init_params(config, KEY)
    features = Pim(config).apply({"params": params}, image, method=Pim.features)
    for level, feature in zip(pyramid(config, image), features, strict=True):
        assert 0.1 < float(jnp.std(feature)) < 5
        assert float(jnp.std(level)) < 10 * CONTRAST


@pytest.mark.parametrize(
    ("variant", "mixtures"), [("published", 1), ("published", 5), ("paper", None)]
)
def test_the_bound_is_positive_before_training(small_frames, variant, mixtures):
    """Frames share something that the encoders already agree on."""
    config = ModelConfig(
        num_scales=1, filters=FILTERS, variant=variant, mixtures=mixtures
    )
    runs = frame_runs.open_runs(small_frames, "validation")
    x, y = frame_pairs.validation_pairs(runs, 16, crop=32)
    starts = [init_params(config, jax.random.key(seed)) for seed in range(3)]
    bounds = [np.mean(held_out_ixyz(p, config, x, y)["mean"]) for p in starts]
    assert min(bounds) > 0.05
    # Components are close to each other, but not the same.
    params = init_params(config, KEY)
    if config.components > 1:
        level = Pim(config).apply(
            {"params": params}, x[:2] / np.float32(255), method=Pim.represent
        )[0]
        apart = jnp.std(level.loc, axis=-2).mean() / jnp.std(level.loc)
        assert 0.01 < float(apart) < 0.5


def test_mixtures_begin_as_copies_of_one_gaussian():
    sizes = {"num_scales": 1, "filters": FILTERS}
    one, several = (ModelConfig(**sizes, mixtures=n) for n in (1, 3))
    trained = init_params(one, jax.random.key(1))
    fresh = init_params(several, jax.random.key(2))
    started = begin_from(fresh, trained, "PIM-1")
    jax.tree.map(
        np.testing.assert_array_equal,
        started["joint_encoder"],
        trained["joint_encoder"],
    )
    x = jnp.asarray(np.random.default_rng(0).random((2, 32, 32, 3), np.float32))
    whole, split = (
        Pim(config).apply({"params": params}, x, method=Pim.represent)
        for config, params in ((one, trained), (several, started))
    )
    for single, mixture in zip(whole, split, strict=True):
        assert mixture.loc.shape[-2] == 3
        apart = jnp.std(mixture.loc - single.loc, axis=(1, 2, 3)) / jnp.std(single.loc)
        assert 0.001 < float(apart.max()) < 0.3
    # From mixtures to one there is no such way: encoders of its own.
    back = begin_from(trained, fresh, "PIM-3")
    for name in ("marginal_encoder", "joint_encoder"):
        jax.tree.map(np.testing.assert_array_equal, back[name], trained[name])
