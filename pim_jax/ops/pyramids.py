"""Multiscale image decompositions: the steerable and the Laplacian pyramid.

The steerable filters are those of Simoncelli & Freeman 1995 ("The steerable pyramid: a
flexible architecture for multi-scale derivative computation") as published in pyrtools
(`pyrtools.pyramids.filters.steerable_filters`, MIT licence, see `steerable_filters.md`),
kept in `steerable_filters.npz` so that a metric does not have to import a plotting
library. A test compares the table with pyrtools.

How the pyramid is assembled follows the published PIM code (perceptual-quality,
`pim/networks.py`), which differs from pyrtools in its borders and in its order.
"""

import functools
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

_TABLE = Path(__file__).with_name("steerable_filters.npz")
_DIMENSIONS = ("NHWC", "HWIO", "NHWC")

STEERABLE_ORDERS = (0, 1, 3, 5)


@functools.cache
def steerable_filters(order: int) -> dict[str, np.ndarray]:
    """Filters `lo0`, `lo`, `hi0` (k, k) and `bands` (order + 1, k, k), float32.

    `lo0` sums to 1 and `hi0` to 0, but `lo` sums to 2: each scale doubles the mean.

    Args:
      order: angular order, one of 0, 1, 3, 5; there are order + 1 orientations.
    """
    if order not in STEERABLE_ORDERS:
        raise ValueError(
            f"steerable_order must be one of {STEERABLE_ORDERS}, found {order!r}"
        )
    with np.load(_TABLE) as table:
        return {k: table[f"sp{order}/{k}"] for k in ("lo0", "lo", "hi0", "bands")}


def _fold_channels(image: Float[Array, "n h w c"]) -> Float[Array, "n*c h w"]:
    n, h, w, c = image.shape
    return jnp.moveaxis(image, -1, 1).reshape(n * c, h, w)


def _unfold_channels(maps: Float[Array, "m h w"], c: int) -> Float[Array, "n h w c"]:
    return jnp.moveaxis(maps.reshape(-1, c, *maps.shape[1:]), 1, -1)


def _block_kernel(
    kernels: Sequence[np.ndarray], block: int, stride: int
) -> Float[np.ndarray, "3 3 i o"]:
    """The correlation with `kernels` as a correlation between blocks of pixels.

    A block of output pixels depends on the block of input pixels at its place and on
    the eight around it, if blocks are at least as large as the kernels' radius.
    """
    size = kernels[0].shape[0]
    outputs = block // stride
    # offset[d, i, o]: place in the kernel of pixel i of block d - 1, seen from output o.
    offset = (
        block * (np.arange(3)[:, None, None] - 1)
        + np.arange(block)[None, :, None]
        - stride * np.arange(outputs)[None, None, :]
        + size // 2
    )
    taps = (offset[..., None] == np.arange(size)).astype(np.float32)
    weights = np.einsum("xipk,yjql,fkl->xyijpqf", taps, taps, np.stack(kernels))
    return weights.reshape(3, 3, block**2, outputs**2 * len(kernels))


def correlate(
    maps: Float[Array, "n h w"],
    kernels: Sequence[np.ndarray],
    stride: int = 1,
    padding: str = "same",
) -> list[Float[Array, "n _h _w"]]:
    """Cross-correlations with square kernels of one odd size.

    `same` takes zeros beyond the border and centres the kernel on pixels 0, stride, ...;
    `valid` keeps the results that need no such zeros. (XLA's own 'SAME' with stride 2
    would centre it differently on even and on odd sizes.)

    A convolution with one input channel is among the slowest things that one can ask of
    any backend. Blocks of pixels taken as channels give the same sums with up to twice
    the products, as one dense convolution.
    """
    size = kernels[0].shape[0]
    radius = size // 2
    block = -(-radius // stride) * stride
    n, h, w = maps.shape
    rows, columns = -(-h // block), -(-w // block)
    maps = jnp.pad(maps, ((0, 0), (0, rows * block - h), (0, columns * block - w)))
    blocks = maps.reshape(n, rows, block, columns, block)
    blocks = jnp.moveaxis(blocks, 2, 3).reshape(n, rows, columns, block**2)
    result = jax.lax.conv_general_dilated(
        blocks,
        jnp.asarray(_block_kernel(kernels, block, stride)),
        (1, 1),
        "SAME",
        dimension_numbers=_DIMENSIONS,
        precision=jax.lax.Precision.HIGHEST,
    )
    outputs = block // stride
    result = result.reshape(n, rows, columns, outputs, outputs, len(kernels))
    result = jnp.moveaxis(result, (5, 3), (0, 3))  # (kernels, n, rows, o, columns, o)
    result = result.reshape(len(kernels), n, rows * outputs, columns * outputs)
    if padding == "same":
        return list(result[:, :, : -(-h // stride), : -(-w // stride)])
    first = radius // stride
    high, wide = (max(0, (side - size) // stride + 1) for side in (h, w))
    return list(result[:, :, first : first + high, first : first + wide])


def steerable_pyramid(
    image: Float[Array, "n h w c"],
    num_scales: int = 3,
    order: int = 1,
    padding: str = "same",
) -> tuple[Float[Array, "n _h _w c"], ...]:
    """Steerable pyramid of every channel, coarsest level first.

    Levels: lowpass residual; then from the coarsest scale to the finest the bands
    order, ..., 0; highpass residual. With `same` padding scale s is ceil(h / 2^s) high,
    counted from 0, and the lowpass residual is scale `num_scales`.

    Args:
      image: any range; the pyramid is linear.
      num_scales: number of octaves.
      order: angular order of the filters, see `steerable_filters`.
      padding: 'same' (zeros) or 'valid'.
    Returns: num_scales * (order + 1) + 2 arrays.
    Raises: ValueError for another padding or order.
    Source: equal to `Steerable` of perceptual-quality's `pim/networks.py` up to float32
      rounding: channels are filtered separately, kernels are correlated, not convolved.
    """
    if padding not in ("same", "valid"):
        raise ValueError(f"padding must be 'same' or 'valid', found {padding!r}")
    filters = steerable_filters(order)
    bands = filters["bands"]
    if (bands.shape[1] // 2) % 2:
        # Odd half-width: the published code centres the kernel in a larger frame. It
        # changes nothing under 'same' and decides the crop under 'valid'.
        bands = np.pad(bands, ((0, 0), (1, 1), (1, 1)))
    lo = _fold_channels(image)
    (hi,) = correlate(lo, [filters["hi0"]], padding=padding)
    (lo,) = correlate(lo, [filters["lo0"]], padding=padding)
    levels = [hi]
    for _ in range(num_scales):
        levels += correlate(lo, list(bands), padding=padding)
        (lo,) = correlate(lo, [filters["lo"]], stride=2, padding=padding)
    levels.append(lo)
    return tuple(_unfold_channels(x, image.shape[-1]) for x in reversed(levels))


def laplacian_pyramid(
    image: Float[Array, "n h w c"], num_scales: int = 3
) -> tuple[Float[Array, "n _h _w c"], ...]:
    """Laplacian pyramid of every channel (binomial 3x3 kernel), coarsest level first.

    Each band loses two pixels on every side, because filtering is 'valid'; the coarsest
    level is the lowpass residual.

    Returns: num_scales arrays.
    Raises: ValueError if the image is too small for `num_scales`.
    Source: `Laplacian` of perceptual-quality's `pim/networks.py` with its residual.
    """
    kernel = np.outer([1, 2, 1], [1, 2, 1]).astype(np.float32) / 16
    low = _fold_channels(image)[..., None]
    levels = []
    for _ in range(num_scales - 1):
        _, h, w, _ = low.shape
        if min(h, w) < 5:
            raise ValueError(
                f"an image of {image.shape[1]}x{image.shape[2]} pixels is too small for "
                f"a Laplacian pyramid of {num_scales} scales: a level has {h}x{w}, and "
                "at least 5x5 are needed"
            )
        convolve = functools.partial(
            jax.lax.conv_general_dilated,
            dimension_numbers=_DIMENSIONS,
            precision=jax.lax.Precision.HIGHEST,
        )
        taps = jnp.asarray(kernel[:, :, None, None])
        coarse = convolve(low, taps, (2, 2), "VALID")
        # Transposed convolution whose border is cropped by two pixels on every side.
        border = [(0, h - 1 - 2 * coarse.shape[1]), (0, w - 1 - 2 * coarse.shape[2])]
        expanded = convolve(coarse, 4 * taps, (1, 1), border, lhs_dilation=(2, 2))
        levels.append(low[:, 2:-2, 2:-2] - expanded)
        low = coarse
    levels.append(low)
    return tuple(_unfold_channels(x[..., 0], image.shape[-1]) for x in reversed(levels))
