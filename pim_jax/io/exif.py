"""EXIF data: kept byte by byte where that is safe, and always of an upright picture."""

import struct

import PIL.ExifTags
import PIL.Image
from PIL.TiffImagePlugin import TiffImageFile

from pim_jax.io.damage import DamagedError, decoding
from pim_jax.io.files import Stream

PREFIX = b"Exif\0\0"  # in front of the byte order mark, in JPEG and in Pillow
_ORIENTATION = int(PIL.ExifTags.Base.Orientation)
_SHORT = 3

# Parts that describe a picture; in a TIFF file others say how it is stored.
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
_UNREADABLE = "its EXIF data cannot be read and is left out"

# What Pillow raises on damaged EXIF data.
_DAMAGE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    OSError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
)

Notes = tuple[str, ...]


def read(image: PIL.Image.Image) -> tuple[bytes | None, int, Notes]:
    """EXIF data of a loaded image, the orientation it still has, and notes.

    The data begins with its byte order mark, and its orientation is 1 or absent. Of data
    that cannot be read nothing is kept and nothing is applied, with a note.
    """
    try:
        with decoding(*_DAMAGE):
            exif = image.getexif()
            orientation = exif.get(_ORIENTATION, 1)
        orientation = orientation if isinstance(orientation, int) else 1
        if isinstance(image, TiffImageFile):
            return _described(exif), orientation, ()
        raw = image.info.get("exif")
        if raw is None and set(exif) - {_ORIENTATION}:
            with decoding(*_DAMAGE):
                raw = exif.tobytes()  # it was kept as text
    except DamagedError:
        return None, 1, (_UNREADABLE,)
    data, notes = upright(raw)
    return data, orientation, notes


def of_tiff(
    stream: Stream, offset: int, byte_order: str, big: bool
) -> tuple[bytes | None, Notes]:
    """What a directory of a TIFF file has of EXIF that describes the picture.

    Nothing for BigTIFF with the high byte first, whose tags Pillow does not read.
    """
    if big and byte_order == ">":
        return None, ()
    exif = PIL.Image.Exif()
    exif.endian, exif.bigtiff = byte_order, big
    try:
        with decoding(*_DAMAGE):
            exif.load_from_fp(stream, offset)
        return _described(exif), ()
    except DamagedError:
        return None, (_UNREADABLE,)


def upright(data: bytes | None) -> tuple[bytes | None, Notes]:
    """EXIF data whose every orientation is 1, or None and a note if it is none.

    All other bytes stay where they are: what a camera's maker notes is full of offsets.
    """
    data = without_prefix(data or b"")
    if not data:
        return None, ()
    try:
        turned = _turned_upright(data)
        with decoding(*_DAMAGE):
            PIL.Image.Exif().load(data)
        return turned, ()
    except DamagedError:
        return None, (_UNREADABLE,)


def _turned_upright(data: bytes) -> bytes:
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        raise DamagedError("no byte order mark")

    def number(kind: str, place: int) -> int:
        with decoding(struct.error):
            return int(struct.unpack_from(f"{order}{kind}", data, place)[0])

    changed = bytearray(data)
    offset, seen = number("I", 4), set[int]()
    # The directory of the picture, and that of its thumbnail.
    while offset and offset not in seen and len(seen) < 2:
        seen.add(offset)
        following = offset + 2 + 12 * number("H", offset)
        for place in range(offset + 2, following, 12):
            if number("H", place) == _ORIENTATION:
                with decoding(struct.error):
                    struct.pack_into(
                        f"{order}HIHH", changed, place + 2, _SHORT, 1, 1, 0
                    )
        # Some writers leave out the last zero.
        if following + 4 > len(data) and following <= len(data):
            break
        offset = number("I", following)
    return bytes(changed)


def descriptions(data: bytes) -> tuple[bytes | None, Notes]:
    """Those parts of EXIF data that describe the picture, as new data, for a TIFF file."""
    whole, notes = upright(data)
    if whole is None:
        return None, notes
    exif = PIL.Image.Exif()
    try:
        with decoding(*_DAMAGE):
            exif.load(whole)
        return _described(exif), ()
    except DamagedError:
        return None, (_UNREADABLE,)


def without_prefix(data: bytes) -> bytes:
    """From the byte order mark on."""
    while data.startswith(PREFIX):
        data = data[len(PREFIX) :]
    return data


def _described(exif: PIL.Image.Exif) -> bytes | None:
    """Its parts that describe the picture; DamagedError if they do not decode."""
    kept = PIL.Image.Exif()
    with decoding(*_DAMAGE):
        kept.update({tag: exif[tag] for tag in _DESCRIPTIONS if tag in exif})
        for folder in _FOLDERS:
            if exif.get_ifd(folder):
                kept[folder] = dict(exif.get_ifd(folder))
        data = kept.tobytes() if len(kept) else None
    return None if data is None else without_prefix(data)
