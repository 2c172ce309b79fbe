"""The schedule against its formula, the optimizer against Adam by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_task

from pim_jax.training import optimizer


def block(**changes):
    config = toy_task.get_config().optimizer
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
