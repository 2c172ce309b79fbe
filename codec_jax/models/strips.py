"""Layers at full resolution, a strip of rows at a time.

The layers next to the image have outputs of hundreds of megabytes for a photograph. On
CPUs the system hands out their memory page by page, and they fit no cache. In strips the
same memory is used again and again, and the arithmetic is the same. For inference only:
gradients keep all strips anyway.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

# Rows of the image in a strip; half and twice as many took a little longer.
IMAGE_ROWS = 64


def mapped(
    module: nn.Module,
    layers: Callable[[Any, Array, Array], Array],
    x: Float[Array, "n h w i"],
    rows: int,
    before: int,
    after: int,
) -> Float[Array, "n h2 _w o"]:
    """What layers give for all rows, from windows of some.

    Args:
      module: whose parameters they have.
      layers: (module, window, first) -> k outputs for each row of a strip. The window
        begins with row `first` of x, and has zeros where x has no rows.
      x: samples.
      rows: of a strip.
      before, after: what a window has more than its strip, at each end.
    """
    n, height, *_ = x.shape
    count = -(-height // rows)
    padding = ((0, 0), (before, count * rows - height + after), (0, 0), (0, 0))
    padded = jnp.pad(x, padding)

    def strip(module: Any, carry: None, first: Array) -> tuple[None, Array]:
        window = lax.dynamic_slice_in_dim(padded, first, before + rows + after, 1)
        return carry, layers(module, window, first - before)

    scan = nn.scan(strip, variable_broadcast="params", split_rngs={"params": False})
    _, strips = scan(module, None, rows * jnp.arange(count, dtype=jnp.int32))
    joined = jnp.moveaxis(strips, 0, 1).reshape(n, -1, *strips.shape[3:])
    return joined[:, : height * joined.shape[1] // (count * rows)]


def zero_outside(
    x: Float[Array, "n r w c"],
    first: Int[Array, ""],
    height: int | Int[Array, ""],
    width: int | Int[Array, ""],
) -> Float[Array, "n r w c"]:
    """Rows that begin with row `first` of an array of this size; zero outside of it.

    As a convolution's padding: layers of a window make something of its zeros.
    """
    row = first + jnp.arange(x.shape[1], dtype=jnp.int32)
    column = jnp.arange(x.shape[2], dtype=jnp.int32)
    there = ((row >= 0) & (row < height))[:, None] & (column < width)[None, :]
    return jnp.where(there[None, :, :, None], x, jnp.zeros((), x.dtype))
