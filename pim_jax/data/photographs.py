"""Photographs to try metrics on: those of a folder, or three inside scikit-image."""

from pathlib import Path

import numpy as np
import skimage.data

from pim_jax.data import images

PACKAGED = {
    "astronaut": skimage.data.astronaut,
    "cat": skimage.data.chelsea,
    "coffee": skimage.data.coffee,
}


def photographs(folder: str | Path, side: int, count: int = 0) -> dict[str, np.ndarray]:
    """Name -> the middle square of each photograph, uint8 (side, side, 3).

    Resized with antialiasing, so even a small square shows a whole scene.

    Args:
      folder: of image files; empty for the packaged ones.
      side: pixels.
      count: at most so many, the first by name; 0 for all.

    Raises:
      FileNotFoundError, ValueError: as `images.list_images`, `images.read_pixels`.
    """
    if folder:
        files = images.list_images(folder)[: count or None]
        found = {path.name: images.read_pixels(path) for path in files}
    else:
        found = {name: read() for name, read in [*PACKAGED.items()][: count or None]}
    return {name: square(pixels, side) for name, pixels in found.items()}


def square(pixels: np.ndarray, side: int) -> np.ndarray:
    """The middle square of a uint8 image, resized with antialiasing to side x side."""
    height, width = pixels.shape[:2]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    return images.resize(
        np.ascontiguousarray(pixels[top : top + short, left : left + short]), side, side
    )
