"""Layers at full resolution, a strip of rows at a time.

The layers next to the image have outputs of hundreds of megabytes for a photograph. On
CPUs the system hands out their memory page by page, and they fit no cache. In strips the
same memory is used again and again, and the arithmetic is the same. For inference only:
gradients keep all strips anyway.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from codec_jax.layers import Cells
from pim_jax.ops.fast_cpu import strided

# Rows of the image in a strip; half and twice as many took a little longer.
IMAGE_ROWS = 64


def worthwhile(rows: int) -> bool:
    """Whether images of so many rows are faster in strips: tall ones, on CPUs."""
    return rows > 2 * IMAGE_ROWS and jax.default_backend() == "cpu"


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


def first_stages(
    transform: Any, x: Float[Array, "n h w 3"], cells: Cells
) -> Float[Array, "n _h _w o"]:
    """The first two convolutions of an analysis transform, and GDN between them."""
    (size, stride), (next_size, next_stride) = transform.stages[:2]
    reach = size // 2 + stride * (next_size // 2)
    rows, columns = _sides(cells, transform.stride)
    height, width = rows // stride, columns // stride

    def layers_of_strip(module: Any, window: Array, first: Array) -> Array:
        inner = module.gdn[0](module.conv[0](window, inside=True))
        row = (first + size // 2) // stride
        inner = zero_outside(inner, row, height, width)
        return module.conv[1](inner, inside=True)

    # The last output sees `reach` samples on, of which its stride lies in the strip.
    after = reach + 1 - stride * next_stride
    return mapped(transform, layers_of_strip, x, IMAGE_ROWS, reach, after)


def last_stages(
    transform: Any, x: Float[Array, "n h w i"], cells: Cells
) -> Float[Array, "n _h _w 3"]:
    """The last two convolutions of a synthesis transform, and IGDN between them."""
    stages = transform.stages[1::-1]
    (_, stride), (_, next_stride) = stages
    end, next_end = (strided.border(*stage) for stage in stages)
    total = stride * next_stride
    sides = _sides(cells, transform.stride // total)
    height, width = (stride * side for side in sides)
    rows = IMAGE_ROWS // total
    more = end + -(-next_end // stride)

    def layers_of_strip(module: Any, window: Array, first: Array) -> Array:
        inner = module.igdn[-1](module.conv[-2](window, inside=True))
        inner = zero_outside(inner, stride * (first + end), height, width)
        images = module.conv[-1](inner, inside=True)
        begin = total * (more - end) - next_stride * next_end
        return images[:, begin : begin + total * rows]

    return mapped(transform, layers_of_strip, x, rows, more, more)


def _sides(cells: Cells, scale: int) -> tuple[Any, Any]:
    """Rows and columns that there are, `scale` of each for a cell."""
    return scale * cells[0], scale * cells[1]
