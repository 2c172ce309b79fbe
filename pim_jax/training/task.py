"""The contract between a task and the loop, and the usual way to build an `update`.

A task tells the loop how to begin, how to take one step, where batches come from and
how to judge a state. The loop owns devices, compilation, checkpoints and reports.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

Params = Any  # a pytree of float arrays
Batch = Mapping[str, Any]
Scalars = dict[str, Any]
Loss = Callable[[Params, Batch, jax.Array, jax.Array], tuple[jax.Array, Scalars]]


class TrainState(flax.struct.PyTreeNode):
    """All that changes during training; every leaf is a plain array.

    Attributes:
      step: number of updates done so far, int32 scalar. (JAX makes such trees of other
        things too, shapes for example.)
      params: what the optimizer moves.
      ema_params: exponential moving average of `params`, what evaluation uses.
      opt_state: the optimizer's own state.
    """

    step: Any
    params: Params
    ema_params: Params
    opt_state: optax.OptState


Update = Callable[[Any, Batch, jax.Array], tuple[Any, Scalars]]
Batches = Callable[[int, int, int], Iterator[dict[str, np.ndarray]]]


class Task(NamedTuple):
    """What the loop needs to know of a task.

    A task may bring its own state instead of `TrainState` (for example for alternating
    updates): a Flax PyTreeNode with an int32 scalar `step` that counts updates, and
    `ema_params` if its checkpoints are to be read by `checkpoint.read_parameters`.

    Attributes:
      init: key -> state. Called outside jit: a program that draws every array of a large
        model takes minutes to compile.
      update: (state, batch, key) -> (state, scalars). Pure, compiled by the loop,
        raises `state.step` by one. `scalars` are float scalars, 'loss' among them.
        Under jit, `batch` is the global batch; under pmap it is one device's share, in
        an axis named `devices.AXIS`, and every device gets the same key.
      batches: (process_index, process_count, start_step) -> iterator of dictionaries of
        NumPy arrays, this process's share of the global batch along the leading axis.
        The first item belongs to update number `start_step` (counted from 0). An array
        must not be written to again: on CPU the device may share its memory.
      evaluations: name -> f(state) -> float scalars. Called outside jit on every
        process with a state that lies on one local device; it must not keep the state.
      pictures: name -> f(state) -> uint8 (h, w, 3), for TensorBoard and the report.
        Called on process 0 only.
      follows_length: whether `update` depends on config.steps, for example by a learning
        rate that falls up to there: then another `steps` is another run, not a longer
        one.
    """

    init: Callable[[jax.Array], Any]
    update: Update
    batches: Batches
    evaluations: Mapping[str, Callable[[Any], Mapping[str, float]]] = {}
    pictures: Mapping[str, Callable[[Any], np.ndarray]] = {}
    follows_length: bool = True


def initial_state(
    params: Params, optimizer: optax.GradientTransformation
) -> TrainState:
    """The state before the first update; the average starts at `params`."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        ema_params=params,
        opt_state=optimizer.init(params),
    )


def check_ema_decay(decay: float) -> None:
    """Raises ValueError for a decay outside [0, 1)."""
    if not 0.0 <= decay < 1.0:
        raise ValueError(f"ema_decay is {decay}, expected 0 <= ema_decay < 1")


def ema_decay_at(step: jax.Array, decay: float) -> jax.Array:
    """The decay after update number t = `step`, from 0: min(decay, (1 + t) / (10 + t)).

    The ramp keeps the random start out of the average of a short run; it is the one of
    `tf.train.ExponentialMovingAverage` with `num_updates`. decay = 0 gives the
    parameters themselves.
    """
    t = step.astype(jnp.float32)
    return jnp.minimum(jnp.float32(decay), (1.0 + t) / (10.0 + t))


def _average(average: Params, params: Params, decay: jax.Array) -> Params:
    def move(old: jax.Array, new: jax.Array) -> jax.Array:
        return (decay * old + (1.0 - decay) * new).astype(old.dtype)

    return jax.tree.map(move, average, params)


def _global_norm(tree: Params) -> jax.Array:
    # Optax renamed its own between the versions that we support.
    return jnp.sqrt(sum(jnp.sum(jnp.square(x)) for x in jax.tree.leaves(tree)))


def gradient_update(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    ema_decay: float,
    axis_name: str | None = None,
) -> Update:
    """Builds `update` for an ordinary task: one loss, one optimizer, one average.

    Args:
      loss: (params, batch, key, step) -> (scalar, scalars).
      optimizer: see `optimizer.make`.
      ema_decay: decay of the average of the parameters, in [0, 1).
      axis_name: the pmap axis, or None under jit. With an axis, gradients and scalars
        are averaged over it. This is right for a loss that gathers over the axis, too:
        each device's gradient is then that of the sum of all devices' losses.

    Returns:
      `update` of `Task`. To the scalars of the loss it adds 'loss' and 'gradient_norm'
      (global L2 norm before clipping).

    Raises:
      ValueError: `ema_decay` outside [0, 1).
    """
    check_ema_decay(ema_decay)
    gradient = jax.value_and_grad(loss, has_aux=True)

    def update(
        state: TrainState, batch: Batch, key: jax.Array
    ) -> tuple[TrainState, Scalars]:
        (value, scalars), grads = gradient(state.params, batch, key, state.step)
        scalars = {**scalars, "loss": value}
        if axis_name is not None:
            grads, scalars = jax.lax.pmean((grads, scalars), axis_name)
        scalars["gradient_norm"] = _global_norm(grads)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        decay = ema_decay_at(state.step, ema_decay)
        new = state.replace(
            step=state.step + 1,
            params=params,
            ema_params=_average(state.ema_params, params, decay),
            opt_state=opt_state,
        )
        return new, scalars

    return update
