"""Strided convolutions and divisive normalisation, the parts of transform codecs.

Arrays are NHWC, kernels (height, width, inputs, outputs); the convolutions themselves are
`pim_jax.ops.fast_cpu.strided`, padding included.
"""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Num

from codec_jax import ops
from pim_jax.ops.fast_cpu import strided

# Rows and columns of the cells of a codec; a cell is what becomes one latent.
Cells = tuple[Int[Array, ""], Int[Array, ""]]

_PEDESTAL = 2.0**-36
_SMALLEST_BETA = 1e-6


def zero_beyond(
    x: Num[Array, "n h w c"], cells: Cells | None, scale: int
) -> Num[Array, "n h w c"]:
    """Zero but for the first `scale` rows and columns of x for each of the cells.

    What a convolution sees beyond the edge of an array that ends there. So one program
    serves all arrays up to its size, with the results of programs of their own.

    Args:
      x: samples.
      cells: how many there are; None leaves x as it is.
      scale: sides of a cell in samples of x.
    """
    if cells is None:
        return x
    rows, columns = (
        jnp.arange(side, dtype=jnp.int32) < scale * count
        for side, count in zip(x.shape[1:3], cells, strict=True)
    )
    inside = (rows[:, None] & columns[None, :])[None, :, :, None]
    return jnp.where(inside, x, jnp.zeros((), x.dtype))


def padded(x: Float[Array, "n h w c"], stride: int) -> Float[Array, "n _h _w c"]:
    """Repeats the last row and column until the size is a multiple of `stride`."""
    _, h, w, _ = x.shape
    if not (h % stride or w % stride):
        return x
    return jnp.pad(x, ((0, 0), (0, -h % stride), (0, -w % stride), (0, 0)), "edge")


def cropped(x: Float[Array, "n _h _w c"], like: Array) -> Float[Array, "n h w c"]:
    """The upper left part, with the height and width of another array."""
    return x[:, : like.shape[1], : like.shape[2]]


def reach_down(stages: Sequence[tuple[int, int]]) -> int:
    """Outputs whose span the receptive field of an output of convolutions reaches.

    Args:
      stages: (side of the kernel, stride) of each convolution downwards, in order.
    """
    scale, reach = 1, 0
    for size, stride in stages:
        reach += size // 2 * scale
        scale *= stride
    return -(-reach // scale)


def reach_up(stages: Sequence[tuple[int, int]]) -> int:
    """Inputs that the receptive field of an output of convolutions upwards reaches."""
    reach = 0
    for size, stride in reversed(stages):
        reach = -(-(reach + size // 2) // stride)
    return reach


class Conv(nn.Module):
    """A convolution downwards; at first outputs vary as much as inputs.

    Attributes:
      features: outputs.
      size: side of the kernel, odd.
      stride: inputs for each output, in each direction.
      bias: whether one is added.
      gain: factor of the initial kernel.
    """

    features: int
    size: int
    stride: int = 1
    bias: bool = True
    gain: float = 1.0

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w i"], inside: bool = False
    ) -> Float[Array, "n _h _w o"]:
        """The output, with its own height and width; `inside` as for `strided.conv`."""
        kernel, bias = _parameters(self, x.shape[-1], self.size**2 * x.shape[-1])
        y = strided.conv(x, kernel.astype(x.dtype), self.stride, inside)
        return y if bias is None else y + ops.aligned(bias.astype(y.dtype), y)


class ConvUp(nn.Module):
    """A transposed convolution upwards; otherwise as `Conv`.

    Attributes:
      features, size, bias, gain: as of `Conv`.
      stride: outputs for each input, in each direction.
    """

    features: int
    size: int
    stride: int = 1
    bias: bool = True
    gain: float = 1.0

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w i"], inside: bool = False
    ) -> Float[Array, "n _h _w o"]:
        """The output; `inside` as for `strided.conv_transpose`."""
        taps = self.size**2 * x.shape[-1] / self.stride**2
        kernel, bias = _parameters(self, x.shape[-1], taps)
        y = strided.conv_transpose(x, kernel.astype(x.dtype), self.stride, inside)
        return y if bias is None else y + ops.aligned(bias.astype(y.dtype), y)


def _parameters(
    module: Conv | ConvUp, inputs: int, taps: float
) -> tuple[Array, Array | None]:
    """Kernel and bias; `taps`: inputs that an output sums."""
    kernel = module.param(
        "kernel",
        nn.initializers.normal(module.gain / np.sqrt(taps)),
        (module.size, module.size, inputs, module.features),
        jnp.float32,
    )
    if not module.bias:
        return kernel, None
    zeros = nn.initializers.zeros
    return kernel, module.param("bias", zeros, (module.features,), jnp.float32)


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
        # As one matrix: on CPUs the gradient of gamma takes less than half the time.
        pool = (strength.reshape(-1, c) @ gamma.astype(x.dtype)).reshape(x.shape)
        pool = pool + ops.aligned(beta.astype(x.dtype), x)
        if self.simplified:
            return x * pool if self.inverse else x / pool
        return x * jnp.sqrt(pool) if self.inverse else x * lax.rsqrt(pool)


def leaky_relu(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """Slope 0.01 below zero, as in CompressAI."""
    return jax.nn.leaky_relu(x, 0.01)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "leaky_relu": leaky_relu,
}
