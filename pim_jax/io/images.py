"""Image files of all kinds as upright arrays, read right or refused with a sentence.

Both packages read with this module. Pillow decodes what it gives exactly; of 16 bits in
colour it would keep 8, so PNG, TIFF and JPEG 2000 of that depth go through libpng, libtiff
and OpenJPEG (imagecodecs), and HEIC through libheif (pillow-heif).

A file with several pages or frames (animations, multi-page TIFF, collections) is refused
unless the caller says which one is meant: the first is often a thumbnail or a title.
Pictures behind the first of a JPEG (previews, depth) are not counted.
"""

import contextlib
import dataclasses
import io
import logging
import struct
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import PIL.ExifTags
import PIL.Image
import PIL.ImageCms
import PIL.ImageFile
import PIL.PngImagePlugin
from jaxtyping import UInt8, UInt16

from pim_jax.io import exif as exif_data

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"),
    *(".jp2", ".gif", ".avif", ".heic", ".heif"),
)
# In messages, and those of them that Pillow decodes.
NAMES = "PNG, JPEG, WebP, TIFF, BMP, PPM, GIF, JPEG 2000, AVIF, HEIC"
_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "PPM", "GIF", "JPEG2000", "AVIF")

_GREY = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I;16N", "I")
_COLOUR = ("P", "PA", "RGB", "RGBA", "RGBa", "CMYK")
# Bytes that are unpacked of a profile or comment in PNG; it could be a bomb.
LARGEST_PNG_PROFILE = 2**24
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_JPEG_2000_CODESTREAM = b"\xff\x4f\xff\x51"
_SYCC = b"colr\x01\0\0\0\0\0\x12"

# What decoders raise on damaged or hostile files; those of imagecodecs are RuntimeErrors.
_DAMAGE = (
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


def read(
    source: str | Path | BinaryIO | io.BytesIO, frame: int | None = None
) -> StoredImage:
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
    with _named_errors(str(path)), path.open("rb") as file:
        return _read(file, frame)


def in_eight_bits(values: np.ndarray) -> np.ndarray:
    """The nearest uint8 of uint16 values, round(value / 257); there are no ties.

    Values of uint8 are returned as they are.
    """
    if values.dtype == np.uint8:
        return values
    quotient, remainder = np.divmod(values, np.uint16(257))
    return (quotient + (remainder > 128)).astype(np.uint8)


class _RefusedError(ValueError):
    """A file that is not read, with a message for its owner."""


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


_OWN_SETTINGS = _OwnSettings()


@contextlib.contextmanager
def _named_errors(name: str) -> Iterator[None]:
    """Turns what decoders raise into a ValueError that names the file."""
    try:
        yield
    except _RefusedError as error:
        raise ValueError(f"cannot read the image {name}: {error}") from error
    except _DAMAGE as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise ValueError(
            f"cannot read the image {name}: it is damaged, cut off or of a rare kind "
            f"({reason})"
        ) from error


def _read(stream: exif_data.Stream, frame: int | None) -> StoredImage:
    if frame is not None and frame < 0:
        raise _RefusedError(f"frame: expected 0 or more, found {frame}")
    head = stream.read(12)
    stream.seek(0)
    with _OWN_SETTINGS:
        if head.startswith(_TIFF_STARTS):
            return _read_tiff(stream, frame)
        try:
            image = PIL.Image.open(stream, formats=_formats())
        except PIL.UnidentifiedImageError as error:
            if head[4:8] == b"ftyp":
                return _read_heif(stream, frame)
            raise _RefusedError(f"expected one of {NAMES}") from error
        with image:
            return _read_with_pillow(image, stream, frame)


def _formats() -> tuple[str, ...]:
    """Of our formats those that this Pillow was built with."""
    PIL.Image.init()
    return tuple(name for name in _FORMATS if name in PIL.Image.OPEN)


def _read_with_pillow(
    image: PIL.Image.Image, stream: exif_data.Stream, frame: int | None
) -> StoredImage:
    # MPO is JPEG with more pictures behind the first: previews and depth.
    count = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    _choose(frame, count)
    if frame:
        image.seek(frame)
    if image.mode not in _GREY + _COLOUR:
        raise _RefusedError(
            f"expected grey, palette, RGB or CMYK of up to 16 bits, found the mode "
            f"{image.mode}; convert it to RGB first"
        )
    depth = _depth(image, stream)
    if depth == 8:
        image.load()
    elif count > 1:
        raise _RefusedError(f"cannot read single frames of {depth} bits in a channel")
    icc = image.info.get("icc_profile") or None
    # Of an image that was turned when it was loaded, it is 1.
    raw, orientation, notes = exif_data.read(image)
    if depth == 8:
        samples, alpha, icc = _channels(image, icc)
    elif image.format == "PNG":
        samples, alpha = _split(_deep(stream, _png))
    else:
        samples, alpha = _split(_scaled(_deep(stream, _jpeg_2000), depth))
    return _upright(samples, alpha, orientation, icc, raw, notes)


def _choose(frame: int | None, count: int) -> None:
    """ValueError unless it is clear which of the frames is meant."""
    if frame is None and count > 1:
        raise _RefusedError(
            f"expected one picture, found several pages or frames ({count}); choose one "
            "by its number, from 0 (frame=0)"
        )
    if frame is not None and frame >= count:
        raise _RefusedError(f"frame: found {frame}, the file has {count} (from 0)")


def _upright(
    samples: Samples,
    alpha: Plane | None,
    orientation: int,
    icc: bytes | None,
    exif: bytes | None,
    notes: tuple[str, ...],
) -> StoredImage:
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


def _channels(
    image: PIL.Image.Image, icc: bytes | None
) -> tuple[Samples, Plane | None, bytes | None]:
    """Samples, alpha and profile of an image that Pillow holds exactly."""
    if image.mode.startswith("I"):
        return _deep_grey(image), None, icc
    if image.mode == "CMYK":
        return np.asarray(_from_cmyk(image, icc)), None, None
    grey = image.mode in _GREY
    if not image.has_transparency_data:
        mode = "L" if grey else "RGB"
        samples = np.asarray(image if image.mode == mode else image.convert(mode))
        return (samples[:, :, None] if grey else samples), None, icc
    if image.mode == "La":
        image = image.convert("LA")
    samples = np.asarray(image if image.mode == "RGBA" else image.convert("RGBA"))
    return samples[:, :, : 1 if grey else 3], samples[:, :, 3], icc


def _deep_grey(image: PIL.Image.Image) -> UInt16[np.ndarray, "h w 1"]:
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise _RefusedError(
            f"expected grey values of 16 bits, found {values.min()} to {values.max()}"
        )
    return values.astype(np.uint16)[:, :, None]


def _from_cmyk(image: PIL.Image.Image, icc: bytes | None) -> PIL.Image.Image:
    """In sRGB; without a profile as viewers show it, (1 - C) (1 - K) and so on."""
    if icc is None:
        return image.convert("RGB")
    try:
        profile = PIL.ImageCms.ImageCmsProfile(io.BytesIO(icc))
        target = PIL.ImageCms.createProfile("sRGB")
        converted = PIL.ImageCms.profileToProfile(
            image, profile, target, outputMode="RGB"
        )
    except (OSError, PIL.ImageCms.PyCMSError) as error:
        raise _RefusedError(
            f"the profile of its CMYK cannot be used: {error}"
        ) from error
    assert converted is not None  # it is None only for conversion in place
    return converted


# Of more than eight bits.


def _depth(image: PIL.Image.Image, stream: exif_data.Stream) -> int:
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
    (count,) = struct.unpack_from(">H", data, start + 40)
    # Precision less one, with the eighth bit for signs; and two subsamplings.
    found = {data[start + 42 + 3 * index] for index in range(count)}
    precision = min(found) + 1
    if len(found) != 1 or precision > 16:
        raise _RefusedError(
            "expected components of JPEG 2000 of up to 16 bits, unsigned and alike"
        )
    if precision != 8 and (count not in (1, 3) or _SYCC in data[:start]):
        raise _RefusedError(
            f"expected grey or RGB in JPEG 2000 of {precision} bits, found {count} "
            "components or another colour space"
        )
    return precision


def _png(data: bytes) -> np.ndarray:
    import imagecodecs  # Only here: 8 bits do without.

    return imagecodecs.png_decode(data)


def _jpeg_2000(data: bytes) -> np.ndarray:
    import imagecodecs  # Only here: 8 bits do without.

    return imagecodecs.jpeg2k_decode(data)


def _deep(
    stream: exif_data.Stream, decode: Callable[[bytes], np.ndarray]
) -> np.ndarray:
    stream.seek(0)
    try:
        with _quiet("imagecodecs"):
            return decode(stream.read())
    except ImportError as error:
        raise _RefusedError(
            "images of this kind need the package imagecodecs (pip install imagecodecs)"
        ) from error


def _split(values: np.ndarray) -> tuple[Samples, Plane | None]:
    """Samples and alpha of an array (h, w) or (h, w, c), the last of 2 or 4 channels."""
    values = values[:, :, None] if values.ndim == 2 else values
    channels = values.shape[2]
    if values.dtype not in (np.uint8, np.uint16) or channels not in (1, 2, 3, 4):
        raise _RefusedError(
            f"expected grey or RGB of 8 or 16 bits and perhaps alpha, found "
            f"{values.dtype} {values.shape}"
        )
    if channels in (1, 3):
        return values, None
    return values[:, :, :-1], values[:, :, -1]


def _scaled(values: np.ndarray, bits: int) -> UInt16[np.ndarray, "h w *c"]:
    """Values of some bits as the nearest of 16."""
    limit = 2**bits - 1
    if values.max() > limit:
        raise _RefusedError(f"expected samples of {bits} bits, found {values.max()}")
    return ((values.astype(np.uint32) * 65535 + limit // 2) // limit).astype(np.uint16)


# HEIC.


def _read_heif(stream: exif_data.Stream, frame: int | None) -> StoredImage:
    try:
        import pillow_heif  # Only here: it comes with an extra.
    except ImportError as error:
        raise _RefusedError(
            "HEIC needs the package pillow-heif (pip install 'pim-jax[codecs]')"
        ) from error
    stream.seek(0)
    file = pillow_heif.open_heif(stream, convert_hdr_to_8bit=False)
    _choose(frame, len(file))
    image = file[frame or 0]
    _check_size(*image.size)
    info: Mapping[str, Any] = image.info
    values, bits = np.asarray(image), info["bit_depth"]
    if values.dtype == np.uint16 and bits < 16:
        # It keeps the bits of the file at the top.
        values = _scaled(values >> (16 - bits), bits)
    samples, alpha = _split(values)
    if image.premultiplied_alpha and alpha is not None:
        samples = _unassociated(samples, alpha)
    # Decoding has turned it, whatever its EXIF says.
    exif, notes = exif_data.upright(info.get("exif"))
    return _upright(samples, alpha, 1, info.get("icc_profile") or None, exif, notes)


def _check_size(width: int, height: int) -> None:
    """ValueError for more pixels than Pillow reads."""
    limit = PIL.Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > 2 * limit:
        raise _RefusedError(
            f"{width}x{height} exceeds {2 * limit} pixels, twice "
            "PIL.Image.MAX_IMAGE_PIXELS; it could be a decompression bomb"
        )


# TIFF.


@dataclasses.dataclass(frozen=True)
class _Tiff:
    """What the tags of a page say about its samples."""

    width: int
    height: int
    bits: int
    photometric: int
    alpha: str | None  # "associated" or "unassociated"
    planar: bool
    orientation: int
    offset: int  # of the page's directory
    byte_order: str
    big: bool
    icc: bytes | None

    @property
    def plain(self) -> bool:
        """Whether samples are intensities: neither palette, CMYK nor YCbCr."""
        return self.photometric in (0, 1, 2)


_COLOURS = {
    0: 1,
    1: 1,
    2: 3,
    3: 1,
    5: 4,
    6: 3,
}  # channels by photometric interpretation
_JPEG_IN_TIFF = (6, 7)  # by compression, in the old and in the new way
_SAMPLE_FORMATS = {2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}
_EXTRA_SAMPLES = {1: "associated", 2: "unassociated"}
# A tile may be larger than a small picture.
_LARGEST_TILE = 2**22


def _read_tiff(stream: exif_data.Stream, frame: int | None) -> StoredImage:
    tags = _tiff_tags(stream, frame)
    stream.seek(0)
    try:
        image = None
        if tags.bits < 16 and not (tags.plain and tags.planar):
            image = PIL.Image.open(stream, formats=("TIFF",))
    except PIL.UnidentifiedImageError as error:
        if tags.bits != 8 or not tags.plain:
            raise _RefusedError(
                f"expected another layout of a TIFF of {tags.bits} bits and photometric "
                f"interpretation {tags.photometric}; store it as grey or RGB of 8 bits"
            ) from error
    if image is None:
        return _read_plain_tiff(stream, tags, frame or 0)
    with image:
        return _read_with_pillow(image, stream, frame)


def _read_plain_tiff(stream: exif_data.Stream, tags: _Tiff, frame: int) -> StoredImage:
    values = _deep(stream, lambda data: _tiff(data, tags, frame))
    samples, alpha = _split(values)
    if tags.photometric == 0:
        samples = ~samples
    if alpha is not None and tags.alpha == "associated":
        samples = _unassociated(samples, alpha)
    raw, notes = exif_data.of_tiff(stream, tags.offset, tags.byte_order, tags.big)
    return _upright(samples, alpha, tags.orientation, tags.icc, raw, notes)


def _tiff(data: bytes, tags: _Tiff, frame: int) -> Samples:
    """Samples, decoded twice, over zeros and over ones.

    Of a strip with surplus data libtiff decodes next to nothing, without an error.
    """
    import imagecodecs  # Only here: 8 bits do without.

    channels = _COLOURS[tags.photometric] + (tags.alpha is not None)
    planes = tags.planar and channels > 1
    shape = (tags.height, tags.width, channels)
    stored = (channels, *shape[:2]) if planes else shape[: 2 + (channels > 1)]
    dtype = np.uint16 if tags.bits == 16 else np.uint8
    found = imagecodecs.tiff_decode(data, index=frame, out=np.zeros(stored, dtype))
    again = imagecodecs.tiff_decode(data, index=frame, out=~np.zeros(stored, dtype))
    if not np.array_equal(found, again) or found.shape != stored:
        raise _RefusedError("parts of its data are missing or damaged")
    return (np.moveaxis(found, 0, 2) if planes else found).reshape(shape)


def _unassociated(samples: Samples, alpha: Plane) -> Samples:
    """Colours with alpha divided out, rounded; 0 where alpha is."""
    white = np.iinfo(samples.dtype).max
    opacity = np.maximum(alpha, 1).astype(np.uint64)[:, :, None]
    divided = (samples.astype(np.uint64) * white + opacity // 2) // opacity
    return np.where(alpha[:, :, None] > 0, np.minimum(divided, white), 0).astype(
        samples.dtype
    )


def _tiff_tags(stream: exif_data.Stream, frame: int | None) -> _Tiff:
    """Of the chosen page; ValueError for one that is not an image of a kind we read."""
    import tifffile  # Only here: few files are TIFF.

    end = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    with _quiet("tifffile"), tifffile.TiffFile(stream) as file:
        _choose(frame, len(file.pages))
        page: Any = file.pages[frame or 0]
        return _checked_tags(page.tags.valueof, page.offset, file, end)


def _checked_tags(
    valueof: Callable[..., Any], offset: int, file: Any, end: int
) -> _Tiff:
    """Args: end: the size of the file."""

    def numbers(code: int, default: int) -> tuple[int, ...]:
        value = valueof(code, default)
        return tuple(map(int, value)) if isinstance(value, tuple) else (int(value),)

    def number(code: int, default: int) -> int:
        return numbers(code, default)[0]

    width, height, photometric = number(256, 0), number(257, 0), number(262, -1)
    _check_tiff_size(width, height, number(322, 1) * number(323, 1))
    bits = _tiff_bits(set(numbers(258, 1)), set(numbers(339, 1)))
    _check_photometric(photometric, bits, number(259, 1))
    planar = number(284, 1) == 2
    if valueof(322) is None:
        parts = -(-height // max(1, min(number(278, height), height)))
        places = numbers(273, 0), numbers(279, 1)
    else:
        parts = -(-width // number(322, 1)) * -(-height // number(323, 1))
        places = numbers(324, 0), numbers(325, 1)
    _check_places(*places, parts * (number(277, 1) if planar else 1), end)
    return _Tiff(
        width,
        height,
        bits,
        photometric,
        _tiff_alpha(number(277, 1) - _COLOURS[photometric], photometric, valueof(338)),
        planar,
        number(274, 1),
        offset,
        file.byteorder,
        bool(file.is_bigtiff),
        valueof(34675) or None,
    )


def _check_tiff_size(width: int, height: int, tile: int) -> None:
    if width < 1 or height < 1:
        raise _RefusedError(f"expected pixels, found a TIFF of {width}x{height}")
    _check_size(width, height)
    if not 1 <= tile <= max(_LARGEST_TILE, 4 * width * height):
        raise _RefusedError(
            f"found tiles of {tile} pixels in a TIFF of {width}x{height}"
        )


def _check_places(
    offsets: tuple[int, ...], counts: tuple[int, ...], parts: int, end: int
) -> None:
    """ValueError unless the data of all strips or tiles is in the file.

    Decoders make black of what is missing.
    """
    # Old files may lack the counts.
    counts = counts if len(counts) > 1 else counts * len(offsets)
    if (
        len(offsets) < parts
        or min(offsets) < 8
        or min(counts) < 1
        or any(x + n > end for x, n in zip(offsets, counts, strict=True))
    ):
        raise _RefusedError("parts of its data are missing: it is damaged or cut off")


def _tiff_bits(bits: set[int], kinds: set[int]) -> int:
    """Bits of each sample; ValueError unless all are alike and unsigned."""
    found = [f"{_SAMPLE_FORMATS.get(x, 'undefined')} samples" for x in kinds - {1}] or [
        f"{' and '.join(map(str, sorted(bits)[:4]))} bits"
    ]
    if kinds != {1} or len(bits) != 1 or not bits <= {1, 2, 4, 8, 16}:
        raise _RefusedError(
            f"expected unsigned samples of 1, 2, 4, 8 or 16 bits, found {found[0]} in "
            "this TIFF; scale them to 8 or 16 bits first"
        )
    return min(bits)


def _check_photometric(photometric: int, bits: int, compression: int) -> None:
    if photometric not in _COLOURS or (bits == 16 and photometric > 2):
        raise _RefusedError(
            f"expected grey, palette, RGB, CMYK or YCbCr (of 16 bits: grey or RGB), found "
            f"photometric interpretation {photometric} and {bits} bits in this TIFF; "
            "convert it to RGB first"
        )
    if photometric == 6 and compression not in _JPEG_IN_TIFF:
        raise _RefusedError(
            "expected YCbCr in this TIFF only inside JPEG; convert it to RGB first"
        )


def _tiff_alpha(channels: int, photometric: int, extra: object) -> str | None:
    """How alpha is stored in the one channel beyond the colours, if there is one."""
    if channels == 0:
        return None
    kinds = extra if isinstance(extra, tuple) else (extra,)
    alpha = _EXTRA_SAMPLES.get(kinds[0]) if kinds and kinds[0] is not None else None
    if channels != 1 or alpha is None or photometric > 3:
        raise _RefusedError(
            f"expected no channel beyond the colours but alpha, found {channels} more in "
            f"this TIFF, with the extra samples {tuple(kinds)[:4]}; remove them first"
        )
    return alpha


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
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
