"""Strided convolutions and divisive normalisation, the parts of transform codecs.

Arrays are NHWC, kernels (height, width, inputs, outputs). Padding is that of
tensorflow-compression's `same_zeros` and of CompressAI: the kernel's middle lies on every
`stride`-th input sample, the first included. Flax' "SAME" would shift each stage by half
a sample.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from codec_jax import ops

_LAYOUT: Any = ("NHWC", "HWIO", "NHWC")
_PEDESTAL = 2.0**-36
_SMALLEST_BETA = 1e-6


def convolve(
    x: Float[Array, "n h w i"], kernel: Float[Array, "k k i o"], stride: int
) -> Float[Array, "n h/s w/s o"]:
    """Cross-correlation at every `stride`-th sample; sizes are divided rounding up."""
    half = kernel.shape[0] // 2
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), ((half, half),) * 2, dimension_numbers=_LAYOUT
    )


def _unstrided(
    x: Float[Array, "n h w i"],
    kernel: Float[Array, "a b i o"],
    padding: tuple[tuple[int, int], tuple[int, int]],
) -> Float[Array, "n h w o"]:
    return lax.conv_general_dilated(
        x, kernel, (1, 1), padding, dimension_numbers=_LAYOUT
    )


def convolve_transposed(
    x: Float[Array, "n h w i"],
    kernel: Float[Array, "k k i o"],
    stride: int,
    convolution: Callable[..., Array] = _unstrided,
) -> Float[Array, "n h*s w*s o"]:
    """Spreads each sample over an output `stride` times as large.

    The output's sample s j + t - k // 2 receives x[j] kernel[t'], t' = k - 1 - t: the
    kernel of a convolution over x with s - 1 zeros after each sample. It is computed as
    s^2 small convolutions, one for each place of an output sample between the input's,
    which multiplies no zeros; on CPU XLA's own form takes twice as long forward and
    twenty times as long backward (`python -m tests.benchmarks.transposed`).

    Args:
      x: samples.
      kernel: k odd.
      stride: s.
      convolution: (x, kernel, padding) -> their cross-correlation, how it is computed.
    """
    rows = []
    for p in range(stride):
        columns = []
        for q in range(stride):
            (first_p, padding_p) = _phase(p, kernel.shape[0], stride)
            (first_q, padding_q) = _phase(q, kernel.shape[1], stride)
            columns.append(
                convolution(
                    x,
                    kernel[first_p::stride, first_q::stride],
                    (padding_p, padding_q),
                )
            )
        rows.append(jnp.stack(columns, axis=3))
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


class Conv(nn.Module):
    """A convolution, `stride` up or down; at first outputs vary as much as inputs.

    Attributes:
      features: outputs.
      size: side of the kernel, odd.
      stride: of the output (down) or of the input (up).
      up: whether the output is larger than the input rather than smaller.
      bias: whether one is added.
      gain: factor of the initial kernel.
    """

    features: int
    size: int
    stride: int = 1
    up: bool = False
    bias: bool = True
    gain: float = 1.0

    @nn.compact
    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n h' w' o"]:
        """The output, with its own height and width."""
        taps = self.size**2 * x.shape[-1] / (self.stride**2 if self.up else 1)
        kernel = self.param(
            "kernel",
            nn.initializers.normal(self.gain / np.sqrt(taps)),
            (self.size, self.size, x.shape[-1], self.features),
        )
        apply = convolve_transposed if self.up else convolve
        y = apply(x, kernel.astype(x.dtype), self.stride)
        if self.bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            y = y + ops.aligned(bias.astype(y.dtype), y)
        return y


def non_negative(raw: Float[Array, "*s"], least: float) -> Float[Array, "*s"]:
    """The value >= `least` that is stored as `raw`: its square, nearly.

    Close to zero the square slows learning down; the pedestal keeps a gradient at zero.
    Source: Ballé 2018, https://arxiv.org/abs/1802.00847.
    """
    return ops.lower_bound(raw, np.sqrt(least + _PEDESTAL)) ** 2 - _PEDESTAL


def stored(value: Float[np.ndarray, "*s"]) -> Float[np.ndarray, "*s"]:
    """The inverse of `non_negative`."""
    return np.sqrt(np.maximum(value + _PEDESTAL, _PEDESTAL))


class Gdn(nn.Module):
    """Generalised divisive normalisation: x_i / (beta_i + sum_j gamma_ji |x_j|^a)^e.

    Attributes:
      inverse: multiply in place of dividing (IGDN): one step towards the inverse.
      simplified: a = 1, e = 1 (Johnston et al. 2019, https://arxiv.org/abs/1912.08771,
        today's default of tensorflow-compression) in place of a = 2, e = 1/2 (Ballé et
        al. 2016, https://arxiv.org/abs/1511.06281, and CompressAI's `GDN`).
    """

    inverse: bool = False
    simplified: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """The normalised samples."""
        c = x.shape[-1]
        beta = non_negative(
            self.param("beta", lambda _: jnp.asarray(stored(np.ones(c)), jnp.float32)),
            _SMALLEST_BETA,
        )
        gamma = non_negative(
            self.param(
                "gamma", lambda _: jnp.asarray(stored(0.1 * np.eye(c)), jnp.float32)
            ),
            0.0,
        )
        strength = jnp.abs(x) if self.simplified else x * x
        pool = strength @ gamma.astype(x.dtype)
        pool = pool + ops.aligned(beta.astype(x.dtype), x)
        if self.simplified:
            return x * pool if self.inverse else x / pool
        return x * jnp.sqrt(pool) if self.inverse else x * lax.rsqrt(pool)


def sequence(*functions: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """The composition, first function first."""

    def composed(x: Array) -> Array:
        for function in functions:
            x = function(x)
        return x

    return composed


def leaky_relu(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """Slope 0.01 below zero, as in CompressAI."""
    return jax.nn.leaky_relu(x, 0.01)
