"""Reads TensorFlow checkpoints ("tensor bundles") without TensorFlow.

A bundle PREFIX is `PREFIX.index`, a table from variable names to `BundleEntryProto`, and
`PREFIX.data-00000-of-00001` (more shards are possible) with the bytes of the tensors. The
table has the format of LevelDB's sorted string tables, uncompressed: data blocks, an
index block that points to them, and a footer that points to the index block.

Formats: tensorflow/core/util/tensor_bundle/tensor_bundle.h,
tensorflow/core/protobuf/tensor_bundle.proto, tensorflow/core/lib/io/table_format.txt.
Files are taken to be hostile: every length is checked before it is used, checksums are
verified, and whatever is wrong is a ValueError.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import ml_dtypes
import numpy as np

_FOOTER_SIZE = 48
_MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
_BLOCK_TRAILER_SIZE = 5  # compression, checksum
_LARGEST_INDEX = 64 * 2**20

# tensorflow/core/framework/types.proto
_DTYPES: dict[int, np.dtype] = {
    1: np.dtype("<f4"),
    2: np.dtype("<f8"),
    3: np.dtype("<i4"),
    4: np.dtype("u1"),
    5: np.dtype("<i2"),
    6: np.dtype("i1"),
    9: np.dtype("<i8"),
    10: np.dtype("?"),
    14: np.dtype(ml_dtypes.bfloat16),
    19: np.dtype("<f2"),
}
_STRING = 7
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types of protocol buffers


class _Entry(NamedTuple):
    """`BundleEntryProto`: where a tensor lies and what it is."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int
    sliced: bool


class _Reader:
    """A position in bytes that cannot leave them."""

    def __init__(self, data: bytes) -> None:
        self._data, self._position = data, 0

    def __bool__(self) -> bool:
        return self._position < len(self._data)

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        if count > len(self._data) - self._position:
            raise ValueError(
                f"truncated: {count} bytes expected at {self._position} of "
                f"{len(self._data)}"
            )
        self._position += count
        return self._data[self._position - count : self._position]

    def varint(self) -> int:
        """The next integer of up to 64 bits, seven in each byte."""
        value = 0
        for shift in range(0, 70, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & (2**64 - 1)
        raise ValueError("an integer of more than 64 bits")


def read_bundle(prefix: str | Path) -> dict[str, np.ndarray]:
    """All numeric tensors of a checkpoint, by name, in the order of the table.

    Strings (the object graph) and types that NumPy lacks are left out.

    Args:
      prefix: path of the checkpoint without `.index`.

    Raises:
      FileNotFoundError: the index or a data file is missing.
      ValueError: a file is damaged, or has a feature that is not read here (compressed
        tables, partitioned variables, big-endian data). The message names the file.
    """
    prefix = Path(prefix)
    index = _existing(prefix.with_name(prefix.name + ".index"))
    try:
        if index.stat().st_size > _LARGEST_INDEX:
            raise ValueError(f"larger than {_LARGEST_INDEX} bytes")
        num_shards, entries = _parse_index(index.read_bytes())
    except ValueError as error:
        raise ValueError(f"{index} is not a readable checkpoint: {error}") from error
    tensors = {}
    shards: dict[int, bytes] = {}
    for name, entry in entries.items():
        path = prefix.with_name(
            f"{prefix.name}.data-{entry.shard:05d}-of-{num_shards:05d}"
        )
        if entry.shard not in shards:
            shards[entry.shard] = _existing(path).read_bytes()
        if entry.dtype != _STRING and entry.dtype in _DTYPES:
            try:
                tensors[name] = _tensor(entry, shards[entry.shard])
            except ValueError as error:
                raise ValueError(f"{path}, variable {name!r}: {error}") from error
    return tensors


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"no such checkpoint file: {path}")
    return path


def _tensor(entry: _Entry, shard: bytes) -> np.ndarray:
    dtype = _DTYPES[entry.dtype]
    if entry.sliced:
        raise ValueError("partitioned variables are not supported")
    expected = dtype.itemsize
    for size in entry.shape:
        expected *= size
    if expected != entry.size:
        raise ValueError(
            f"shape {entry.shape} of {dtype} takes {expected} bytes, found {entry.size}"
        )
    data = shard[entry.offset : entry.offset + entry.size]
    if len(data) != entry.size:
        raise ValueError(
            f"truncated: bytes {entry.offset} to {entry.offset + entry.size} of "
            f"{len(shard)}"
        )
    if _masked_crc32c(data) != entry.checksum:
        raise ValueError("the checksum does not match: the file is damaged")
    return np.frombuffer(data, dtype).reshape(entry.shape)


def _parse_index(data: bytes) -> tuple[int, dict[str, _Entry]]:
    """Number of shards, and the entries by name."""
    if len(data) < _FOOTER_SIZE or data[-8:] != _MAGIC:
        raise ValueError("it does not end in the magic number of a table")
    footer = _Reader(data[-_FOOTER_SIZE:])
    footer.varint(), footer.varint()  # the metaindex block, unused
    values: dict[bytes, bytes] = {}
    end = 0
    for _, handle in _block(data, footer.varint(), footer.varint()):
        reader = _Reader(handle)
        offset, size = reader.varint(), reader.varint()
        if offset < end:
            raise ValueError("data blocks overlap")
        end = offset + size
        values.update(_block(data, offset, size))
    header = _fields(values.pop(b"", b""))
    if not header:
        raise ValueError("it has no bundle header")
    if header.get(2):
        raise ValueError("big-endian checkpoints are not supported")
    num_shards = _integer(header, 1)
    entries = {k.decode("utf-8"): _parse_entry(v) for k, v in values.items()}
    for name, entry in entries.items():
        if entry.shard >= num_shards:
            raise ValueError(f"{name!r} lies in shard {entry.shard} of {num_shards}")
    return num_shards, entries


def _block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block. A key omits the prefix it shares with the last one."""
    end = offset + size + _BLOCK_TRAILER_SIZE
    if size < 4 or end > len(data):
        raise ValueError(f"a block from {offset} to {end} of {len(data)} bytes")
    contents, trailer = data[offset : offset + size], data[offset + size : end]
    if trailer[0]:
        raise ValueError("compressed tables are not supported")
    if _masked_crc32c(contents + trailer[:1]) != int.from_bytes(trailer[1:], "little"):
        raise ValueError("a checksum does not match: the file is damaged")
    restarts = 4 * (1 + int.from_bytes(contents[-4:], "little"))
    if restarts > size:
        raise ValueError("a block with more restart points than bytes")
    reader = _Reader(contents[: size - restarts])
    key = b""
    while reader:
        shared, unshared, length = reader.varint(), reader.varint(), reader.varint()
        if shared > len(key):
            raise ValueError("a key shares more than its predecessor has")
        key = key[:shared] + reader.take(unshared)
        yield key, reader.take(length)


def _parse_entry(message: bytes) -> _Entry:
    fields = _fields(message)
    shape = []
    for number, value in _wire(_message(fields, 2)):
        if number == 2 and isinstance(value, bytes):
            shape.append(_integer(_fields(value), 1))
    dtype, shard, offset, size, checksum = (
        _integer(fields, number) for number in (1, 3, 4, 5, 6)
    )
    return _Entry(dtype, tuple(shape), shard, offset, size, checksum, 7 in fields)


def _fields(message: bytes) -> dict[int, int | bytes]:
    """Last value of every field of a protocol-buffer message."""
    return dict(_wire(message))


def _integer(fields: dict[int, int | bytes], number: int) -> int:
    value = fields.get(number, 0)
    # Sizes and offsets are non-negative; a negative int64 is a huge varint.
    if not isinstance(value, int) or value >= 2**63:
        raise ValueError(f"field {number} is not a non-negative integer")
    return value


def _message(fields: dict[int, int | bytes], number: int) -> bytes:
    value = fields.get(number, b"")
    if not isinstance(value, bytes):
        raise ValueError(f"field {number} is not a message")
    return value


def _wire(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and values of a protocol-buffer message."""
    reader = _Reader(message)
    while reader:
        tag = reader.varint()
        number, wire_type = tag >> 3, tag & 7
        if wire_type == _VARINT:
            yield number, reader.varint()
        elif wire_type == _BYTES:
            yield number, reader.take(reader.varint())
        elif wire_type in (_FIXED32, _FIXED64):
            width = 4 if wire_type == _FIXED32 else 8
            yield number, int.from_bytes(reader.take(width), "little")
        else:
            raise ValueError(f"unknown wire type {wire_type}")


def _crc_table() -> np.ndarray:
    """What one byte in an otherwise empty register becomes, CRC-32C (Castagnoli)."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> 1) ^ np.where(table & 1, np.uint32(0x82F63B78), np.uint32(0))
    return table


_CRC_TABLE = _crc_table()
# Takes a register of zeros to the prescribed start of all ones.
_CRC_START = bytes.fromhex("54641f64")


def _crc32c(data: bytes) -> int:
    """Checksum of `data`, some forty times faster than byte by byte.

    From a register of zeros the checksum is linear: that of the parts A and B of a
    message is shift(A) ^ B, where `shift` appends as many zero bytes as B has. So the
    message is cut into rows of one length that advance side by side, together with the
    1024 registers with one non-zero byte, which become the table of `shift`.
    """
    message = np.frombuffer(_CRC_START + data, np.uint8)
    length = 1 + int(len(message) ** 0.5)
    rows = -(-len(message) // length)
    # Leading zeros do not change a register of zeros.
    message = np.pad(message, (rows * length - len(message), 0)).reshape(rows, length)
    byte_shifts = np.arange(0, 32, 8, dtype=np.uint32)[:, None]
    unit = np.arange(256, dtype=np.uint32)[None] << byte_shifts
    state = np.concatenate([np.zeros(rows, np.uint32), unit.reshape(-1)])
    for column in np.pad(message, ((0, unit.size), (0, 0))).T:
        state = _CRC_TABLE[(state ^ column) & 0xFF] ^ (state >> 8)
    shift = state[rows:].reshape(4, 256).tolist()
    crc = 0
    for row in state[:rows].tolist():
        for i in range(4):
            row ^= shift[i][crc >> 8 * i & 0xFF]
        crc = row
    return crc ^ 0xFFFFFFFF


def _masked_crc32c(data: bytes) -> int:
    """The checksum as it is stored, so that data with checksums can be summed again."""
    crc = _crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
