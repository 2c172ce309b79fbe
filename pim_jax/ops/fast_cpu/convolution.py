"""Convolutions between many channels, with fewer products where that is faster.

XLA's own everywhere but on CPUs. There `toom_cook` takes 8 products in place of 20 for
four rows of outputs of a 5x5 kernel, `by_columns` makes fuller matrix products for few
outputs, and `by_blocks` for few inputs and long strides.
`python -m tests.benchmarks.variants` compares them, docs/results.md has the times.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

_LAYOUT: Any = ("NHWC", "HWIO", "NHWC")
# With fewer channels sums take the time that products save.
_MANY = 16
_LONG = 4  # strides from here on leave few outputs for each pass over the inputs
_PRECISE = ("float32", "highest")
_TILE = 4  # rows of outputs that share their products
_POINTS = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5)  # and infinity


def convolve(
    image: Float[Array, "n h w i"],
    kernel: Float[Array, "k l i o"],
    padding: Any,
    stride: int = 1,
    precision: lax.Precision | None = None,
) -> Float[Array, "n _h _w o"]:
    """Cross-correlation.

    On CPUs its rounding errors are a few 1e-6 of the largest output, a few times those
    of XLA's own, which a call within `jax.default_matmul_precision("highest")` takes.

    Args:
      image: the samples.
      kernel: of any size.
      padding: 'SAME', 'VALID', or for each axis the zeros before and after.
      stride: of both axes.
      precision: of products on accelerators, which by default take fewer bits.
    """
    method = _on_cpus(kernel.shape, stride)
    precise = jax.config.jax_default_matmul_precision in _PRECISE  # type: ignore[attr-defined]
    if method is direct or precise or image.dtype != jnp.float32:
        return direct(image, kernel, padding, stride, precision)
    on_cpus = functools.partial(method, padding=padding, stride=stride)
    return lax.platform_dependent(
        image,
        kernel,
        # The gradient keeps image and kernel alone, as that of `direct` does: up to JAX
        # 0.6 shard_map refuses branches that keep other things. XLA is free to share
        # what both directions compute.
        cpu=jax.checkpoint(on_cpus, prevent_cse=False),
        default=functools.partial(
            direct, padding=padding, stride=stride, precision=precision
        ),
    )


def _on_cpus(shape: Sequence[int], stride: int) -> Callable[..., Array]:
    height, width, inputs, outputs = shape
    saving = stride < height <= stride * (len(_POINTS) + 2 - _TILE)
    if saving and min(inputs, outputs) >= _MANY:
        return toom_cook
    if stride >= _LONG and inputs < _MANY and height > stride:
        return by_blocks
    few = stride == 1 and inputs >= _MANY and width * outputs < inputs
    return by_columns if few else direct


def direct(
    image: Array,
    kernel: Array,
    padding: Any,
    stride: int = 1,
    precision: lax.Precision | None = None,
) -> Array:
    """XLA's own convolution."""
    return lax.conv_general_dilated(
        image,
        kernel,
        (stride, stride),
        padding,
        dimension_numbers=_LAYOUT,
        precision=precision,
    )


def by_blocks(image: Array, kernel: Array, padding: Any, stride: int = 1) -> Array:
    """For long strides: blocks of stride x stride pixels as channels, then stride 1."""
    (n, h, w, c), outputs = image.shape, kernel.shape[-1]
    pads = _pads(image, kernel, padding, stride)
    taps = [-(-size // stride) for size in kernel.shape[:2]]
    edges, blocks = [(0, 0, 0)], []
    for length, (before, after), size, tap in zip(
        (h, w), pads, kernel.shape, taps, strict=False
    ):
        count = (length + before + after - size) // stride + tap
        edges.append((before, count * stride - length - before, 0))  # or cuts off
        blocks.append(count)
    padded = lax.pad(image, jnp.zeros((), image.dtype), [*edges, (0, 0, 0)])
    split = padded.reshape(n, blocks[0], stride, blocks[1], stride, c)
    split = split.transpose(0, 1, 3, 2, 4, 5).reshape(n, *blocks, stride**2 * c)
    missing = [(0, t * stride - k) for t, k in zip(taps, kernel.shape, strict=False)]
    full = jnp.pad(kernel, [*missing, (0, 0), (0, 0)])
    full = full.reshape(taps[0], stride, taps[1], stride, c, outputs)
    full = full.transpose(0, 2, 1, 3, 4, 5).reshape(*taps, stride**2 * c, outputs)
    return _on_cpus(full.shape, 1)(split, full, "VALID")


def by_columns(image: Array, kernel: Array, padding: Any, stride: int = 1) -> Array:
    """For few outputs: every column of taps at once, then a sum of shifted results."""
    assert stride == 1
    height, width, inputs, outputs = kernel.shape
    rows, columns = _pads(image, kernel, padding, stride)
    taps = jnp.moveaxis(kernel, 1, 2).reshape(height, 1, inputs, width * outputs)
    parts = direct(image, taps, (rows, columns))
    last = image.shape[2] + sum(columns) - width + 1
    return functools.reduce(
        jnp.add,
        [
            parts[:, :, j : j + last, j * outputs : (j + 1) * outputs]
            for j in range(width)
        ],
    )


def toom_cook(image: Array, kernel: Array, padding: Any, stride: int = 1) -> Array:
    """Four rows of outputs from p = k + 3 products instead of 4 k, in exact arithmetic.

    Down the height, y = A^T ((G kernel) (B^T x)); along the width each product is an
    ordinary convolution. A stride s parts rows and taps into s phases of k / s taps,
    which sum up. The matrices are Toom and Cook's, made popular as Winograd's by Lavin
    & Gray 2016, https://arxiv.org/abs/1509.09308.
    """
    size, (n, h, w, c) = kernel.shape[0], image.shape
    (top, bottom), columns = _pads(image, kernel, padding, stride)
    height = (h + top + bottom - size) // stride + 1
    tiles = -(-height // _TILE)
    # As far as the last row that the last tile reads.
    most = -(-size // stride)
    bottom = max(bottom, stride * (_TILE * tiles + most - 1) - h - top)
    image = jnp.pad(image, ((0, 0), (top, bottom), (0, 0), (0, 0)))
    step = stride * _TILE

    def row(first: int) -> Array:
        """Of every tile the row `first`."""
        last = first + (tiles - 1) * step + 1
        return lax.slice(image, (0, first, 0, 0), (n, last, w, c), (1, step, 1, 1))

    found: list[Array] = []
    for phase in range(min(stride, size)):
        taps = list(kernel[phase::stride])
        after, of_kernel, before = _matrices(len(taps))
        rows = [row(stride * i + phase) for i in range(len(of_kernel))]
        products = [
            lax.conv_general_dilated(
                _combine(rows, b),
                _combine(taps, g)[None],
                (1, stride),
                ((0, 0), columns),
                dimension_numbers=_LAYOUT,
            )
            for b, g in zip(before, of_kernel, strict=True)
        ]
        part = [_combine(products, a) for a in after]
        found = list(map(jnp.add, found, part)) if found else part
    stacked = jnp.stack(found, axis=2)
    return stacked.reshape(n, tiles * _TILE, *stacked.shape[3:])[:, :height]


@functools.cache
def _matrices(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A^T (_TILE, p), G (p, size) and B^T (p, p), for p = size + _TILE - 1.

    Multiplying polynomials by their values at p points is linear in one factor; the
    transposed map is a correlation.
    """
    points = np.array(_POINTS[: size + _TILE - 2])
    p = len(points) + 1

    def values(terms: int) -> np.ndarray:
        found = np.zeros((p, terms))
        found[:-1] = points[:, None] ** np.arange(terms)
        found[-1, -1] = 1  # at infinity: the highest coefficient
        return found

    before = np.linalg.inv(values(p)).T
    # Factors between G and B^T are free; so the entries of B^T are short fractions.
    scale = np.append(before[:-1, p - 2], 1.0)
    before = np.round(before / scale[:, None], 9)
    return values(_TILE).T, values(size) * scale[:, None], before


def _combine(arrays: Sequence[Array], factors: np.ndarray) -> Array:
    pairs = zip(arrays, factors, strict=True)
    terms = [x if f == 1 else x * float(f) for x, f in pairs if f]
    return functools.reduce(jnp.add, terms)


def _pads(image: Array, kernel: Array, padding: Any, stride: int) -> Any:
    """Zeros before and after, in numbers, for height and width."""
    if not isinstance(padding, str):
        return tuple(map(tuple, padding))
    sizes = image.shape[1:3], kernel.shape[:2]
    return tuple(lax.padtype_to_pads(*sizes, (stride, stride), padding))
