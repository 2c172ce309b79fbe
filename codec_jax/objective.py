"""The Lagrangian of rate and distortion: R + lambda D."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def squared_error(
    images: Float[Array, "n h w 3"], decoded: Float[Array, "n h w 3"]
) -> Float[Array, " n"]:
    """Mean squared error of each image on the scale 0..255; images in [0, 1]."""
    return jnp.mean(jnp.square(255 * (images - decoded)), (1, 2, 3))


def psnr(error: Float[Array, " n"]) -> Float[Array, " n"]:
    """PSNR in dB, of the `squared_error` of each image."""
    return 10 * jnp.log10(255**2 / error)


def lagrangian(
    bpp: Float[Array, " n"],
    distortion: Float[Array, " n"],
    weight: Float[Array, " n"],
    balance: float = 0.0,
    reference: float = 1.0,
) -> Float[Array, ""]:
    """Mean over the minibatch of bpp + weight * distortion.

    Args:
      bpp: bits for each pixel of the images.
      distortion: of each image.
      weight: lambda of each image. For `squared_error` in the units of
        tensorflow-compression and CompressAI.
      balance: images count (reference / weight)^balance. With one model for many rates,
        0 lets the high rates, whose Lagrangians are the largest, decide everything; with
        1/2 a per cent of bits counts nearly alike at every rate, because bits grow about
        as the square root of lambda.
      reference: the weight at which an image counts once.
    """
    share = (reference / weight) ** balance
    return jnp.mean(share * (bpp + weight * distortion))


def lambda_at(
    rate: Float[Array, " n"], lambdas: tuple[float, ...]
) -> Float[Array, " n"]:
    """The weight at a position in `lambdas`, geometric between two of them."""
    logs = jnp.log(jnp.asarray(lambdas))
    return jnp.exp(jnp.interp(rate, jnp.arange(len(lambdas)), logs))


def warmed_up(step: Array, steps: int, factor: float) -> Float[Array, ""]:
    """What lambda is multiplied by at a step: from `factor` geometrically to 1.

    To begin with a larger weight on the distortion lets the transforms learn before the
    rate empties their latents.
    """
    if not steps:
        return jnp.float32(1.0)
    left = jnp.clip(1 - step.astype(jnp.float32) / steps, 0.0, 1.0)
    return jnp.float32(factor) ** left
