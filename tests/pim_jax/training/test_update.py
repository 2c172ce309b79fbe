"""`gradient_update` on a loss whose gradient is known, and the collectives."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pim_jax.training import devices
from pim_jax.training.task import ema_decay_at, gradient_update, initial_state


def loss(params, batch, key, step):
    return jnp.mean(params["w"] * batch["x"]), {"step": step.astype(jnp.float32)}


def test_update_is_gradient_descent_with_an_average():
    sgd = optax.sgd(0.5)
    update = jax.jit(gradient_update(loss, sgd, ema_decay=0.9))
    state = initial_state({"w": jnp.zeros(())}, sgd)
    batch = {"x": jnp.array([1.0, 3.0])}  # gradient 2
    average = 0.0
    for step in range(4):
        state, scalars = update(state, batch, jax.random.key(0))
        w = -1.0 * (step + 1)
        decay = min(0.9, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * w
        assert int(state.step) == step + 1
        np.testing.assert_allclose(state.params["w"], w, rtol=1e-6)
        np.testing.assert_allclose(state.ema_params["w"], average, rtol=1e-6)
        np.testing.assert_allclose(scalars["gradient_norm"], 2.0, rtol=1e-6)
        assert scalars["step"] == step
        np.testing.assert_allclose(scalars["loss"], 2 * (w + 1), atol=1e-6)


def test_decay_reaches_its_limit_and_zero_means_none():
    steps = jnp.array([0, 90, 10**6])
    found = [float(ema_decay_at(step, 0.999)) for step in steps]
    np.testing.assert_allclose(found, [0.1, 0.91, 0.999], rtol=1e-6)
    assert float(ema_decay_at(jnp.int32(5), 0.0)) == 0.0


def test_local_part_undoes_gather():
    x = jnp.arange(24.0).reshape(8, 3, 1)

    def both(rows):
        everyone = devices.gather(rows, devices.AXIS)
        return everyone, devices.local_part(everyone, devices.AXIS)

    everyone, part = jax.pmap(both, axis_name=devices.AXIS)(x)
    np.testing.assert_array_equal(everyone[5], x.reshape(24, 1))
    np.testing.assert_array_equal(part, x)
    assert devices.gather(x) is x
    assert devices.local_part(x) is x


def test_rows_must_divide():
    def part(rows):
        return devices.local_part(jnp.zeros((9, 1)), devices.AXIS) + rows

    with pytest.raises(ValueError, match="9 rows do not divide over 8 devices"):
        jax.pmap(part, axis_name=devices.AXIS)(jnp.zeros((8, 1, 1)))


def test_batches_with_different_rows():
    placement = devices.place("jit", 1)
    with pytest.raises(ValueError, match="differ in their leading axis"):
        placement.put_batch({"x": np.zeros((4, 2)), "y": np.zeros((3, 2))})


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_the_donated_state_is_not_the_host_state(mode):
    host = {"w": np.arange(1024.0, dtype=np.float32), "step": np.int32(0)}
    placement = devices.place(mode, 2)
    own = placement.put_state(host)
    doubled = jax.jit(lambda w: w * 2, donate_argnums=0)(placement.local(own)["w"])
    np.testing.assert_array_equal(host["w"], np.arange(1024.0))
    np.testing.assert_array_equal(doubled, 2 * np.arange(1024.0))
