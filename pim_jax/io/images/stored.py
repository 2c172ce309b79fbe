"""What an image file stores, and what the readers of all formats share."""

import contextlib
import dataclasses
import logging
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import numpy as np
import PIL.Image
from jaxtyping import UInt8, UInt16

from pim_jax.io.damage import decoding

# What decoders raise on damaged or hostile files; those of imagecodecs are RuntimeErrors.
DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    PIL.Image.DecompressionBombError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
)

Samples: TypeAlias = UInt8[np.ndarray, "h w c"] | UInt16[np.ndarray, "h w c"]
Plane: TypeAlias = UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]


@dataclasses.dataclass(frozen=True)
class StoredImage:
    """The content of an image file, upright.

    Attributes:
      samples: grey (one channel) or RGB (three), uint8 in [0, 255] or uint16 in
        [0, 65535], whichever holds the file's precision.
      alpha: opacity, not multiplied into the samples, of the same dtype; None if all
        pixels are opaque.
      icc: the colour profile as it was found.
      exif: from the byte order mark on, without "Exif" in front; its orientation is 1 or
        absent.
      notes: what could not be kept, a sentence each.
    """

    samples: Samples
    alpha: Plane | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    notes: tuple[str, ...] = ()

    @property
    def white(self) -> int:
        """The value of full intensity and of full opacity."""
        return int(np.iinfo(self.samples.dtype).max)


class RefusedError(ValueError):
    """A file that is not read, with a message for its owner."""


def choose(frame: int | None, count: int) -> None:
    """ValueError unless it is clear which of the frames is meant."""
    if frame is None and count > 1:
        raise RefusedError(
            f"expected one picture, found several pages or frames ({count}); choose one "
            "by its number, from 0 (frame=0)"
        )
    if frame is not None and frame >= count:
        raise RefusedError(f"frame: found {frame}, the file has {count} (from 0)")


def check_size(width: int, height: int) -> None:
    """ValueError for more pixels than Pillow reads."""
    limit = PIL.Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > 2 * limit:
        raise RefusedError(
            f"{width}x{height} exceeds {2 * limit} pixels, twice "
            "PIL.Image.MAX_IMAGE_PIXELS; it could be a decompression bomb"
        )


def upright(
    samples: Samples,
    alpha: Plane | None,
    orientation: int,
    icc: bytes | None,
    exif: bytes | None,
    notes: tuple[str, ...],
) -> StoredImage:
    """The image turned by its EXIF orientation, without an alpha that is opaque."""
    turn = _TURNS.get(orientation, lambda values: values)
    if alpha is not None and (alpha == np.iinfo(alpha.dtype).max).all():
        alpha = None
    return StoredImage(
        np.ascontiguousarray(turn(samples)),
        None if alpha is None else np.ascontiguousarray(turn(alpha)),
        icc,
        exif,
        notes,
    )


# What makes an image upright whose EXIF says that it is stored so.
_TURNS: Mapping[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda values: values[:, ::-1],
    3: lambda values: values[::-1, ::-1],
    4: lambda values: values[::-1],
    5: lambda values: values.swapaxes(0, 1),
    6: lambda values: values[::-1].swapaxes(0, 1),
    7: lambda values: values[::-1, ::-1].swapaxes(0, 1),
    8: lambda values: values.swapaxes(0, 1)[::-1],
}


def split(values: np.ndarray) -> tuple[Samples, Plane | None]:
    """Samples and alpha of an array (h, w) or (h, w, c), the last of 2 or 4 channels."""
    values = values[:, :, None] if values.ndim == 2 else values
    channels = values.shape[2]
    if values.dtype not in (np.uint8, np.uint16) or channels not in (1, 2, 3, 4):
        raise RefusedError(
            f"expected grey or RGB of 8 or 16 bits and perhaps alpha, found "
            f"{values.dtype} {values.shape}"
        )
    if channels in (1, 3):
        return values, None
    return values[:, :, :-1], values[:, :, -1]


def scaled(values: np.ndarray, bits: int) -> UInt16[np.ndarray, "h w *c"]:
    """Values of some bits as the nearest of 16."""
    limit = 2**bits - 1
    if values.max() > limit:
        raise RefusedError(f"expected samples of {bits} bits, found {values.max()}")
    return ((values.astype(np.uint32) * 65535 + limit // 2) // limit).astype(np.uint16)


def unassociated(samples: Samples, alpha: Plane) -> Samples:
    """Colours with alpha divided out, rounded; 0 where alpha is."""
    white = np.iinfo(samples.dtype).max
    opacity = np.maximum(alpha, 1).astype(np.uint64)[:, :, None]
    divided = (samples.astype(np.uint64) * white + opacity // 2) // opacity
    return np.where(alpha[:, :, None] > 0, np.minimum(divided, white), 0).astype(
        samples.dtype
    )


@contextlib.contextmanager
def by_imagecodecs() -> Iterator[None]:
    """Encloses calls of imagecodecs, and the import, which few files need."""
    try:
        with quiet("imagecodecs"), decoding(*DAMAGE):
            yield
    except ImportError as error:
        raise RefusedError(
            "images of this kind need the package imagecodecs (pip install imagecodecs)"
        ) from error


@contextlib.contextmanager
def quiet(name: str) -> Iterator[None]:
    """Without a logger's messages about damaged files, which are refused anyway."""

    def nothing(record: logging.LogRecord) -> bool:
        del record
        return False

    logger = logging.getLogger(name)
    logger.addFilter(nothing)
    try:
        yield
    finally:
        logger.removeFilter(nothing)
