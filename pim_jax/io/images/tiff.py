"""TIFF files: what the tags of a page say, and samples that libtiff decodes."""

import dataclasses
import io
from collections.abc import Callable
from typing import Any

import numpy as np

from pim_jax.io import exif as exif_data
from pim_jax.io.damage import decoding
from pim_jax.io.files import Stream
from pim_jax.io.images import pillow
from pim_jax.io.images.stored import (
    DAMAGE,
    RefusedError,
    Samples,
    StoredImage,
    by_imagecodecs,
    check_size,
    choose,
    quiet,
    split,
    unassociated,
    upright,
)

STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


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


def read(stream: Stream, frame: int | None) -> StoredImage:
    """The content of a TIFF file: by Pillow, or by libtiff where Pillow would not do."""
    tags = _tiff_tags(stream, frame)
    if tags.bits < 16 and not (tags.plain and tags.planar):
        image = pillow.opened(stream, ("TIFF",))
        if image is not None:
            with image:
                return pillow.read(image, stream, frame)
        if tags.bits != 8 or not tags.plain:
            raise RefusedError(
                f"expected another layout of a TIFF of {tags.bits} bits and photometric "
                f"interpretation {tags.photometric}; store it as grey or RGB of 8 bits"
            )
    return _read_plain_tiff(stream, tags, frame or 0)


def _read_plain_tiff(stream: Stream, tags: _Tiff, frame: int) -> StoredImage:
    stream.seek(0)
    values = _tiff(stream.read(), tags, frame)
    samples, alpha = split(values)
    if tags.photometric == 0:
        samples = ~samples
    if alpha is not None and tags.alpha == "associated":
        samples = unassociated(samples, alpha)
    raw, notes = exif_data.of_tiff(stream, tags.offset, tags.byte_order, tags.big)
    return upright(samples, alpha, tags.orientation, tags.icc, raw, notes)


def _tiff(data: bytes, tags: _Tiff, frame: int) -> Samples:
    """Samples, decoded twice, over zeros and over ones.

    Of a strip with surplus data libtiff decodes next to nothing, without an error.
    """
    channels = _COLOURS[tags.photometric] + (tags.alpha is not None)
    planes = tags.planar and channels > 1
    shape = (tags.height, tags.width, channels)
    stored = (channels, *shape[:2]) if planes else shape[: 2 + (channels > 1)]
    dtype = np.uint16 if tags.bits == 16 else np.uint8
    with by_imagecodecs():
        import imagecodecs  # Only here: 8 bits do without.

        found = imagecodecs.tiff_decode(data, index=frame, out=np.zeros(stored, dtype))
        again = imagecodecs.tiff_decode(data, index=frame, out=~np.zeros(stored, dtype))
    if not np.array_equal(found, again) or found.shape != stored:
        raise RefusedError("parts of its data are missing or damaged")
    return (np.moveaxis(found, 0, 2) if planes else found).reshape(shape)


def _tiff_tags(stream: Stream, frame: int | None) -> _Tiff:
    """Of the chosen page; ValueError for one that is not an image of a kind we read."""
    import tifffile  # Only here: few files are TIFF.

    end = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    with quiet("tifffile"):
        with decoding(*DAMAGE):
            file = tifffile.TiffFile(stream)
            count = len(file.pages)
        choose(frame, count)
        with decoding(*DAMAGE):
            page: Any = file.pages[frame or 0]
        return _checked_tags(page.tags.valueof, page.offset, file, end)


def _checked_tags(
    valueof: Callable[..., Any], offset: int, file: Any, end: int
) -> _Tiff:
    """Args: end: the size of the file."""

    def numbers(code: int, default: int) -> tuple[int, ...]:
        with decoding(*DAMAGE):
            value = valueof(code, default)
            found = tuple(map(int, value if isinstance(value, tuple) else (value,)))
        if not found:
            raise RefusedError(f"the tag {code} of this TIFF has no value")
        return found

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
        raise RefusedError(f"expected pixels, found a TIFF of {width}x{height}")
    check_size(width, height)
    if not 1 <= tile <= max(_LARGEST_TILE, 4 * width * height):
        raise RefusedError(
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
        or len(offsets) != len(counts)
        or min(offsets) < 8
        or min(counts) < 1
        or any(x + n > end for x, n in zip(offsets, counts, strict=True))
    ):
        raise RefusedError("parts of its data are missing: it is damaged or cut off")


def _tiff_bits(bits: set[int], kinds: set[int]) -> int:
    """Bits of each sample; ValueError unless all are alike and unsigned."""
    found = [f"{_SAMPLE_FORMATS.get(x, 'undefined')} samples" for x in kinds - {1}] or [
        f"{' and '.join(map(str, sorted(bits)[:4]))} bits"
    ]
    if kinds != {1} or len(bits) != 1 or not bits <= {1, 2, 4, 8, 16}:
        raise RefusedError(
            f"expected unsigned samples of 1, 2, 4, 8 or 16 bits, found {found[0]} in "
            "this TIFF; scale them to 8 or 16 bits first"
        )
    return min(bits)


def _check_photometric(photometric: int, bits: int, compression: int) -> None:
    if photometric not in _COLOURS or (bits == 16 and photometric > 2):
        raise RefusedError(
            f"expected grey, palette, RGB, CMYK or YCbCr (of 16 bits: grey or RGB), found "
            f"photometric interpretation {photometric} and {bits} bits in this TIFF; "
            "convert it to RGB first"
        )
    if photometric == 6 and compression not in _JPEG_IN_TIFF:
        raise RefusedError(
            "expected YCbCr in this TIFF only inside JPEG; convert it to RGB first"
        )


def _tiff_alpha(channels: int, photometric: int, extra: object) -> str | None:
    """How alpha is stored in the one channel beyond the colours, if there is one."""
    if channels == 0:
        return None
    kinds = extra if isinstance(extra, tuple) else (extra,)
    first = kinds[0] if kinds else None
    alpha = _EXTRA_SAMPLES.get(first) if isinstance(first, int) else None
    if channels != 1 or alpha is None or photometric > 3:
        raise RefusedError(
            f"expected no channel beyond the colours but alpha, found {channels} more in "
            f"this TIFF, with the extra samples {tuple(kinds)[:4]}; remove them first"
        )
    return alpha
