"""The container `.cjx`: one compressed picture as bytes. `docs/format.md` has every byte.

It holds what a receiver needs to know besides the model, and knows no model itself: names,
numbers and strings go in and come out. Every packet has exactly one form in bytes, and
`unpack` takes no other, so that `pack(unpack(data)) == data` whenever it returns.
"""

import dataclasses
import string
import types
import zlib
from collections.abc import Mapping
from typing import NoReturn

import numpy as np

# A letter with its eighth bit set: no text in ASCII or UTF-8 begins like this.
MAGIC = b"\xc3JX"
VERSION = 1
LARGEST_SIDE = 2**24
# A list of a million lengths takes eight megabytes: enough for tiles of any picture.
MOST_STRINGS = 2**20
# Side data about the picture, each with its bit; in the file in this order.
EXTRAS = {"grey": 1, "alpha": 2, "icc": 4, "exif": 8}

_NAME_CHARACTERS = frozenset(string.ascii_lowercase + string.digits + ".-")
_LONGEST_NAME = 32
_FINGERPRINT = 4
_CHECKSUM = 4
# The fourth byte: version in three bits, one for extras, four for the strings.
_VERSION_MASK = 0b111
_HAS_EXTRAS = 0b1000
_STRINGS_SHIFT = 4
# The four bits: any number of strings, one, or two. Two are what most files have, and
# the rest of the field is the remainder of the first one's length by what is left.
_MANY, _ONE, _TWO = 0, 1, 2
_REMAINDERS = 16 - _TWO
_SHORTEST = len(MAGIC) + 1 + 1 + _FINGERPRINT + 2 + 1 + 1 + _CHECKSUM


class DamagedFileError(ValueError):
    """These bytes are no whole, undamaged `.cjx` file of a version known here."""


@dataclasses.dataclass(frozen=True)
class Packet:
    """What a file holds.

    Attributes:
      model: name of the model: 1 to 32 characters of a-z, 0-9, '.' and '-'.
      fingerprint: four bytes of a hash of its weights and tables.
      height, width: of the picture in pixels, 1 to 2^24.
      rate: 0 to 65535; what it means is up to the codec.
      strings: entropy-coded strings, 1 to 2^20 of them. Of two, the shorter should be
        first: the length of the last is not written.
      extras: side data about the picture under names of EXTRAS. "grey" says that the
        picture was greyscale, and has no data: b"".

    Raises:
      ValueError: any of these does not hold.
    """

    model: str
    fingerprint: bytes
    height: int
    width: int
    rate: int
    strings: tuple[bytes, ...]
    extras: Mapping[str, bytes] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name(self.model)
        _check_bytes("fingerprint", self.fingerprint)
        if len(self.fingerprint) != _FINGERPRINT:
            raise ValueError(
                f"fingerprint: expected 4 bytes, found {len(self.fingerprint)}"
            )
        _check_integer("height", self.height, 1, LARGEST_SIDE)
        _check_integer("width", self.width, 1, LARGEST_SIDE)
        _check_integer("rate", self.rate, 0, 2**16 - 1)
        if not isinstance(self.strings, tuple):
            found = type(self.strings).__name__
            raise ValueError(f"strings: expected a tuple of bytes, found {found}")
        _check_integer("number of strings", len(self.strings), 1, MOST_STRINGS)
        for data in self.strings:
            _check_bytes("strings", data)
        extras = types.MappingProxyType(_checked_extras(self.extras))
        object.__setattr__(self, "extras", extras)


def pack(packet: Packet) -> bytes:
    """A packet as the bytes of a file.

    Beyond strings and extras these are 18 bytes and the name for one string, 19 to 21 and
    the name for two (sides below 16384, a first string below 229376 bytes), and a byte or
    two more for each further string.
    """
    lengths = [len(data) for data in packet.strings]
    field, written = _strings_field(lengths)
    flags = VERSION | bool(packet.extras) * _HAS_EXTRAS | field << _STRINGS_SHIFT
    name = packet.model.encode("ascii")
    body = b"".join(
        [
            MAGIC,
            bytes([flags]),
            name[:-1],
            bytes([name[-1] | 0x80]),
            packet.fingerprint,
            packet.rate.to_bytes(2, "big"),
            _varint(packet.height),
            _varint(packet.width),
            _packed_extras(packet.extras),
            *map(_varint, written),
            *packet.strings,
        ]
    )
    return body + _checksum(body)


def unpack(data: bytes | bytearray | memoryview | np.ndarray) -> Packet:
    """The packet that `pack` turns into exactly these bytes.

    Bytes may come from anywhere: time and memory are in proportion to their number. That
    a file is cut off or goes on too long shows in its checksum alone.

    Args:
      data: bytes, or anything else that has some: a bytearray, a memoryview, an array.

    Raises:
      DamagedFileError: any other bytes; the message says what was found.
    """
    data = _as_bytes(data)
    flags = _checked_flags(data)
    reader = _Reader(data[:-_CHECKSUM], len(MAGIC) + 1)
    try:
        packet = Packet(
            model=reader.name(),
            fingerprint=reader.take(_FINGERPRINT, "fingerprint"),
            rate=int.from_bytes(reader.take(2, "rate"), "big"),
            height=reader.varint("height", LARGEST_SIDE),
            width=reader.varint("width", LARGEST_SIDE),
            extras=reader.extras() if flags & _HAS_EXTRAS else {},
            strings=reader.strings(flags >> _STRINGS_SHIFT),
        )
    except DamagedFileError:
        raise
    except ValueError as error:
        raise DamagedFileError(f"damaged .cjx file: {error}") from error
    return packet


def _as_bytes(data: bytes | bytearray | memoryview | np.ndarray) -> bytes:
    if isinstance(data, bytes):
        return data
    try:
        return bytes(memoryview(data))  # type: ignore[arg-type]
    except (TypeError, ValueError, BufferError) as error:
        raise DamagedFileError(
            f"expected bytes, found {type(data).__name__}"
        ) from error


def _checked_flags(data: bytes) -> int:
    """The fourth byte, once magic, version, length and checksum are right."""
    if not data:
        raise DamagedFileError("the file is empty")
    if not data.startswith(MAGIC):
        raise DamagedFileError(
            f"not a .cjx file: it begins with {data[:3].hex(' ')}, expected "
            f"{MAGIC.hex(' ')}"
        )
    version = data[len(MAGIC)] & _VERSION_MASK if len(data) > len(MAGIC) else VERSION
    if version != VERSION:
        raise DamagedFileError(
            f"a .cjx file of version {version}; this program reads version {VERSION}"
        )
    if len(data) < _SHORTEST:
        _damaged(f"it has {len(data)} bytes, the shortest has {_SHORTEST}")
    body, found = data[:-_CHECKSUM], data[-_CHECKSUM:]
    if found != _checksum(body):
        _damaged(
            f"its checksum is {found.hex()}, its content gives {_checksum(body).hex()}; "
            "it was changed, cut off or continued"
        )
    return data[len(MAGIC)]


def _checksum(body: bytes) -> bytes:
    return zlib.crc32(body).to_bytes(_CHECKSUM, "big")


def _strings_field(lengths: list[int]) -> tuple[int, list[int]]:
    """Four bits about the strings, and the numbers that follow as varints."""
    if len(lengths) == 1:
        return _ONE, []
    if len(lengths) == 2:
        return _TWO + lengths[0] % _REMAINDERS, [lengths[0] // _REMAINDERS]
    return _MANY, [len(lengths), *lengths[:-1]]


def _packed_extras(extras: Mapping[str, bytes]) -> bytes:
    """Nothing without extras; otherwise a byte of bits, then each with its length."""
    if not extras:
        return b""
    parts = [bytes([sum(EXTRAS[tag] for tag in extras)])]
    for tag in EXTRAS:
        if tag in extras and tag != "grey":
            parts += [_varint(len(extras[tag])), extras[tag]]
    return b"".join(parts)


def _varint(value: int) -> bytes:
    """Seven bits in a byte, the lowest first; the eighth says that more follow."""
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


class _Reader:
    """Takes one field after the other, none beyond the end."""

    def __init__(self, data: bytes, position: int) -> None:
        self.data = data
        self.position = position

    def left(self) -> int:
        return len(self.data) - self.position

    def take(self, count: int, what: str) -> bytes:
        if count > self.left():
            _damaged(f"{what}: expected {count} bytes, found {self.left()}")
        self.position += count
        return self.data[self.position - count : self.position]

    def byte(self, what: str) -> int:
        return self.take(1, what)[0]

    def name(self) -> str:
        characters = bytearray()
        while not characters or characters[-1] < 0x80:
            if len(characters) == _LONGEST_NAME:
                _damaged(f"the model's name has more than {_LONGEST_NAME} characters")
            characters.append(self.byte("model's name"))
        characters[-1] &= 0x7F
        return characters.decode("ascii")

    def varint(self, what: str, most: int) -> int:
        value = shift = 0
        while True:
            byte = self.byte(what)
            value |= (byte & 0x7F) << shift
            # Before another byte is read, so that no number grows without bound.
            if value > most:
                _damaged(f"{what}: expected {most} at most, found {value} or more")
            if byte < 0x80:
                break
            shift += 7
            if most >> shift == 0:
                _damaged(f"{what}: expected {most} at most, found a longer number")
        if shift and not byte:
            _damaged(f"{what}: {value} is written with more bytes than it needs")
        return value

    def length(self, what: str) -> int:
        return self.varint(f"length of {what}", len(self.data))

    def extras(self) -> dict[str, bytes]:
        bits = self.byte("extras")
        if not bits or bits >= 2 * max(EXTRAS.values()):
            _damaged(f"extras: expected some of {EXTRAS}, found the bits {bits:#010b}")
        extras = {}
        for tag, bit in EXTRAS.items():
            if bits & bit:
                length = 0 if tag == "grey" else self.length(tag)
                extras[tag] = self.take(length, tag)
        return extras

    def strings(self, field: int) -> tuple[bytes, ...]:
        lengths = self.lengths(field)
        parts = [self.take(length, "string") for length in lengths]
        return (*parts, self.take(self.left(), "string"))

    def lengths(self, field: int) -> list[int]:
        """Of all strings but the last, which has what is left."""
        if field == _ONE:
            return []
        if field != _MANY:
            times = self.length("first string")
            return [times * _REMAINDERS + field - _TWO]
        count = self.varint("number of strings", MOST_STRINGS)
        if count <= 2:
            _damaged(f"number of strings: expected 3 or more here, found {count}")
        # Every length takes a byte: no list grows beyond what the file can fill.
        if count - 1 > self.left():
            _damaged(f"number of strings: found {count} with {self.left()} bytes left")
        return [self.length("string") for _ in range(count - 1)]


def _damaged(message: str) -> NoReturn:
    raise DamagedFileError(f"damaged .cjx file: {message}")


def check_name(name: str) -> None:
    """Raises: ValueError if no packet can carry this name of a model."""
    right = isinstance(name, str) and 1 <= len(name) <= _LONGEST_NAME
    if not right or not _NAME_CHARACTERS.issuperset(name):
        raise ValueError(
            f"model: expected 1 to {_LONGEST_NAME} characters of a-z, 0-9, '.' and '-', "
            f"found {name!r}"
        )


def _check_integer(what: str, value: int, least: int, most: int) -> None:
    if not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{what}: expected {least} to {most}, found {value!r}")


def _check_bytes(what: str, value: bytes) -> None:
    if not isinstance(value, bytes):
        raise ValueError(f"{what}: expected bytes, found {type(value).__name__}")


def _checked_extras(extras: Mapping[str, bytes]) -> dict[str, bytes]:
    """A copy, which nobody changes."""
    if not isinstance(extras, Mapping):
        raise ValueError(f"extras: expected a mapping, found {type(extras).__name__}")
    for tag, data in extras.items():
        if tag not in EXTRAS:
            raise ValueError(f"extras: expected some of {list(EXTRAS)}, found {tag!r}")
        _check_bytes(tag, data)
    if extras.get("grey"):
        raise ValueError(f"grey: expected no data, found {len(extras['grey'])} bytes")
    return dict(extras)
