"""Muon with matrices of one shape orthogonalised together.

A network of many equal layers has many small matrices. One Newton-Schulz iteration for
each is hundreds of small kernels, which take an accelerator longer than the network
itself; stacked, they are a few batched products.

Source: Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon); the scale is that
of Liu et al. 2025, https://arxiv.org/abs/2502.16982.
"""

from collections import defaultdict
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_STEPS = 5
# Root mean square of an update, as Adam's usually is.
_RMS = 0.2


class MuonState(NamedTuple):
    """Momentum of each matrix."""

    momentum: Any


def orthogonalized(
    matrices: Float[Array, "b i o"], dtype: Any = jnp.float32
) -> Float[Array, "b i o"]:
    """U V^T of each matrix U S V^T, singular values within about 0.7 to 1.2.

    Args:
      matrices: any batch of one shape.
      dtype: of the products.
    """
    wide = matrices.shape[1] > matrices.shape[2]
    x = matrices.swapaxes(1, 2) if wide else matrices
    norm = jnp.sqrt(jnp.sum(jnp.square(x), (1, 2), keepdims=True))
    x = (x / (norm + 1e-7)).astype(dtype)
    a, b, c = (jnp.asarray(value, dtype) for value in _COEFFICIENTS)
    for _ in range(_STEPS):
        gram = x @ x.swapaxes(1, 2)
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    x = x.astype(matrices.dtype)
    return x.swapaxes(1, 2) if wide else x


def scale_by_stacked_muon(
    momentum: float = 0.95, dtype: Any = jnp.float32
) -> optax.GradientTransformation:
    """Nesterov momentum, orthogonalised; for parameters that are matrices (i, o).

    Args:
      momentum: decay of the running sum of gradients.
      dtype: of the orthogonalisation's products; bfloat16 suffices.
    """

    def init(params: Any) -> MuonState:
        return MuonState(jax.tree.map(jnp.zeros_like, params))

    def update(updates: Any, state: MuonState, params: Any = None) -> Any:
        del params
        sums = jax.tree.map(lambda m, g: momentum * m + g, state.momentum, updates)
        ahead = jax.tree.map(lambda m, g: momentum * m + g, sums, updates)
        leaves, form = jax.tree.flatten(ahead)
        groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for number, leaf in enumerate(leaves):
            groups[leaf.shape].append(number)
        for shape, members in groups.items():
            stacked = jnp.stack([leaves[number] for number in members])
            moved = _RMS * max(shape) ** 0.5 * orthogonalized(stacked, dtype)
            for place, number in enumerate(members):
                leaves[number] = moved[place]
        return jax.tree.unflatten(form, leaves), MuonState(sums)

    return optax.GradientTransformation(init, update)
