"""Files as `torch.save` writes them, made without PyTorch."""

import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

STORAGES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}


def program(value: Any, storages: list[np.ndarray], old: bool) -> bytes:
    """A pickle of protocol 2; arrays are added to `storages`."""
    return b"\x80\x02" + _value(value, storages, old) + b"."


def _value(value: Any, storages: list[np.ndarray], old: bool) -> bytes:
    def inner(x: Any) -> bytes:
        return _value(x, storages, old)

    if isinstance(value, dict):
        return b"}(" + b"".join(inner(k) + inner(v) for k, v in value.items()) + b"u"
    if isinstance(value, tuple):
        return b"(" + b"".join(map(inner, value)) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(map(inner, value)) + b"e"
    if isinstance(value, np.ndarray | np.generic):
        return _tensor(np.ascontiguousarray(value), np.shape(value), storages, old)
    return pickle.dumps(value, 2)[2:-1]  # text and numbers, without frame


def _tensor(
    array: np.ndarray, shape: tuple, storages: list[np.ndarray], old: bool
) -> bytes:
    storages.append(array)
    kind = f"ctorch\n{STORAGES[array.dtype.name]}\n".encode()
    key, count = str(len(storages) - 1), array.size
    parts = [_value("storage", [], old), kind]
    parts += [_value(v, [], old) for v in (key, "cpu", count, *([None] if old else []))]
    strides = tuple(
        int(s) // array.itemsize for s in np.zeros(shape, array.dtype).strides
    )
    arguments = b"".join(_value(v, [], old) for v in (0, tuple(shape), strides, False))
    identity = b"(" + b"".join(parts) + b"tQ"
    no_hooks = b"ccollections\nOrderedDict\n)R"
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n"
    return rebuild + b"(" + identity + arguments + no_hooks + b"tR"


def write_zip(path: Path, value: Any, raw: bytes | None = None) -> None:
    """The format of PyTorch 1.6 and later; `raw` in place of the pickle of `value`."""
    storages: list[np.ndarray] = []
    data = program(value, storages, old=False)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", raw if raw is not None else data)
        archive.writestr("archive/byteorder", "little")
        for key, array in enumerate(storages):
            archive.writestr(f"archive/data/{key}", array.tobytes())


def write_stream(path: Path, value: Any, raw: bytes | None = None) -> None:
    """The older format."""
    storages: list[np.ndarray] = []
    data = program(value, storages, old=True)
    out = io.BytesIO()
    for header in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
        out.write(pickle.dumps(header, 2))
    out.write(raw if raw is not None else data)
    out.write(pickle.dumps([str(k) for k in range(len(storages))], 2))
    for array in storages:
        out.write(struct.pack("<q", array.size) + array.tobytes())
    path.write_bytes(out.getvalue())
