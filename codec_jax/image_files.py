"""Image files to 8-bit pixels with all that belongs to them, and back without loss.

A codec compresses three channels of pixels. Alpha, colour profile, EXIF and whether the
picture was grey travel beside them, as the extras of the container.
"""

import contextlib
import dataclasses
import io
import lzma
import os
import secrets
import struct
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import PIL.ExifTags
import PIL.Image
import PIL.ImageOps
from jaxtyping import Bool, UInt8, UInt16
from PIL.TiffImagePlugin import TiffImageFile

Format = Literal["jpeg", "png", "tiff", "webp"]

# What can be written; a suffix and how Pillow writes it: without loss, but for JPEG. TIFF
# is not compressed, since libtiff, which would do it, cannot write EXIF. `exact` keeps
# the colours of pixels that are fully transparent. JPEG keeps its colours at full size.
SUFFIXES: Mapping[str, Format] = {
    ".jpeg": "jpeg",
    ".jpg": "jpeg",
    ".png": "png",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".webp": "webp",
}
_OPTIONS: Mapping[Format, Mapping[str, object]] = {
    "jpeg": {"quality": 95, "subsampling": 0},
    "png": {},
    "tiff": {"compression": "raw"},
    "webp": {"lossless": True, "exact": True},
}
_LARGEST_SIDE: Mapping[Format, int] = {"jpeg": 65500, "webp": 16383}

# What can be read.
_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "PPM")
_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "I;16", "I;16B", "I")
# What decoders raise on damaged or hostile files.
_DAMAGE = (
    ArithmeticError,
    LookupError,
    OSError,
    PIL.Image.DecompressionBombError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
)

# Parts of EXIF that describe a picture; in a TIFF file others say how it is stored.
_DESCRIPTIONS = (
    PIL.ExifTags.Base.ImageDescription,
    PIL.ExifTags.Base.Make,
    PIL.ExifTags.Base.Model,
    PIL.ExifTags.Base.Software,
    PIL.ExifTags.Base.DateTime,
    PIL.ExifTags.Base.Artist,
    PIL.ExifTags.Base.Copyright,
)
_FOLDERS = (PIL.ExifTags.IFD.Exif, PIL.ExifTags.IFD.GPSInfo)
_ORIENTATION = PIL.ExifTags.Base.Orientation
_EXIF_PREFIX = b"Exif\0\0"

# Of LZMA2 as in .xz, without its container; masks take a half to a quarter of what they
# take in PNG. A reader needs memory for the dictionary.
_ALPHA_FILTERS = (
    {"id": lzma.FILTER_DELTA, "dist": 1},
    {"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 2**22},
)


@dataclasses.dataclass(frozen=True)
class Picture:
    """Upright pixels, sRGB unless a profile says otherwise, and what belongs to them.

    Attributes:
      pixels: RGB; alike in all channels if `grey`.
      alpha: opacity, not multiplied into the pixels; None if all are opaque.
      grey: whether it has one channel in a file.
      icc: the colour profile as it was found.
      exif: from the byte order mark on, without "Exif" in front; its orientation is 1 or
        absent.

    Raises:
      ValueError: another shape or dtype, or grey with channels that differ.
    """

    pixels: UInt8[np.ndarray, "h w 3"]
    alpha: UInt8[np.ndarray, "h w"] | None = None
    grey: bool = False
    icc: bytes | None = None
    exif: bytes | None = None

    def __post_init__(self) -> None:
        pixels, alpha = self.pixels, self.alpha
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise ValueError(
                f"pixels: expected uint8 (h, w, 3), found {pixels.dtype} {pixels.shape}"
            )
        if not pixels.size:
            raise ValueError(f"pixels: expected one at least, found {pixels.shape}")
        if alpha is not None and (
            alpha.dtype != np.uint8 or alpha.shape != pixels.shape[:2]
        ):
            raise ValueError(
                f"alpha: expected uint8 {pixels.shape[:2]}, found {alpha.dtype} "
                f"{alpha.shape}"
            )
        if self.grey and not (pixels == pixels[:, :, :1]).all():
            raise ValueError("grey: expected three channels alike, found colours")


def read(source: str | Path | BinaryIO) -> Picture:
    """The picture in a PNG, JPEG, WebP, TIFF, BMP or PPM file.

    Grey (1 to 16 bits), palette and RGB (8 or 16 bits), each with or without
    transparency. Of 16 bits the nearest of 8 are taken, round(value / 257). The EXIF
    orientation is applied. A fully opaque alpha channel is left out. Not kept: comments,
    XMP, gamma; of TIFF no tags but those of EXIF that describe a picture.

    Args:
      source: a path, or a stream of bytes, which is read to its end.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: damaged, cut off or none of these; several pages or frames; more pixels
        than twice `PIL.Image.MAX_IMAGE_PIXELS`; CMYK (its colours need a profile and
        another program), Lab, floating point or signed numbers.
    """
    if not isinstance(source, str | Path):
        with _named_errors("the stream"):
            return _read(io.BytesIO(source.read()))
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"no such image file: {path}")
    with _named_errors(str(path)), path.open("rb") as file:
        return _read(file)


def write(
    picture: Picture,
    target: str | Path | BinaryIO,
    format: Format | None = None,
    strip: bool = False,
) -> None:
    """Writes a picture with everything that belongs to it: without loss, but for JPEG.

    A grey one is written with one channel, but WebP has only RGB. TIFF takes those parts
    of EXIF that describe a picture. JPEG is written at quality 95 with colours at full
    size.

    Args:
      picture: any.
      target: a path, which is replaced only by a complete file; or a stream of bytes.
      format: None takes that of the path's suffix, and PNG for a stream.
      strip: leaves out what `stripped` does.

    Raises:
      FileNotFoundError: there is no such folder.
      ValueError: a suffix or format of none of SUFFIXES; a side beyond what the format
        has, 16383 for WebP and 65500 for JPEG; an alpha channel for JPEG; or EXIF that
        cannot be read for TIFF.
    """
    if strip:
        picture = stripped(picture)
    if isinstance(target, str | Path):
        replace_file(target, _encoded(picture, format or _format_of(Path(target))))
    else:
        target.write(_encoded(picture, format or "png"))


def replace_file(path: str | Path, data: bytes) -> None:
    """Writes a file so that at any time there is the old one or the new one, whole.

    Raises:
      FileNotFoundError: there is no such folder.
      ValueError: the path is a folder.
    """
    path = Path(path).resolve()
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no such folder: {path.parent}")
    if path.is_dir():
        raise ValueError(f"expected a file, found a folder: {path}")
    if path.exists() and not path.is_file():
        path.write_bytes(data)  # a pipe or a device, such as /dev/stdout
        return
    fresh = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with fresh.open("xb") as file:
            file.write(data)
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def stripped(picture: Picture) -> Picture:
    """The picture without EXIF: no camera, no time, no place.

    What decides how it looks stays: alpha, whether it is grey, and its colour profile.
    """
    return dataclasses.replace(picture, exif=None)


def with_hidden_filled(picture: Picture) -> Picture:
    """The picture with other colours where nobody sees them, which cost fewer bytes.

    Wherever alpha is 0, the colour is that of visible pixels nearby. Pixels that are
    visible at all stay as they are, and so does a picture without alpha.
    """
    if picture.alpha is None or picture.alpha.all():
        return picture
    visible = picture.alpha > 0
    filled = _spread(picture.pixels, visible)
    pixels = np.where(visible[:, :, None], picture.pixels, filled)
    return dataclasses.replace(picture, pixels=pixels)


def extras_of(picture: Picture, strip: bool = False) -> dict[str, bytes]:
    """What a container has to hold beside the pixels, under the names of its EXTRAS.

    Args:
      picture: any.
      strip: leaves out what `stripped` does.
    """
    if strip:
        picture = stripped(picture)
    extras = {}
    if picture.grey:
        extras["grey"] = b""
    if picture.alpha is not None:
        extras["alpha"] = _packed_alpha(picture.alpha)
    if picture.icc:
        extras["icc"] = picture.icc
    if picture.exif:
        extras["exif"] = picture.exif
    return extras


def picture_from(
    pixels: UInt8[np.ndarray, "h w 3"], extras: Mapping[str, bytes]
) -> Picture:
    """Decoded pixels with the extras of a container.

    A codec does not give back three channels alike; for a grey picture their mean is
    taken, which is the nearest grey.

    Raises:
      ValueError: pixels of another shape or dtype, an unknown name, or an alpha channel
        that does not decode to as many values as there are pixels. No more memory than
        for these is used.
    """
    unknown = set(extras) - {"grey", "alpha", "icc", "exif"}
    if unknown:
        raise ValueError(f"extras: found the unknown {sorted(unknown)}")
    picture = Picture(pixels)
    height, width = pixels.shape[:2]
    alpha = (
        _unpacked_alpha(extras["alpha"], height, width) if "alpha" in extras else None
    )
    return Picture(
        pixels=_nearest_grey(picture.pixels) if "grey" in extras else pixels,
        alpha=alpha,
        grey="grey" in extras,
        icc=extras.get("icc") or None,
        exif=extras.get("exif") or None,
    )


@contextlib.contextmanager
def _named_errors(name: str) -> Iterator[None]:
    """Turns what decoders raise into a ValueError that names the file."""
    try:
        yield
    except _DAMAGE as error:
        raise ValueError(f"cannot read the image {name}: {error}") from error


def _read(stream: BinaryIO) -> Picture:
    with warnings.catch_warnings():
        # Above its limit Pillow warns, above twice that it refuses.
        warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
        try:
            image = PIL.Image.open(stream, formats=_FORMATS)
        except PIL.UnidentifiedImageError as error:
            raise ValueError(f"expected one of {', '.join(_FORMATS)}") from error
    with image:
        _check_kind(image)
        orientation = image.getexif().get(_ORIENTATION, 1)
        # Pillow reads all of a file, or refuses it; it may have turned a TIFF already.
        image.load()
        shallow: PIL.Image.Image = image
        if _is_deep(image, stream):
            shallow = _in_eight_bits(_deep_samples(image, stream))
            shallow.getexif()[_ORIENTATION] = orientation
        PIL.ImageOps.exif_transpose(shallow, in_place=True)
        pixels, alpha = _channels(shallow)
        icc, exif = image.info.get("icc_profile"), _exif(image)
    grey = shallow.mode in ("1", "L", "LA", "La")
    return Picture(pixels, alpha, grey, icc or None, exif)


def _check_kind(image: PIL.Image.Image) -> None:
    """ValueError unless Pillow or FFmpeg give this kind of image as it is meant."""
    if image.mode not in _MODES or (
        image.mode == "I" and isinstance(image, TiffImageFile)
    ):
        raise ValueError(
            "expected grey, palette or RGB of up to 16 bits, found the mode "
            f"{image.mode}; convert it to RGB first"
        )
    # MPO is JPEG with more pictures behind the first: previews and depth.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        raise ValueError("expected one picture, found several pages or frames")
    if isinstance(image, TiffImageFile):
        _check_tiff(image)


def _check_tiff(image: TiffImageFile) -> None:
    tags = image.tag_v2
    bits = set(tags.get(PIL.ExifTags.Base.BitsPerSample, (1,)))
    kinds = set(tags.get(PIL.ExifTags.Base.SampleFormat, (1,)))
    if kinds != {1} or len(bits) != 1 or not bits <= {1, 2, 4, 8, 16}:
        raise ValueError(
            "expected unsigned samples of 1, 2, 4, 8 or 16 bits, found sample formats "
            f"{kinds} and bits {bits}"
        )
    if bits == {16}:
        # Of more than colours FFmpeg would take the next for alpha, as it is.
        extra = tags.get(PIL.ExifTags.Base.ExtraSamples, (2,))
        photometric = tags.get(PIL.ExifTags.Base.PhotometricInterpretation)
        if extra != (2,) or photometric not in (0, 1, 2):
            raise ValueError(
                "expected grey or RGB of 16 bits, with unassociated alpha if any; found "
                f"photometric interpretation {photometric}, extra samples {extra}"
            )


def _is_deep(image: PIL.Image.Image, stream: BinaryIO) -> bool:
    """Whether a file has 16 bits in a channel: in colours Pillow cuts them to 8."""
    if isinstance(image, TiffImageFile):
        return image.tag_v2.get(PIL.ExifTags.Base.BitsPerSample, (1,))[0] == 16
    if image.format == "PNG":
        # Signature, length, "IHDR", width, height, bit depth.
        stream.seek(24)
        return stream.read(1) == b"\x10"
    return image.mode in ("I", "I;16", "I;16B")


def _deep_samples(
    image: PIL.Image.Image, stream: BinaryIO
) -> UInt16[np.ndarray, "h w c"]:
    """A file's samples of 16 bits as they are stored, in one to four channels."""
    if image.format not in ("PNG", "TIFF"):
        return np.asarray(image).astype(np.uint16)[:, :, None]
    import av  # Only here: training and 8 bits do without.

    stream.seek(0)
    kind = f"{image.format.lower()}_pipe"
    try:
        with av.open(stream, mode="r", format=kind) as container:
            frame = next(container.decode(video=0), None)
    except av.FFmpegError as error:
        raise ValueError(str(error)) from error
    # Pillow may have turned a TIFF.
    if frame is None or {frame.width, frame.height} != set(image.size):
        raise ValueError(f"expected a picture of {image.size} pixels, found {frame}")
    name = frame.format.name
    if name.startswith("ya16"):
        plane = np.frombuffer(
            bytes(frame.planes[0]), ">u2" if name == "ya16be" else "<u2"
        )
        rows = plane.reshape(frame.height, -1)[:, : 2 * frame.width]
        samples = rows.reshape(frame.height, frame.width, 2).astype(np.uint16)
    else:
        samples = np.asarray(frame.to_ndarray(format=name))
    if samples.dtype != np.uint16:
        raise ValueError(f"expected samples of 16 bits, found {name}")
    return samples.reshape(frame.height, frame.width, -1)


def _in_eight_bits(samples: UInt16[np.ndarray, "h w c"]) -> PIL.Image.Image:
    """The nearest of 8 bits: round(value / 257). There are no ties."""
    quotient, remainder = np.divmod(samples, np.uint16(257))
    nearest = (quotient + (remainder > 128)).astype(np.uint8)
    return PIL.Image.fromarray(nearest[:, :, 0] if nearest.shape[2] == 1 else nearest)


def _channels(
    image: PIL.Image.Image,
) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"] | None]:
    """RGB and alpha of an image with 8 bits; no alpha if it is opaque."""
    if not image.has_transparency_data:
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB")), None
    if image.mode == "La":
        image = image.convert("LA")
    samples = np.asarray(image if image.mode == "RGBA" else image.convert("RGBA"))
    pixels = np.ascontiguousarray(samples[:, :, :3])
    alpha = np.ascontiguousarray(samples[:, :, 3])
    return pixels, None if (alpha == 255).all() else alpha


def _exif(image: PIL.Image.Image) -> bytes | None:
    """The EXIF data of a turned image without an orientation, unchanged if it had none."""
    exif = image.getexif()
    raw = image.info.get("exif")
    if isinstance(image, TiffImageFile):
        exif = _descriptions(exif)
    elif raw and exif.get(_ORIENTATION, 1) == 1:
        return _without_prefix(raw) or None
    elif _ORIENTATION in exif:
        del exif[_ORIENTATION]
    return _without_prefix(exif.tobytes()) if len(exif) else None


def _descriptions(exif: PIL.Image.Exif) -> PIL.Image.Exif:
    """Those parts that describe the picture and not the file."""
    kept = PIL.Image.Exif()
    for tag in _DESCRIPTIONS:
        if tag in exif:
            kept[tag] = exif[tag]
    for folder in _FOLDERS:
        if exif.get_ifd(folder):
            kept[folder] = dict(exif.get_ifd(folder))
    return kept


def _without_prefix(exif: bytes) -> bytes:
    while exif.startswith(_EXIF_PREFIX):
        exif = exif[len(_EXIF_PREFIX) :]
    return exif


def _format_of(path: Path) -> Format:
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(
            f"expected a file name with one of {', '.join(SUFFIXES)}, found {path.name!r}"
        )
    return SUFFIXES[path.suffix.lower()]


def _encoded(picture: Picture, format: Format) -> bytes:
    if format not in _OPTIONS:
        raise ValueError(f"format: expected one of {list(_OPTIONS)}, found {format!r}")
    height, width = picture.pixels.shape[:2]
    largest = _LARGEST_SIDE.get(format, max(height, width))
    if max(height, width) > largest:
        raise ValueError(
            f"a {format} file has sides up to {largest}, this picture is "
            f"{width}x{height}"
        )
    if format == "jpeg" and picture.alpha is not None:
        raise ValueError(
            "a jpeg file has no transparency, this picture does: write png, tiff or webp"
        )
    options = dict(_OPTIONS[format])
    if picture.icc:
        options["icc_profile"] = picture.icc
    if picture.exif:
        options["exif"] = _exif_for(picture.exif, format)
    stream = io.BytesIO()
    _image(picture).save(stream, format, **options)
    return stream.getvalue()


def _exif_for(exif: bytes, format: Format) -> bytes:
    if format != "tiff":
        return _EXIF_PREFIX + exif
    # Pillow takes every entry, and one could say that the pixels mean something else.
    found = PIL.Image.Exif()
    try:
        found.load(exif)
        return _descriptions(found).tobytes()
    except _DAMAGE as error:
        raise ValueError(f"cannot read its EXIF data: {error}") from error


def _image(picture: Picture) -> PIL.Image.Image:
    """L, LA, RGB or RGBA."""
    samples = picture.pixels[:, :, :1] if picture.grey else picture.pixels
    if picture.alpha is not None:
        samples = np.concatenate([samples, picture.alpha[:, :, None]], axis=2)
    samples = np.ascontiguousarray(samples)
    return PIL.Image.fromarray(samples[:, :, 0] if samples.shape[2] == 1 else samples)


def _spread(
    pixels: UInt8[np.ndarray, "h w 3"], visible: Bool[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w 3"]:
    """Colours of visible pixels carried smoothly over all others.

    Push and pull (Gortler et al. 1996): means over 2 x 2 visible pixels, and of these
    again, until none is left without a colour; each hidden pixel takes the finest.
    """
    if visible.all() or not visible.any():
        return pixels if visible.all() else np.zeros_like(pixels)
    height, width = visible.shape
    edges = ((0, height % 2), (0, width % 2))
    weight = np.pad(visible, edges).astype(np.uint16)
    colour = np.pad(pixels, (*edges, (0, 0))) * weight[:, :, None]
    count, total = _sums(weight), _sums(colour)
    known = np.maximum(count, 1)[:, :, None]
    mean = ((total + known // 2) // known).astype(np.uint8)
    coarse = _spread(mean, count > 0)
    fine = coarse.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    return np.where(visible[:, :, None], pixels, fine)


def _sums(values: UInt16[np.ndarray, "h w *c"]) -> UInt16[np.ndarray, "h/2 w/2 *c"]:
    """Of 2 x 2 neighbours; the sides are even."""
    rows = values[::2] + values[1::2]
    return rows[:, ::2] + rows[:, 1::2]


def _packed_alpha(alpha: UInt8[np.ndarray, "h w"]) -> bytes:
    data = np.ascontiguousarray(alpha).data
    return lzma.compress(data, format=lzma.FORMAT_RAW, filters=_ALPHA_FILTERS)


def _unpacked_alpha(data: bytes, height: int, width: int) -> UInt8[np.ndarray, "h w"]:
    size = height * width
    decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_ALPHA_FILTERS)
    try:
        values = decoder.decompress(data, max_length=size + 1)
    except (lzma.LZMAError, EOFError) as error:
        raise ValueError(f"the alpha channel is damaged: {error}") from error
    if len(values) != size or not decoder.eof or decoder.unused_data:
        raise ValueError(
            f"the alpha channel is damaged: expected {size} values and nothing more, "
            f"found {'more than ' * (len(values) > size)}{min(len(values), size)}"
        )
    return np.frombuffer(values, np.uint8).reshape(height, width)


def _nearest_grey(pixels: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """The rounded mean of the channels, in each of them."""
    total = pixels.sum(axis=2, dtype=np.uint16)
    mean = ((total + 1) // 3).astype(np.uint8)
    return np.repeat(mean[:, :, None], 3, axis=2)
