"""Bilinear interpolation between sizes, without smoothing before."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def bilinear(
    planes: Float[Array, "n c h w"], height: int, width: int, corners: bool
) -> Float[Array, "n c {height} {width}"]:
    """Equal to `torch.nn.functional.interpolate(mode="bilinear")`.

    Args:
      planes: channels first, as matrix products take them fastest.
      height, width: of the result.
      corners: whether the centres of the corner pixels keep their places (torch's
        align_corners=True), or the outer borders of the image do.
    """
    # Differences to one pixel, so that uniform images remain exactly uniform.
    first = jax.lax.stop_gradient(planes[:, :, :1, :1])
    low, weight = _places(planes.shape[3], width, corners)
    matrix = np.zeros((width, planes.shape[3]), np.float32)
    matrix[np.arange(width), low] = 1 - weight
    matrix[np.arange(width), np.minimum(low + 1, planes.shape[3] - 1)] += weight
    across = jnp.einsum(
        "nchw,jw->nchj", planes - first, matrix, precision=jax.lax.Precision.HIGHEST
    )
    # A second product would be over an axis that is not the last, which is slow on CPUs,
    # and there whole rows can be taken, which is not.
    low, weight = _places(planes.shape[2], height, corners)
    above = across[:, :, low]
    below = across[:, :, np.minimum(low + 1, planes.shape[2] - 1)]
    return above + weight[None, None, :, None] * (below - above) + first


def _places(before: int, after: int, corners: bool) -> tuple[np.ndarray, np.ndarray]:
    """Of each new pixel the old one at or before it, and the weight of the next."""
    if corners:
        place = np.arange(after) * ((before - 1) / max(after - 1, 1))
    else:
        place = (np.arange(after) + 0.5) * (before / after) - 0.5
    place = np.clip(place, 0, before - 1)
    low = np.minimum(np.floor(place).astype(int), max(before - 2, 0))
    return low, (place - low).astype(np.float32)
