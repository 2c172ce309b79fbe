"""Image files to 8-bit pixels with all that belongs to them, and back without loss.

A codec compresses three channels of pixels. Alpha, colour profile, EXIF and whether the
picture was grey travel beside them, as the extras of the container.
"""

import dataclasses
import io
import lzma
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import PIL.Image
import PIL.ImageCms
from jaxtyping import Bool, UInt8, UInt16

from pim_jax.io import exif, images
from pim_jax.io.files import Stream
from pim_jax.io.files import replace_file as replace_file

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
_LARGEST_JPEG_EXIF = 65533 - len(exif.PREFIX)
# JPEG has room in 255 segments; of PNG our own reader takes so much.
_LARGEST_PROFILE: Mapping[Format, int] = {
    "jpeg": 255 * 65519,
    "png": images.LARGEST_PNG_PROFILE,
}
_LARGEST_SIDE: Mapping[Format, int] = {"jpeg": 65500, "webp": 16383}

# Of LZMA2 as in .xz, without its container; masks take a half to a quarter of what they
# take in PNG. A reader needs memory for the dictionary.
_ALPHA_FILTERS = (
    {"id": lzma.FILTER_DELTA, "dist": 1},
    {"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 2**22},
)


class FileWarning(UserWarning):
    """Something that belongs to a picture was left out; the picture is right."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """Upright pixels, sRGB unless a profile says otherwise, and what belongs to them.

    Attributes:
      pixels: RGB; alike in all channels if `grey`.
      alpha: opacity, not multiplied into the pixels; None if all are opaque.
      grey: whether it has one channel in a file.
      icc: the colour profile as it was found.
      exif: from the byte order mark on, without "Exif" in front; what `read` gives has an
        orientation of 1 or none.

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


def read(
    source: str | Path | Stream,
    frame: int | None = None,
    strip: bool = False,
) -> Picture:
    """The picture in a file of any kind that `pim_jax.io.images.read` reads, in 8 bits.

    Of more than 8 bits the nearest of 8 are taken. EXIF that cannot be read is left out
    with a warning.

    Args:
      source, frame: as for `pim_jax.io.images.read`, which says what is kept.
      strip: leaves out what `stripped` does.

    Raises: as `pim_jax.io.images.read`.
    """
    found = images.read(source, frame)
    name = str(source) if isinstance(source, str | Path) else "the stream"
    _warn(name, () if strip else found.notes)
    grey = found.samples.shape[2] == 1
    samples = images.in_eight_bits(found.samples)
    alpha = None if found.alpha is None else images.in_eight_bits(found.alpha)
    return Picture(
        samples.repeat(3, axis=2) if grey else samples,
        None if alpha is None or (alpha == 255).all() else alpha,
        grey,
        found.icc,
        None if strip else found.exif,
    )


def write(
    picture: Picture,
    target: str | Path | Stream,
    format: Format | None = None,
    strip: bool = False,
) -> None:
    """Writes a picture with everything that belongs to it: without loss, but for JPEG.

    A grey one is written with one channel; WebP has only RGB, so one with a profile is
    converted to sRGB there. A profile that does not fit the picture (RGB for grey) is
    left out, and so is one of more than 16 MB in PNG and JPEG, with a warning. EXIF never
    says that an upright picture is to be turned; what cannot be read is left out with a
    warning; TIFF takes those parts that describe a picture. JPEG is
    written at quality 95 with colours at full size.

    Args:
      picture: any.
      target: a path, which is replaced only by a complete file; or a stream of bytes.
      format: None takes that of the path's suffix, and PNG for a stream.
      strip: leaves out what `stripped` does.

    Raises:
      FileNotFoundError: there is no such folder.
      ValueError: a suffix or format of none of SUFFIXES; a side beyond what the format
        has, 16383 for WebP and 65500 for JPEG; or an alpha channel for JPEG.
    """
    if strip:
        picture = stripped(picture)
    if isinstance(target, str | Path):
        replace_file(target, _encoded(picture, format or _format_of(Path(target))))
    else:
        target.write(_encoded(picture, format or "png"))


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


def _warn(name: str, notes: Iterable[str]) -> None:
    for note in notes:
        warnings.warn(f"{name}: {note}", FileWarning, stacklevel=3)


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
    image, profile = _image(picture), _fitting(picture)
    if format == "webp" and picture.grey and profile is not None:
        image, profile = _colours_of_grey(image, profile), None
    exif, notes = _exif_for(picture.exif, format)
    if profile and len(profile) > _LARGEST_PROFILE.get(format, len(profile)):
        profile, notes = (
            None,
            (*notes, "its colour profile is too long and is left out"),
        )
    if profile:
        options["icc_profile"] = profile
    if exif:
        options["exif"] = exif
    _warn(f"the {format} file", notes)
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def _exif_for(data: bytes | None, format: Format) -> tuple[bytes | None, exif.Notes]:
    """What of EXIF data a file may have: nothing that would change what it shows."""
    # Of TIFF Pillow takes every entry, and one could say that pixels mean something else.
    keep = exif.descriptions if format == "tiff" else exif.upright
    kept, notes = keep(data) if data else (None, ())
    if kept and format == "jpeg" and len(kept) > _LARGEST_JPEG_EXIF:
        return None, ("its EXIF data is too long and is left out",)
    return exif.PREFIX + kept if kept else None, notes


def _fitting(picture: Picture) -> bytes | None:
    """The profile, if it is one of the picture's own colour space.

    Others no program accepts; those that do not refuse the file take it to be sRGB.
    """
    space = b"GRAY" if picture.grey else b"RGB "
    return picture.icc if picture.icc and picture.icc[16:20] == space else None


def _colours_of_grey(image: PIL.Image.Image, profile: bytes) -> PIL.Image.Image:
    """A grey picture in sRGB, where a format has no grey to go with its profile."""
    grey, *alpha = image.split()
    try:
        converted = images.in_srgb(grey, profile)
    except PIL.ImageCms.PyCMSError:
        return image  # what no program can use says nothing about the colours
    if alpha:
        converted.putalpha(alpha[0])
    return converted


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
