"""Image files of all kinds as upright arrays, read right or refused with a sentence.

Both packages read with this module. Pillow decodes what it gives exactly; of 16 bits in
colour it would keep 8, so PNG, TIFF and JPEG 2000 of that depth go through libpng, libtiff
and OpenJPEG (imagecodecs), and HEIC through libheif (pillow-heif).

A file with several pages or frames (animations, multi-page TIFF, collections) is refused
unless the caller says which one is meant: the first is often a thumbnail or a title.
Pictures behind the first of a JPEG (previews, depth) are not counted.
"""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pim_jax.io.damage import DamagedError, decoding
from pim_jax.io.files import Stream
from pim_jax.io.images import heif, pillow, tiff
from pim_jax.io.images.pillow import LARGEST_PNG_PROFILE as LARGEST_PNG_PROFILE
from pim_jax.io.images.pillow import in_srgb as in_srgb
from pim_jax.io.images.stored import RefusedError, StoredImage
from pim_jax.io.images.stored import Samples as Samples

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"),
    *(".jp2", ".gif", ".avif", ".heic", ".heif"),
)
NAMES = "PNG, JPEG, WebP, TIFF, BMP, PPM, GIF, JPEG 2000, AVIF, HEIC"  # in messages


def read(source: str | Path | Stream, frame: int | None = None) -> StoredImage:
    """An image file: PNG, JPEG, WebP, TIFF, BMP, PPM, GIF, JPEG 2000, AVIF or HEIC.

    Grey, palette and RGB, each with or without transparency; CMYK becomes sRGB, by its
    profile if it has one. The orientation is applied. PNG, TIFF, HEIC, JPEG 2000 and grey
    PPM keep up to 16 bits; AVIF and PPM in colours are rounded to 8. Not kept: comments,
    XMP, gamma, resolution (but in EXIF), and of TIFF all tags but those of EXIF that
    describe a picture.

    Args:
      source: a path, or a stream of bytes, which is read to its end.
      frame: which page or frame, from 0; None for a file that has one only.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: damaged, cut off or none of these; several pages or frames and none
        chosen, or one that is not there; more pixels than twice
        `PIL.Image.MAX_IMAGE_PIXELS`; Lab, signed or floating-point samples, channels
        without a meaning; or a decoder that is not installed. Names the file.
    """
    if not isinstance(source, str | Path):
        with _named_errors("the stream"):
            return _read(io.BytesIO(source.read()), frame)
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"no such image file: {path}")
    # By its name Pillow would map a TIFF into memory, and then turn it wrongly.
    with _named_errors(str(path)):
        with decoding(OSError):
            file = path.open("rb")
        with file:
            return _read(file, frame)


def in_eight_bits(values: np.ndarray) -> np.ndarray:
    """The nearest uint8 of uint16 values, round(value / 257); there are no ties.

    Values of uint8 are returned as they are.
    """
    if values.dtype == np.uint8:
        return values
    quotient, remainder = np.divmod(values, np.uint16(257))
    return (quotient + (remainder > 128)).astype(np.uint8)


@contextlib.contextmanager
def _named_errors(name: str) -> Iterator[None]:
    """Turns what a file is refused for into a ValueError that names it."""
    try:
        yield
    except RefusedError as error:
        raise ValueError(f"cannot read the image {name}: {error}") from error
    except DamagedError as error:
        raise ValueError(
            f"cannot read the image {name}: it is damaged, cut off or of a rare kind "
            f"({error})"
        ) from error


def _read(stream: Stream, frame: int | None) -> StoredImage:
    if frame is not None and frame < 0:
        raise RefusedError(f"frame: expected 0 or more, found {frame}")
    head = stream.read(12)
    with pillow.OWN_SETTINGS:
        if head.startswith(tiff.STARTS):
            return tiff.read(stream, frame)
        image = pillow.opened(stream)
        if image is not None:
            with image:
                return pillow.read(image, stream, frame)
        if head[4:8] == b"ftyp":
            return heif.read(stream, frame)
        raise RefusedError(f"expected one of {NAMES}")
