"""Square windows of an image, which metrics score one by one."""

import numpy as np
from jaxtyping import Array, Float


def windows(
    image: Float[Array, "n h w c"], side: int, step: int
) -> Float[Array, "n p side side c"]:
    """All windows at multiples of `step`, row by row.

    What is right of the last ones or below them is in none.

    Args:
      image: not smaller than a window.
      side: of a window, in pixels.
      step: from one window to the next.
    """
    n, height, width, channels = image.shape
    rows, columns = (
        np.arange(0, size - side + 1, step)[:, None] + np.arange(side)
        for size in (height, width)
    )
    found = image[:, rows][:, :, :, columns]  # n, rows, side, columns, side, c
    count = len(rows) * len(columns)  # not -1, which is ambiguous for an empty batch
    return found.transpose(0, 1, 3, 2, 4, 5).reshape(n, count, side, side, channels)
