"""The Lagrangian of rate and distortion: R + lambda D, and lambda's scale for each D."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# lambda of each distortion that asks for about the rates of the published models, which
# are named by their weights of squared error on the scale 0..255, the first line. 'psnr'
# is the same error on the scale 0..1. Of 'ms-ssim', 1 - MS-SSIM, CompressAI's; the others
# are measured, see "The scale of lambda" in docs/results.md.
_OF_MSE = (0.0018, 0.0035, 0.0067, 0.0130, 0.0250, 0.0483, 0.0932, 0.1800)
DISTORTION_LAMBDAS = {
    "mse": _OF_MSE,
    "psnr": tuple(255**2 * value for value in _OF_MSE),
    "ms-ssim": (2.40, 4.58, 8.73, 16.64, 31.73, 60.50, 115.37, 220.00),
    "ssim": (2.1, 3.47, 5.65, 9.29, 15.2, 24.9, 40.8, 66.9),
    "ssim-luma": (2.23, 3.74, 6.19, 10.4, 17.2, 28.7, 47.9, 79.8),
    "ms-ssim-luma": (7.02, 12.4, 21.7, 38.3, 67.1, 118.0, 208.0, 365.0),
    "nlpd": (4.09, 5.93, 8.52, 12.3, 17.8, 25.7, 37.0, 53.5),
    "lpips-alex": (1.72, 2.89, 4.81, 8.07, 13.5, 22.6, 37.7, 63.2),
    "lpips-vgg": (1.39, 2.12, 3.21, 4.89, 7.42, 11.3, 17.1, 26.1),
    "pim-1": (0.364, 0.599, 0.974, 1.6, 2.61, 4.28, 7.0, 11.5),
    "pim-5": (0.0416, 0.0682, 0.111, 0.181, 0.294, 0.48, 0.782, 1.28),
    "pim-1-small": (0.769, 1.39, 2.46, 4.44, 7.92, 14.2, 25.4, 45.6),
}


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
      weight: lambda of each image, on the scale of the distortion, see
        `DISTORTION_LAMBDAS`. For `squared_error` in the units of tensorflow-compression
        and CompressAI.
      balance: images count (reference / weight)^balance. With one model for many rates,
        0 lets the high rates, whose Lagrangians are the largest, decide everything; with
        1/2 a per cent of bits counts nearly alike at every rate, because bits grow about
        as the square root of lambda.
      reference: the weight at which an image counts once.
    """
    share = (reference / weight) ** balance
    return jnp.mean(share * (bpp + weight * distortion))


def lambdas_for(name: str, of_mse: Sequence[float]) -> tuple[float, ...]:
    """The weights of a distortion that ask for about the rates of those of squared error.

    Args:
      name: a key of `DISTORTION_LAMBDAS`.
      of_mse: weights of `squared_error`, such as `models.config.CodecConfig.lambdas`.

    Returns: for each of them the weight of the distortion: the table's, geometric between
      two of its columns and beyond its ends.
    Raises: ValueError for a name that the table lacks.
    """
    if name not in DISTORTION_LAMBDAS:
        raise ValueError(
            f"there are no default lambdas for {name!r}, only for "
            f"{', '.join(DISTORTION_LAMBDAS)}"
        )
    wanted = np.log(np.asarray(of_mse, np.float64))
    x, y = (np.log(DISTORTION_LAMBDAS[key]) for key in ("mse", name))
    left = np.clip(np.searchsorted(x, wanted, "right") - 1, 0, len(x) - 2)
    slope = (y[left + 1] - y[left]) / (x[left + 1] - x[left])
    return tuple(np.exp(y[left] + slope * (wanted - x[left])).tolist())


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
