"""Image files as arrays: sRGB, three channels, upright.

Embedded colour profiles are not applied: like the published metric code, the numbers in
the file are taken to be sRGB.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import PIL.Image

from pim_jax.io import images as files

SUFFIXES = files.SUFFIXES


def read_image(path: str | Path, frame: int | None = None) -> np.ndarray:
    """An image file as float32 (h, w, 3) in [0, 1], sRGB.

    The orientation is applied; grey, palette and CMYK images become RGB; 16 bits per
    channel keep their precision where `pim_jax.io.images.read` has them.

    Args:
      path: PNG, JPEG, WebP, TIFF, BMP, PPM, GIF, JPEG 2000, AVIF or HEIC.
      frame: which page or frame, from 0; None for a file that has one only.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: damaged or not an image; partly transparent (over which background a
        viewer would show it is not known here; a fully opaque alpha channel is dropped);
        several pages or frames and none chosen; or a kind that is not read, such as Lab
        or floating point.
    """
    samples, white = _opaque_samples(path, frame)
    values = samples.astype(np.float32) / np.float32(white)
    return values.repeat(3, axis=2) if values.shape[2] == 1 else values


def read_pixels(
    path: str | Path, size: int | None = None, frame: int | None = None
) -> np.ndarray:
    """An image file as uint8 (h, w, 3); 16-bit files are rounded.

    Args:
      path: as for `read_image`, with the same errors.
      size: if given, the result is (size, size, 3), resized with Pillow's antialiased
        bilinear filter unless it has that size already.
      frame: as for `read_image`.
    """
    samples, _ = _opaque_samples(path, frame)
    pixels = files.in_eight_bits(samples)
    pixels = pixels.repeat(3, axis=2) if pixels.shape[2] == 1 else pixels
    return pixels if size is None else resize(pixels, size, size)


def resize(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """A uint8 image (h, w, 3) at another size, antialiased bilinear (Pillow).

    Pillow's bilinear filter widens with the reduction, which is what torchvision's
    `Resize` does to PIL images, and so what the BAPPS scripts do.
    """
    if pixels.shape[:2] == (height, width):
        return pixels
    image = PIL.Image.fromarray(pixels)
    return np.asarray(image.resize((width, height), PIL.Image.Resampling.BILINEAR))


def list_images(folder: str | Path) -> list[Path]:
    """The image files of a folder (not of its subfolders), sorted by name.

    Raises:
      FileNotFoundError: there is no such folder, or it holds no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder: {folder}")
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    if not found:
        raise FileNotFoundError(f"no image file ({', '.join(SUFFIXES)}) in {folder}")
    return found


def require(folder: str | Path, names: Iterable[str]) -> None:
    """Raises FileNotFoundError if one of the named files is not in `folder`."""
    wanted = sorted(set(names))
    missing = [name for name in wanted if not (Path(folder) / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(wanted)} images are not in {folder}, first of all "
            f"{missing[0]}"
        )


def _opaque_samples(path: str | Path, frame: int | None) -> tuple[files.Samples, int]:
    """Samples in one or three channels, and what is white; ValueError unless opaque."""
    image = files.read(path, frame)
    if image.alpha is not None:
        share = np.mean(image.alpha < image.white)
        raise ValueError(
            f"cannot read the image {path}: {share:.1%} of its pixels are transparent; "
            "composite it over a background first"
        )
    return image.samples, image.white
