"""Universal quantisation in files: a table for each offset that latents are rounded at."""

import numpy as np
from jaxtyping import Float, Int32

from codec_jax import ops


def levels_of(shape: tuple[int, ...], count: int) -> Int32[np.ndarray, "h w m"] | None:
    """The offset of each latent, as its number; None without dither.

    Args:
      shape: of the latents, (h, w, m).
      count: offsets; 0: none.
    """
    return np.asarray(ops.dither_levels(shape, count)) if count else None


def dithered(
    rows: Int32[np.ndarray, "h w m"],
    means: Float[np.ndarray, "h w m"],
    levels: Int32[np.ndarray, "h w m"] | None,
    count: int,
) -> tuple[Int32[np.ndarray, "h w m"], Float[np.ndarray, "h w m"]]:
    """Rows of the tables, and what is added to symbols, given the offset of each latent.

    Args:
      rows, means: without offsets.
      levels: of `levels_of`; None leaves both as they are.
      count: as there.
    """
    if levels is None:
        return rows, means
    return count * rows + levels, means + ops.dither_offsets(count)[levels]
