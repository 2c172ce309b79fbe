"""The held-out IXYZ bound of given weights, for the behaviour table.

Always measured in the same way, however the weights were trained: with both reductions of
`REDUCTIONS`, temperature 1, minibatches of one size K (the bound cannot tell apart more
than log K nats, so values for different K are not comparable).
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pim_jax.evaluation.behaviour import Bound
from pim_jax.pim import checkpoints
from pim_jax.pim.initialization import init_params
from pim_jax.pim.model import ModelConfig, Pim, position_weights, positions
from pim_jax.pim.objective import ixyz

# Contrast between images, and between positions; see `objective.ixyz`.
REDUCTIONS = ("mean", "per_location")


@functools.partial(jax.jit, static_argnames="config")
def _ixyz(
    params: Mapping[str, Any],
    pixels_x: jax.Array,
    pixels_y: jax.Array,
    key: jax.Array,
    config: ModelConfig,
) -> dict[str, jax.Array]:
    x, y = (jnp.asarray(p, jnp.float32) / 255 for p in (pixels_x, pixels_y))
    outputs: Any = Pim(config).apply({"params": params}, x, y)
    marginal_x, marginal_y, joint = outputs
    loc = positions(joint)
    rest = (
        loc,
        positions(marginal_x),
        positions(marginal_y),
        jax.random.normal(key, loc.shape, loc.dtype),
        position_weights([level[0, ..., 0].size for level in joint]),
    )
    return {reduction: ixyz(*rest, reduction).bound for reduction in REDUCTIONS}


def held_out_ixyz(
    params: Mapping[str, Any],
    config: ModelConfig,
    x: np.ndarray,
    y: np.ndarray,
    batch_size: int = 32,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """IXYZ of each pair of frames, in nats, with the other pairs of its batch as marginal.

    Args:
      params: weights with the joint encoder.
      config: their architecture.
      x, y: (n, h, w, 3) uint8, n at least 2. If n is not a multiple of the batch, the
        last pairs are left out; if it is smaller, n is the batch.
      batch_size: K, pairs in the minibatch marginal, the own one included.
      seed: of the noise.

    Returns: reduction -> (pairs used,) float64.
    """
    size = min(batch_size, len(x))
    values = []
    for k in range(len(x) // size):
        rows = slice(k * size, (k + 1) * size)
        key = jax.random.fold_in(jax.random.key(seed), k)
        values.append(_ixyz(params, x[rows], y[rows], key, config))
    return {
        reduction: np.concatenate([value[reduction] for value in values], dtype=float)
        for reduction in REDUCTIONS
    }


def bound_of(params: Mapping[str, Any], config: ModelConfig, batch_size: int) -> Bound:
    """`held_out_ixyz` of these weights as a function of the frames alone."""
    return lambda x, y: held_out_ixyz(params, config, x, y, batch_size)


def with_joint_encoder(folder: str | Path) -> tuple[dict[str, Any], ModelConfig] | None:
    """Weights and architecture in a folder, or None if they lack the joint encoder."""
    params, config = checkpoints.read(folder)
    return (params, config) if "joint_encoder" in params else None


def initial_params(config: ModelConfig, seed: int) -> dict[str, Any]:
    """The random weights that training with this seed starts from."""
    return init_params(config, jax.random.key(seed))
