"""Small TensorFlow checkpoints, written without TensorFlow."""

import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pim_jax.io.tensor_bundle import _masked_crc32c

_TYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "bool": 10, "float16": 19}


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def message(*fields: tuple[int, int | bytes]) -> bytes:
    """Protocol-buffer message of integers and of bytes."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


def entry(array: np.ndarray, offset: int) -> bytes:
    shape = message(*[(2, message((1, size))) for size in array.shape])
    fields = message(
        (1, _TYPES[array.dtype.name]), (2, shape), (4, offset), (5, array.nbytes)
    )
    checksum = struct.pack("<I", _masked_crc32c(array.tobytes()))
    return fields + varint(6 << 3 | 5) + checksum


def block(items: list[tuple[bytes, bytes]]) -> bytes:
    """Entries without shared prefixes, one restart point, trailer."""
    contents = b"".join(
        b"\0" + varint(len(key)) + varint(len(value)) + key + value
        for key, value in items
    )
    contents += struct.pack("<II", 0, 1)
    return contents + b"\0" + struct.pack("<I", _masked_crc32c(contents + b"\0"))


def table(items: list[tuple[bytes, bytes]], per_block: int = 50) -> bytes:
    """A sorted string table."""
    out, handles = b"", []
    for start in range(0, len(items), per_block):
        part = items[start : start + per_block]
        data = block(part)
        handles.append((part[-1][0], varint(len(out)) + varint(len(data) - 5)))
        out += data
    index, meta = block(handles), block([])
    footer = varint(len(out)) + varint(len(meta) - 5)
    footer += varint(len(out) + len(meta)) + varint(len(index) - 5)
    magic = struct.pack("<Q", 0xDB4775248B80FB57)
    return out + meta + index + footer.ljust(40, b"\0") + magic


def write_bundle(prefix: Path, arrays: Mapping[str, Any], **extra: bytes) -> None:
    """Writes PREFIX.index and one data file; `extra` entries go in as they are."""
    items, data = [(b"", message((1, 1)))], b""
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        items.append((name.encode(), entry(array, len(data))))
        data += array.tobytes()
    items += [(name.encode(), value) for name, value in extra.items()]
    prefix.with_name(prefix.name + ".index").write_bytes(table(items))
    prefix.with_name(prefix.name + ".data-00000-of-00001").write_bytes(data)


@pytest.fixture(name="write_bundle")
def _write_bundle() -> Callable[..., None]:
    return write_bundle


@pytest.fixture(name="bundle_message")
def _message() -> Callable[..., bytes]:
    return message


@pytest.fixture(name="bundle_table")
def _table() -> Callable[..., bytes]:
    return table
