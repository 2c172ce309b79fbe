"""Image files by Pillow; PNG and JPEG 2000 of 16 bits, which it would round, by others."""

import contextlib
import io
import struct
import threading
import warnings

import numpy as np
import PIL.Image
import PIL.ImageCms
import PIL.ImageFile
import PIL.PngImagePlugin
from jaxtyping import UInt16

from pim_jax.io import exif as exif_data
from pim_jax.io.damage import decoding
from pim_jax.io.files import Stream
from pim_jax.io.images.stored import (
    DAMAGE,
    Plane,
    RefusedError,
    Samples,
    StoredImage,
    by_imagecodecs,
    choose,
    scaled,
    split,
    upright,
)

_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "PPM", "GIF", "JPEG2000", "AVIF")
_GREY = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I;16N", "I")
_COLOUR = ("P", "PA", "RGB", "RGBA", "RGBa", "CMYK")
# Bytes that are unpacked of a profile or comment in PNG; it could be a bomb.
LARGEST_PNG_PROFILE = 2**24
_JPEG_2000_CODESTREAM = b"\xff\x4f\xff\x51"
_SYCC = b"colr\x01\0\0\0\0\0\x12"


class _OwnSettings:
    """Pillow as reading needs it, whatever the program around has set, and silent.

    Above its limit of pixels Pillow warns, above twice that it refuses; of damaged
    metadata it leaves out parts with a warning. With LOAD_TRUNCATED_IMAGES, which many
    programs set, it fills up what is missing of a picture. A PNG whose profile or comment
    is longer than MAX_TEXT_CHUNK it refuses.

    All this holds for a whole process, so it stays so while any thread reads: threads
    that change it each for itself would restore one another's values.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers = 0
        self._before = contextlib.ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._readers == 0:
                self._before = self._set()
            self._readers += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._readers -= 1
            if self._readers == 0:
                self._before.close()

    def _set(self) -> contextlib.ExitStack:
        """Closing what it returns puts all back."""
        before = contextlib.ExitStack()
        before.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
        longest = max(LARGEST_PNG_PROFILE, PIL.PngImagePlugin.MAX_TEXT_CHUNK)
        for module, name, value in (
            (PIL.ImageFile, "LOAD_TRUNCATED_IMAGES", False),
            (PIL.PngImagePlugin, "MAX_TEXT_CHUNK", longest),
        ):
            before.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, value)
        return before


OWN_SETTINGS = _OwnSettings()


def opened(
    stream: Stream, formats: tuple[str, ...] = _FORMATS
) -> PIL.Image.Image | None:
    """An image that is not decoded yet; None for none of the formats.

    Args:
      stream: of a whole file, at any place.
      formats: by Pillow's names; those that this Pillow was built without are left out.
    """
    PIL.Image.init()
    known = tuple(name for name in formats if name in PIL.Image.OPEN)
    stream.seek(0)
    with decoding(*DAMAGE):
        try:
            return PIL.Image.open(stream, formats=known)
        except PIL.UnidentifiedImageError:
            return None


def read(image: PIL.Image.Image, stream: Stream, frame: int | None) -> StoredImage:
    """The content of an image that Pillow has opened, from the stream of its file."""
    # MPO is JPEG with more pictures behind the first: previews and depth.
    with decoding(*DAMAGE):
        count = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    choose(frame, count)
    if frame:
        with decoding(*DAMAGE):
            image.seek(frame)
    if image.mode not in _GREY + _COLOUR:
        raise RefusedError(
            f"expected grey, palette, RGB or CMYK of up to 16 bits, found the mode "
            f"{image.mode}; convert it to RGB first"
        )
    depth = _depth(image, stream)
    if depth == 8:
        with decoding(*DAMAGE):
            image.load()
    elif count > 1:
        raise RefusedError(f"cannot read single frames of {depth} bits in a channel")
    # Text of a PNG may have the same name as what Pillow keeps there.
    found = image.info.get("icc_profile")
    icc = found if isinstance(found, bytes) and found else None
    # Of an image that was turned when it was loaded, it is 1.
    raw, orientation, notes = exif_data.read(image)
    if depth == 8:
        samples, alpha, icc = _channels(image, icc)
    elif image.format == "PNG":
        samples, alpha = split(_png(stream))
    else:
        samples, alpha = split(scaled(_jpeg_2000(stream), depth))
    return upright(samples, alpha, orientation, icc, raw, notes)


def _channels(
    image: PIL.Image.Image, icc: bytes | None
) -> tuple[Samples, Plane | None, bytes | None]:
    """Samples, alpha and profile of an image that Pillow holds exactly."""
    if image.mode.startswith("I"):
        return _deep_grey(image), None, icc
    if image.mode == "CMYK":
        return _from_cmyk(image, icc), None, None
    grey = image.mode in _GREY
    if not image.has_transparency_data:
        mode = "L" if grey else "RGB"
        samples = _in_mode(image, mode)
        return (samples[:, :, None] if grey else samples), None, icc
    samples = _in_mode(image, *(["LA"] if image.mode == "La" else []), "RGBA")
    return samples[:, :, : 1 if grey else 3], samples[:, :, 3], icc


def _in_mode(image: PIL.Image.Image, *modes: str) -> np.ndarray:
    """Its samples, converted to one mode after the other."""
    with decoding(*DAMAGE):
        for mode in modes:
            image = image if image.mode == mode else image.convert(mode)
        return np.asarray(image)


def _deep_grey(image: PIL.Image.Image) -> UInt16[np.ndarray, "h w 1"]:
    values = _in_mode(image, image.mode)
    if values.min() < 0 or values.max() > 65535:
        raise RefusedError(
            f"expected grey values of 16 bits, found {values.min()} to {values.max()}"
        )
    return values.astype(np.uint16)[:, :, None]


def _from_cmyk(image: PIL.Image.Image, icc: bytes | None) -> np.ndarray:
    """In sRGB; without a profile as viewers show it, (1 - C) (1 - K) and so on."""
    if icc is None:
        return _in_mode(image, "RGB")
    try:
        return _in_mode(in_srgb(image, icc), "RGB")
    except PIL.ImageCms.PyCMSError as error:
        raise RefusedError(
            f"the profile of its CMYK cannot be used: {error}"
        ) from error


def in_srgb(image: PIL.Image.Image, icc: bytes) -> PIL.Image.Image:
    """The image as RGB in sRGB, by its profile.

    Raises: PIL.ImageCms.PyCMSError for a profile that cannot be used.
    """
    try:
        profile = PIL.ImageCms.ImageCmsProfile(io.BytesIO(icc))
    except OSError as error:
        raise PIL.ImageCms.PyCMSError(error) from error
    target = PIL.ImageCms.createProfile("sRGB")
    converted = PIL.ImageCms.profileToProfile(image, profile, target, outputMode="RGB")
    assert converted is not None  # it is None only for conversion in place
    return converted


def _depth(image: PIL.Image.Image, stream: Stream) -> int:
    """Bits of a channel where Pillow would not give the file exactly; else 8."""
    if image.format == "PNG":
        # Signature, length, "IHDR", width, height, bit depth.
        stream.seek(24)
        bits = stream.read(1)[0]
        # Of 2 and 4 bits Pillow scales the grey, but not that which is transparent.
        keyed = image.mode == "L" and "transparency" in image.info
        return bits if bits == 16 or (bits in (2, 4) and keyed) else 8
    if image.format == "JPEG2000":
        stream.seek(0)
        return _jpeg_2000_depth(stream.read())
    return 8


def _jpeg_2000_depth(data: bytes) -> int:
    """Bits of each component, by the size marker of the codestream."""
    start = data.find(_JPEG_2000_CODESTREAM)
    if start < 0:
        raise RefusedError("it has no codestream of JPEG 2000")
    (count,) = _unpacked(">H", data, start + 40)
    # Precision less one, with the eighth bit for signs; and two subsamplings.
    found = set(_unpacked(f"{3 * count}B", data, start + 42)[::3])
    if not found:
        raise RefusedError("its codestream has no components")
    precision = min(found) + 1
    if len(found) != 1 or precision > 16:
        raise RefusedError(
            "expected components of JPEG 2000 of up to 16 bits, unsigned and alike"
        )
    if precision != 8 and (count not in (1, 3) or _SYCC in data[:start]):
        raise RefusedError(
            f"expected grey or RGB in JPEG 2000 of {precision} bits, found {count} "
            "components or another colour space"
        )
    return precision


def _unpacked(format: str, data: bytes, place: int) -> tuple[int, ...]:
    with decoding(struct.error):
        return struct.unpack_from(format, data, place)


def _png(stream: Stream) -> np.ndarray:
    stream.seek(0)
    with by_imagecodecs():
        import imagecodecs  # Only here: 8 bits do without.

        return imagecodecs.png_decode(stream.read())


def _jpeg_2000(stream: Stream) -> np.ndarray:
    stream.seek(0)
    with by_imagecodecs():
        import imagecodecs  # Only here: 8 bits do without.

        return imagecodecs.jpeg2k_decode(stream.read())
