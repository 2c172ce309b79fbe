"""Depth-convolution blocks, and the exchange of resolution for channels.

The network follows the intra codec of DCVC (Jia et al. 2025,
https://arxiv.org/abs/2502.20762, and its repository).
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from codec_jax import ops
from codec_jax.layers import Cells, zero_beyond

# Residual branches start small, so that a fresh network is nearly linear.
_BRANCH = 0.2


def space_to_depth(x: Float[Array, "n h w c"], by: int) -> Array:
    """(n, h, w, c) -> (n, h / by, w / by, by * by * c)."""
    n, h, w, c = x.shape
    x = x.reshape(n, h // by, by, w // by, by, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, h // by, w // by, by * by * c)


def depth_to_space(x: Float[Array, "n h w c"], by: int) -> Array:
    """The inverse of `space_to_depth`."""
    n, h, w, c = x.shape
    x = x.reshape(n, h, w, by, by, c // by**2).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, h * by, w * by, c // by**2)


def wsilu(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """X sigmoid(4 x)."""
    return x * jax.nn.sigmoid(4 * x)


@jax.custom_vjp
def depthwise(x: Float[Array, "n h w c"], kernel: Float[Array, "3 3 c"]) -> Array:
    """A 3 x 3 convolution of each channel, zeros outside, as nine multiply-adds.

    Compilers fuse these into one pass; library calls for grouped convolutions, and their
    gradients, are many times slower on accelerators (jax issues 13800, 26266).
    """
    _, h, w, _ = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    total = jnp.zeros(x.shape, x.dtype)
    for a in range(3):
        for b in range(3):
            total = total + padded[:, a : a + h, b : b + w] * ops.aligned(
                kernel[a, b], x
            )
    return total


def _depthwise_forward(x: Array, kernel: Array) -> Any:
    return depthwise(x, kernel), (x, kernel)


def _depthwise_backward(saved: Any, gradient: Array) -> tuple[Array, Array]:
    x, kernel = saved
    _, h, w, _ = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    taps = [
        jnp.sum(
            (padded[:, a : a + h, b : b + w] * gradient).astype(jnp.float32), (0, 1, 2)
        )
        for a in range(3)
        for b in range(3)
    ]
    of_kernel = jnp.stack(taps).reshape(kernel.shape).astype(kernel.dtype)
    return depthwise(gradient, kernel[::-1, ::-1]), of_kernel


depthwise.defvjp(_depthwise_forward, _depthwise_backward)


class Dense(nn.Module):
    """A convolution of 1 x 1.

    Attributes:
      features: outputs.
      gain: factor of the initial kernel.
      exact: whether the output is float32 whatever the input.
    """

    features: int
    gain: float = 1.0
    exact: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n h w o"]:
        """The output in the precision of the input."""
        inputs = x.shape[-1]
        kernel = self.param(
            "kernel",
            nn.initializers.normal(self.gain / np.sqrt(inputs)),
            (inputs, self.features),
            jnp.float32,
        )
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        kind = jnp.float32 if self.exact else x.dtype
        y = jax.lax.dot_general(
            x,
            kernel.astype(x.dtype),
            (((3,), (0,)), ((), ())),
            preferred_element_type=kind,
        )
        return y + ops.aligned(bias.astype(kind), y)


class DepthConvBlock(nn.Module):
    """A residual block for mixing places, and one for mixing channels.

    Attributes:
      features: outputs.
      adapt: convolve the input first, also where it has as many channels already.
    """

    features: int
    adapt: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w i"], cells: Cells | None = None, scale: int = 1
    ) -> Float[Array, "n h w o"]:
        """The output, of the same height and width; `cells`, `scale`: see `zero_beyond`."""
        c = self.features
        if self.adapt or x.shape[-1] != c:
            x = Dense(c, name="adaptor")(x)
        kernel = self.param(
            "depthwise", nn.initializers.normal(1 / 3), (3, 3, c), jnp.float32
        )
        places = zero_beyond(wsilu(Dense(c, name="before")(x)), cells, scale)
        places = depthwise(places, kernel.astype(x.dtype))
        x = x + Dense(c, _BRANCH, name="after")(places)
        wide = wsilu(Dense(4 * c, name="wide")(x))
        summed = wide.reshape(*wide.shape[:-1], 4, c).sum(-2)
        return x + Dense(c, _BRANCH, name="narrow")(summed)
