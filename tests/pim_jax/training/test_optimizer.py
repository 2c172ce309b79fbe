"""The schedule against its formula, the optimizer against Adam by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_task

from pim_jax.training import optimizer


def block(**changes):
    config = toy_task.get_config().optimizer
    with config.unlocked():
        config.update({"learning_rate": 0.4, "warmup_steps": 3, **changes})
    return config


def test_warmup_then_cosine():
    schedule = optimizer.learning_rate_schedule(block(final_fraction=0.1), steps=13)
    found = [float(schedule(step)) for step in range(15)]
    angle = np.pi * np.minimum(np.arange(12), 10) / 10
    expected = [0.1, 0.2, 0.3, *(0.4 * (0.1 + 0.9 * (1 + np.cos(angle)) / 2))]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_constant_without_warmup():
    config = block(schedule="constant", warmup_steps=0)
    schedule = optimizer.learning_rate_schedule(config, steps=5)
    assert [float(schedule(step)) for step in (0, 4, 9)] == pytest.approx([0.4] * 3)


def test_first_step_is_adams_with_decay_of_kernels_only():
    config = block(warmup_steps=0, weight_decay=0.5, clip_norm=0.0)
    make = optimizer.make(config, 10)
    params = {"kernel": jnp.full((2, 2), 3.0), "bias": jnp.full((2,), 3.0)}
    grads = jax.tree.map(jnp.ones_like, params)
    updates, _ = make.update(grads, make.init(params), params)
    # Adam's first step is the sign of the gradient times the rate.
    np.testing.assert_allclose(updates["bias"], -0.4, rtol=1e-5)
    np.testing.assert_allclose(updates["kernel"], -0.4 * (1 + 0.5 * 3), rtol=1e-5)


def test_clipping_bounds_what_reaches_adam():
    params = jnp.zeros((4,))
    grads = jnp.array([3.0, 4.0, 0.0, 0.0])  # norm 5
    moments = []
    for clip_norm in (1.0, 0.0):
        make = optimizer.make(block(clip_norm=clip_norm), 10)
        _, state = make.update(grads, make.init(params), params)
        moments.append(next(leaf for leaf in jax.tree.leaves(state) if leaf.ndim == 1))
    np.testing.assert_allclose(moments[0], 0.1 * grads / 5, rtol=1e-6)
    np.testing.assert_allclose(moments[1], 0.1 * grads, rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"schedule": "linear"}, "schedule is 'linear', expected 'cosine'"),
        ({"warmup_steps": 10}, "warmup_steps is 10, expected .* steps = 10"),
        ({"final_fraction": 2.0}, "final_fraction is 2.0"),
        ({"clip_norm": -1.0}, "clip_norm is -1.0, expected >= 0"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0"),
    ],
)
def test_bad_settings(changes, text):
    with pytest.raises(ValueError, match=text):
        optimizer.make(block(**changes), steps=10)


KERNELS = {
    "conv": {"kernel": jnp.full((3, 3, 4, 6), 2.0), "bias": jnp.full((6,), 2.0)},
    "gamma": jnp.full((6, 6), 2.0),
}


def muon_step(grads, weight_decay=0.0):
    config = block(
        name="muon", warmup_steps=0, clip_norm=0.0, weight_decay=weight_decay
    )
    make = optimizer.make(config, 10)
    return make.update(grads, make.init(KERNELS), KERNELS)[0]


def random_like(params):
    random = np.random.default_rng(0)
    return jax.tree.map(
        lambda x: jnp.asarray(random.normal(size=x.shape), x.dtype), params
    )


def test_muon_moves_kernels_by_orthogonal_matrices():
    """All singular values alike, and the size of Adam's steps."""
    update = np.asarray(muon_step(random_like(KERNELS))["conv"]["kernel"]) / 0.4
    matrix = update.reshape(3 * 3 * 4, 6)
    values = np.linalg.svd(matrix, compute_uv=False)
    # Newton and Schulz' iteration leaves them between about 0.7 and 1.2 of one.
    assert values.max() / values.min() < 1.8
    expected = 0.2  # root mean square of Adam's, Liu et al. 2025
    assert np.sqrt(np.mean(matrix**2)) == pytest.approx(expected, rel=0.25)


def test_muon_goes_downhill_and_forgets_the_size_of_gradients():
    grads = random_like(KERNELS)
    small = muon_step(grads)
    large = muon_step(jax.tree.map(lambda g: 1000 * g, grads))
    for a, b, g in zip(*map(jax.tree.leaves, (small, large, grads)), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-2, atol=1e-4)
        assert jnp.sum(a * g) < 0


def test_muon_moves_all_else_as_adam_and_decays_kernels_only():
    """The first step of Adam, with Nesterov's momentum, has the gradient's sign."""
    grads = random_like(KERNELS)
    plain, decayed = muon_step(grads), muon_step(grads, weight_decay=0.5)
    for found in (plain, decayed):
        pairs = (
            (found["conv"]["bias"], grads["conv"]["bias"]),
            (found["gamma"], grads["gamma"]),
        )
        for step, gradient in pairs:
            np.testing.assert_array_equal(np.sign(step), -np.sign(gradient))
            np.testing.assert_allclose(np.abs(step), np.abs(step).mean(), rtol=1e-4)
    less = plain["conv"]["kernel"] - decayed["conv"]["kernel"]
    np.testing.assert_allclose(less, 0.4 * 0.5 * 2.0, rtol=1e-4)


def test_an_unknown_name():
    with pytest.raises(ValueError, match="name is 'sgd', expected 'adam' or 'muon'"):
        optimizer.make(block(name="sgd"), steps=10)
