"""Bilinear interpolation between sizes, without smoothing before."""

import functools

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
    rows = _matrix(planes.shape[2], height, corners)
    columns = _matrix(planes.shape[3], width, corners)
    moved = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
    found = moved("nchw,jw->nchj", planes - first, columns)
    return moved("ih,nchj->ncij", rows, found) + first


@functools.lru_cache(maxsize=16)
def _matrix(before: int, after: int, corners: bool) -> np.ndarray:
    """(after, before) float32, two weights in each row."""
    if corners:
        place = np.arange(after) * ((before - 1) / max(after - 1, 1))
    else:
        place = (np.arange(after) + 0.5) * (before / after) - 0.5
    place = np.clip(place, 0, before - 1)
    low = np.minimum(np.floor(place).astype(int), max(before - 2, 0))
    matrix = np.zeros((after, before))
    matrix[np.arange(after), low] = 1 - (place - low)
    matrix[np.arange(after), np.minimum(low + 1, before - 1)] += place - low
    return matrix.astype(np.float32)
