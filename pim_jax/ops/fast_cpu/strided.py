"""Strided convolutions, down and up, in the forms that are fastest on CPUs.

Kernels are (height, width, inputs, outputs). Padding is that of tensorflow-compression's
`same_zeros` and of CompressAI: the kernel's middle lies on every `stride`-th input
sample, the first included. Flax' "SAME" would shift each stage by half a sample.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from pim_jax.ops.fast_cpu import convolution

_LAYOUT: Any = ("NHWC", "HWIO", "NHWC")
# Up to so many channels, matrix products of all taps together are faster.
_FEW = 8
# Measured with 0.5.3 and with 0.10.2, whose own form is the faster one.
_OLD_XLA = jax.__version_info__ < (0, 6)


def conv(
    x: Float[Array, "n h w i"],
    kernel: Float[Array, "k k i o"],
    stride: int,
    inside: bool = False,
) -> Float[Array, "n h2 w2 o"]:
    """Cross-correlation at every `stride`-th sample; sizes are divided rounding up.

    Args:
      x: samples.
      kernel: k odd.
      stride: s.
      inside: these are rows from the inside of a larger array. The first output is that
        of row k // 2, and only rows are given whose inputs are all there.
    """
    if inside:
        half = kernel.shape[1] // 2
        return convolution.convolve(x, kernel, ((0, 0), (half, half)), stride)
    few = kernel.shape[2] <= _FEW
    return (_from_few if few else _strided)(x, kernel, stride)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _from_few(x: Array, kernel: Array, stride: int) -> Array:
    """`conv` of few inputs, as those of an image, with gradients of its own."""
    return _strided(x, kernel, stride)


def _strided(x: Array, kernel: Array, stride: int) -> Array:
    half = kernel.shape[0] // 2
    return convolution.convolve(x, kernel, ((half, half),) * 2, stride)


def _from_few_forward(x: Array, kernel: Array, stride: int) -> Any:
    return _strided(x, kernel, stride), (x, kernel)


def _from_few_backward(stride: int, saved: Any, gradient: Array) -> tuple[Array, Array]:
    """Each the other's transpose; XLA's own gradients multiply zeros."""
    x, kernel = saved
    spread = conv_transpose(gradient, _transpose(kernel), stride)
    return spread[:, : x.shape[1], : x.shape[2]], _correlate(
        x, gradient, kernel.shape[0], stride
    )


_from_few.defvjp(_from_few_forward, _from_few_backward)


def _transpose(kernel: Float[Array, "k k i o"]) -> Float[Array, "k k o i"]:
    return kernel[::-1, ::-1].swapaxes(2, 3)


def _correlate(
    large: Float[Array, "n h w i"],
    small: Float[Array, "n h2 w2 o"],
    size: int,
    stride: int,
) -> Float[Array, "k k i o"]:
    """The gradient of `conv` with respect to its kernel, for few inputs.

    On CPUs, up to JAX 0.5, one matrix product of all taps is faster than XLA's form.
    """
    if not _OLD_XLA:
        return _correlate_by_xla(large, small, size, stride)
    return lax.platform_dependent(
        large,
        small,
        cpu=functools.partial(_correlate_by_taps, size=size, stride=stride),
        default=functools.partial(_correlate_by_xla, size=size, stride=stride),
    )


def _correlate_by_taps(large: Array, small: Array, size: int, stride: int) -> Array:
    half, (h, w) = size // 2, small.shape[1:3]
    # As far as the last tap of the last output.
    bottom, right = (
        max(0, (length - 1) * stride + size - half - full)
        for length, full in ((h, large.shape[1]), (w, large.shape[2]))
    )
    padded = jnp.pad(large, ((0, 0), (half, bottom), (half, right), (0, 0)))

    def samples(a: int, b: int) -> Array:
        last_a, last_b = a + (h - 1) * stride + 1, b + (w - 1) * stride + 1
        return padded[:, a:last_a:stride, b:last_b:stride]

    taps = [[samples(a, b) for b in range(size)] for a in range(size)]
    patches = jnp.stack([jnp.stack(row, 3) for row in taps], 3)
    return jnp.einsum("nhwabi,nhwo->abio", patches, small)


def _correlate_by_xla(large: Array, small: Array, size: int, stride: int) -> Array:
    kernel = jnp.zeros((size, size, large.shape[-1], small.shape[-1]), large.dtype)
    _, pull_back = jax.vjp(lambda k: _strided(large, k, stride), kernel)
    return pull_back(small)[0]


def _unstrided(
    x: Float[Array, "n h w i"],
    kernel: Float[Array, "a b i o"],
    padding: tuple[tuple[int, int], tuple[int, int]],
) -> Float[Array, "n h w o"]:
    if min(map(min, padding)) < 0:
        # XLA's gradients of convolutions with negative padding are wrong on CPUs.
        border = [(0, 0, 0), *((*pad, 0) for pad in padding), (0, 0, 0)]
        x, padding = lax.pad(x, jnp.zeros((), x.dtype), border), ((0, 0), (0, 0))
    # Exact for integers, where `pim_jax.ops.fast_cpu.convolution.convolve` is not.
    return lax.conv_general_dilated(
        x, kernel, (1, 1), padding, dimension_numbers=_LAYOUT
    )


def conv_transpose(
    x: Float[Array, "n h w i"],
    kernel: Float[Array, "k k i o"],
    stride: int,
    inside: bool = False,
) -> Float[Array, "n h2 w2 o"]:
    """Spreads each sample over an output `stride` times as large.

    The output's sample s j + t - k // 2 receives x[j] kernel[t'], t' = k - 1 - t: the
    kernel of a convolution over x with s - 1 zeros after each sample. Zeros are not
    multiplied: see `by_phases`, and `by_products` for few outputs, as those of an image.
    `python -m tests.benchmarks.transposed` compares them with XLA's own form.

    Args:
      x: samples.
      kernel: k odd, and not below s.
      stride: s.
      inside: these are rows from the inside of a larger array. Outputs that would need
        others are left out: s b at each end, b = `border(k, s)`.

    Raises: ValueError for another k.
    """
    if kernel.shape[0] % 2 == 0 or kernel.shape[0] < stride:
        raise ValueError(
            f"expected a kernel of odd size, at least {stride}, found {kernel.shape}"
        )
    few = kernel.shape[-1] <= _FEW
    if not inside:
        return (_to_few if few else by_phases)(x, kernel, stride)
    end = border(kernel.shape[0], stride)
    if not few:
        return by_phases(x, kernel, stride, left_out=end)
    return by_products(x, kernel, stride)[:, stride * end : stride * (len(x[0]) - end)]


def border(size: int, stride: int) -> int:
    """Inputs at each end of which `conv_transpose` spreads a part elsewhere."""
    return -(-(size // 2) // stride)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _to_few(x: Array, kernel: Array, stride: int) -> Array:
    """`by_products` with gradients of its own."""
    return by_products(x, kernel, stride)


def _to_few_forward(x: Array, kernel: Array, stride: int) -> Any:
    return by_products(x, kernel, stride), (x, kernel)


def _to_few_backward(stride: int, saved: Any, gradient: Array) -> tuple[Array, Array]:
    x, kernel = saved
    of_kernel = _correlate(gradient, x, kernel.shape[0], stride)
    return conv(gradient, _transpose(kernel), stride), _transpose(of_kernel)


_to_few.defvjp(_to_few_forward, _to_few_backward)


def by_phases(
    x: Float[Array, "n h w i"],
    kernel: Float[Array, "k k i o"],
    stride: int,
    convolution: Callable[..., Array] = _unstrided,
    left_out: int = 0,
) -> Float[Array, "n h2 w2 o"]:
    """`conv_transpose` as s^2 small convolutions.

    One for each place of an output sample between those of the input.

    Args:
      x, kernel, stride: as there.
      convolution: (x, kernel, padding) -> their cross-correlation, how it is computed.
      left_out: rows of inputs at each end whose outputs are not computed.
    """

    def phase(p: int, q: int) -> Array:
        first_p, (top, bottom) = _phase(p, kernel.shape[0], stride)
        padding_p = top - left_out, bottom - left_out
        first_q, padding_q = _phase(q, kernel.shape[1], stride)
        taps = kernel[first_p::stride, first_q::stride]
        return convolution(x, taps, (padding_p, padding_q))

    return _interleave(phase, stride)


def by_products(
    x: Float[Array, "n h w i"], kernel: Float[Array, "k k i o"], stride: int
) -> Float[Array, "n h*{stride} w*{stride} o"]:
    """`conv_transpose` as one matrix product, whose columns are shifted and added."""
    products = jnp.einsum("nhwi,abio->nhwabo", x, kernel)

    def phase(p: int, q: int) -> Array:
        first_p, (top, bottom) = _phase(p, kernel.shape[0], stride)
        first_q, (left, right) = _phase(q, kernel.shape[1], stride)
        taps = products[:, :, :, first_p::stride, first_q::stride]
        # Also negative: where strides are wide, a place may see no sample at the edge.
        border = ((0, 0), (top, bottom), (left, right), (0, 0), (0, 0), (0, 0))
        taps = lax.pad(taps, jnp.zeros((), x.dtype), [(*b, 0) for b in border])
        return sum(
            taps[:, a : a + x.shape[1], b : b + x.shape[2], a, b]
            for a in range(taps.shape[3])
            for b in range(taps.shape[4])
        )  # type: ignore[return-value]

    return _interleave(phase, stride)


def _interleave(phase: Callable[[int, int], Array], stride: int) -> Array:
    """Outputs whose place p, q between the inputs' samples is of phase(p, q)."""
    places = range(stride)
    rows = [jnp.stack([phase(p, q) for q in places], axis=3) for p in places]
    phases = jnp.stack(rows, axis=2)
    n, h, _, w, _, o = phases.shape
    return phases.reshape(n, h * stride, w * stride, o)


def _phase(place: int, size: int, stride: int) -> tuple[int, tuple[int, int]]:
    """The first tap that meets a sample at this place, and the padding it then needs.

    Tap t of output a s + place lies on the zero-filled sample a s + place + t - size // 2.
    """
    half = size // 2
    first = (half - place) % stride
    before = -((place + first - half) // stride)
    taps = len(range(first, size, stride))
    return first, (before, taps - 1 - before)
