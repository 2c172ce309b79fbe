"""Photographs to try metrics on: those of a folder, or some inside scikit-image.

Of a folder, files that cannot be read are named and left out (`readable.report`).
"""

from pathlib import Path

import numpy as np
import skimage.data

from pim_jax.data import images, readable

PACKAGED = {
    "astronaut": skimage.data.astronaut,
    "cat": skimage.data.chelsea,
    "coffee": skimage.data.coffee,
}

# Photographs of one texture each, grey.
TEXTURES = {
    "brick": skimage.data.brick,
    "grass": skimage.data.grass,
    "gravel": skimage.data.gravel,
}


def photographs(folder: str | Path, side: int, count: int = 0) -> dict[str, np.ndarray]:
    """Name -> the middle square of each photograph, uint8 (side, side, 3).

    Resized with antialiasing, so even a small square shows a whole scene.

    Args:
      folder: of image files; empty for the packaged ones.
      side: pixels.
      count: at most so many, the first by name; 0 for all.

    Raises:
      FileNotFoundError: as `images.list_images`.
      ValueError: no file of the folder can be read.
    """
    if folder:
        found = in_folder(folder, count)
    else:
        found = {name: read() for name, read in [*PACKAGED.items()][: count or None]}
    return {name: square(pixels, side) for name, pixels in found.items()}


def in_folder(folder: str | Path, count: int = 0) -> dict[str, np.ndarray]:
    """Name -> uint8 (h, w, 3) of the first `count` files that can be read; 0 for all.

    Raises:
      FileNotFoundError: as `images.list_images`.
      ValueError: there is no such file.
    """
    found: dict[str, np.ndarray] = {}
    skipped: dict[str, str] = {}
    for path in images.list_images(folder):
        try:
            found[path.name] = images.read_pixels(path)
        except (ValueError, OSError) as error:
            skipped[path.name] = str(error)
        if count and len(found) == count:
            break
    readable.report(str(folder), skipped, len(found) + len(skipped))
    return found


def crops(folder: str | Path, side: int, count: int, seed: int = 0) -> np.ndarray:
    """Squares of photographs at their own scale, none overlapping another.

    Args:
      folder: of image files; empty for the packaged ones.
      side: pixels.
      count: how many, drawn from all photographs.
      seed: of the choice.

    Returns: uint8 (count, side, side, 3), in random order.

    Raises:
      FileNotFoundError, ValueError: as `photographs`; they hold fewer crops.
    """
    if folder:
        pictures = [*in_folder(folder).values()]
    else:
        pictures = [read() for read in PACKAGED.values()]
    found = [tile for picture in pictures for tile in tiles(picture, side)]
    if len(found) < count:
        raise ValueError(
            f"the photographs hold {len(found)} crops of {side}x{side} pixels, fewer "
            f"than {count}"
        )
    order = np.random.default_rng(seed).permutation(len(found))[:count]
    return np.stack([found[i] for i in order])


def textures(side: int, count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Name -> crops of one texture that do not overlap, uint8 (count, side, side, 3).

    Raises:
      ValueError: they hold fewer crops.
    """
    chosen = {}
    for name, read in TEXTURES.items():
        found = tiles(np.repeat(read()[:, :, None], 3, axis=2), side)
        if len(found) < count:
            raise ValueError(
                f"{name} holds {len(found)} crops of {side}x{side} pixels, fewer than "
                f"{count}"
            )
        order = np.random.default_rng(seed).permutation(len(found))[:count]
        chosen[name] = np.stack([found[i] for i in order])
    return chosen


def tiles(pixels: np.ndarray, side: int) -> list[np.ndarray]:
    """All squares of a grid from the top left corner that fit into an image."""
    height, width = pixels.shape[:2]
    return [
        pixels[top : top + side, left : left + side]
        for top in range(0, height - side + 1, side)
        for left in range(0, width - side + 1, side)
    ]


def square(pixels: np.ndarray, side: int) -> np.ndarray:
    """The middle square of a uint8 image, resized with antialiasing to side x side."""
    height, width = pixels.shape[:2]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    return images.resize(
        np.ascontiguousarray(pixels[top : top + short, left : left + short]), side, side
    )
