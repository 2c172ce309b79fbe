"""Compiled programs of a codec's networks, for windows of pictures.

One for each architecture and shape of window. Weights are arguments: as constants they
would be compiled anew for each codec, and folded for minutes. All numbers are of 32 bits,
whatever JAX' default is.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8

from codec_jax import ops
from codec_jax.entropy import gaussian_conditional
from codec_jax.layers import Cells
from codec_jax.models import integer, strips
from codec_jax.models.codec import Codec
from codec_jax.models.config import STRIDE, CodecConfig


def apply(config: CodecConfig, params: Any, *arguments: Any, method: Any) -> Any:
    """A method of `Codec`, as it is; not compiled."""
    return Codec(config).apply({"params": params}, *arguments, method=method)


@functools.partial(jax.jit, static_argnums=0)
def analysis(
    config: CodecConfig, params: Any, pixels: UInt8[Array, "n h w 3"], cells: Cells
) -> Float[Array, "n h/16 w/16 m"]:
    """Features of an image, before they are scaled for a rate."""
    images = pixels.astype(jnp.float32) / 255
    return apply(
        config, params, images, _in_strips(images), cells, method=Codec.features
    )


@functools.partial(jax.jit, static_argnums=0)
def gains(
    config: CodecConfig, params: Any, rate: Float[Array, "1"]
) -> Float[Array, "1 1 1 m"]:
    """Factors of the features at a rate."""
    return apply(config, params, rate, method=Codec.gains)


@functools.partial(jax.jit, static_argnums=0)
def hyper_analysis(
    config: CodecConfig, params: Any, y: Float[Array, "n h w m"], cells: Cells
) -> Float[Array, "n h/4 w/4 c"]:
    """Hyper latents, before they are rounded."""
    return apply(config, params, y, cells, method=Codec.hyper_analysis)


@functools.partial(jax.jit, static_argnums=0)
def hyper_synthesis(
    config: CodecConfig,
    params: Any,
    layers: tuple[integer.Layer, ...],
    z: Int[Array, "n h w c"],
    cells: Cells | None = None,
) -> tuple[Int[Array, "n 4*h 4*w m"], Float[Array, "n 4*h 4*w m"]]:
    """Rows of the tables of scales, and means, from rounded hyper latents."""
    if layers:
        return integer.parameters(
            z.astype(jnp.int32), list(layers), config.latents, cells
        )
    z = z.astype(jnp.float32)
    index, mean = apply(config, params, z, cells, method=Codec.hyper_synthesis)
    if config.hyper == "scale":
        return gaussian_conditional.rounded_up(index), mean
    return jnp.round(index).astype(jnp.int32), mean


@functools.partial(jax.jit, static_argnums=0)
def synthesis(
    config: CodecConfig,
    params: Any,
    y: Float[Array, "n h w m"],
    rate: Float[Array, "1"],
    cells: Cells,
) -> UInt8[Array, "n 16*h 16*w 3"]:
    """Images of 8 bits, from latents."""
    split = _in_strips(y, STRIDE)
    images = apply(config, params, y, rate, split, cells, method=Codec.synthesis)
    return ops.eight_bits(images).astype(jnp.uint8)


def _in_strips(x: Array, pixels: int = 1) -> bool:
    """Whether it is faster; `pixels`: rows of the image for each of x."""
    tall = x.shape[1] * pixels > 2 * strips.IMAGE_ROWS
    return tall and jax.default_backend() == "cpu"
