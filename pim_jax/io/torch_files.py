"""Arrays from files of `torch.save` (.pth, .pt), without PyTorch and without running them.

Such a file is a pickle, and with it the bytes of the tensors. Both containers are read:
the zip of PyTorch 1.6 and later, and the older stream of pickles.
"""

import io
import math
import struct
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pim_jax.io import files, pickles
from pim_jax.io.damage import DamagedError, decoding, named

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_STORAGES = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
# What zipfile raises on damaged archives.
_ZIP_DAMAGE = (
    EOFError, LookupError, MemoryError, OSError, OverflowError, RuntimeError, ValueError,
    struct.error, zipfile.BadZipFile, zipfile.LargeZipFile,
)  # fmt: skip

Storages = Callable[[str, np.dtype, int], np.ndarray]


def read(path: str | Path) -> Any:
    """What was saved: dictionaries, lists, numbers and text, with tensors as arrays.

    Arrays that shared memory still do. Tensors on other devices are read as well.
    Modules, sparse or quantised tensors and bfloat16 are not supported.

    Args:
      path: of a file that `torch.save` wrote.

    Raises:
      FileNotFoundError: no such file.
      ValueError: it is damaged, or holds something else than plain data and tensors.
    """
    path = files.existing(path)
    with named(f"{path} is not a readable file of torch.save"):
        with decoding(OSError):
            file, size = path.open("rb"), path.stat().st_size
        with file:
            if file.read(4) == b"PK\x03\x04":
                return _read_zip(file, size)
            file.seek(0)
            return _read_stream(file, size)


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a file that holds nothing but a `state_dict`, by name.

    Raises: as `read`.
    """
    found = read(path)
    if not isinstance(found, Mapping) or not all(
        isinstance(name, str) and isinstance(array, np.ndarray)
        for name, array in found.items()
    ):
        raise ValueError(f"{path}: expected a state_dict, names and tensors alone")
    return dict(found)


def _read_zip(file: files.Stream, size: int) -> Any:
    with decoding(*_ZIP_DAMAGE):
        archive = zipfile.ZipFile(file)
        members = {member.filename: member for member in archive.infolist()}
    programs = [n for n in members if n.endswith("/data.pkl") and n.count("/") == 1]
    if len(programs) != 1:
        raise DamagedError("it has no data.pkl")
    folder = programs[0].removesuffix("data.pkl")
    if any(m.compress_type != zipfile.ZIP_STORED for m in members.values()):
        # Never so in files of torch.save; a few bytes could become many gigabytes.
        raise DamagedError("its parts are compressed")

    def content(name: str) -> bytes:
        if name not in members:
            raise DamagedError(f"it has no {name}")
        with decoding(*_ZIP_DAMAGE):
            return archive.read(members[name])

    order = f"{folder}byteorder"
    if order in members and content(order) != b"little":
        raise DamagedError("its bytes are not in little-endian order")

    def storage(key: str, dtype: np.dtype, count: int) -> np.ndarray:
        data = content(f"{folder}data/{key}")
        if len(data) != count * dtype.itemsize:
            raise DamagedError(
                f"storage {key} has {len(data)} bytes, expected {count} times "
                f"{dtype.itemsize}"
            )
        return np.frombuffer(data, dtype)

    program = content(programs[0])
    return pickles.load(
        io.BytesIO(program), len(program), _CALLS, _references(storage, size)
    )


def _read_stream(file: files.Stream, size: int) -> Any:
    """Magic number, protocol, machine, object, keys; then the bytes of each key."""
    for expected in (_MAGIC, _PROTOCOL):
        if pickles.load(file, size, _CALLS) != expected:
            raise DamagedError("unknown magic number or protocol")
    machine = pickles.load(file, size, _CALLS)
    if isinstance(machine, dict) and machine.get("little_endian") is False:
        raise DamagedError("its bytes are not in little-endian order")
    storages: dict[str, np.ndarray] = {}

    def storage(key: str, dtype: np.dtype, count: int) -> np.ndarray:
        storages[key] = np.zeros(count, dtype)  # filled below
        return storages[key]

    found = pickles.load(file, size, _CALLS, _references(storage, size))
    keys = pickles.load(file, size, _CALLS)
    if type(keys) is not list or not all(type(key) is str for key in keys):
        raise DamagedError("it has no list of storages")
    if sorted(keys) != sorted(storages):
        raise DamagedError("it has bytes of other storages than its tensors need")
    for key in keys:
        array = storages[key]
        known = file.read(8) == struct.pack("<q", array.size)
        content = file.read(array.nbytes) if known else b""
        if not known or len(content) != array.nbytes:
            raise DamagedError(f"storage {key} is cut off, or has another size")
        array[:] = np.frombuffer(content, array.dtype)
    return found


def _references(storage: Storages, available: int) -> Callable[[Any], np.ndarray]:
    """The storages that a pickle refers to, each opened once and with one type.

    Together they have at most the `available` bytes, however often an archive lists the
    same ones.
    """
    opened: dict[str, np.ndarray] = {}

    def refer(identity: Any) -> np.ndarray:
        nonlocal available
        key, dtype, count = _storage(identity)
        if key not in opened:
            available -= count * dtype.itemsize
            if available < 0:
                raise DamagedError(
                    f"storage {key} of {count} numbers is beyond the file"
                )
            opened[key] = storage(key, dtype, count)
        if opened[key].dtype != dtype or opened[key].size != count:
            raise DamagedError(f"storage {key} has two types or sizes")
        return opened[key]

    return refer


def _storage(identity: Any) -> tuple[str, np.dtype, int]:
    """Key, type and count of ('storage', its type, key, device, count[, view])."""
    if type(identity) is not tuple or len(identity) not in (5, 6):
        raise DamagedError("it refers to something else than a storage")
    kind, of_type, key, _, count = identity[:5]
    is_view = any(part is not None for part in identity[5:])
    if type(kind) is not str or kind != "storage" or is_view:
        raise DamagedError("it refers to something else than a storage")
    if not isinstance(of_type, pickles.Name):
        raise DamagedError("a storage has no type")
    if of_type.module != "torch" or of_type.name not in _STORAGES:
        raise DamagedError(
            f"it has a {of_type.module}.{of_type.name}, expected {[*_STORAGES]}"
        )
    if type(key) is not str or type(count) is not int or not 0 <= count <= sys.maxsize:
        raise DamagedError("a storage has no key or no size")
    return key, np.dtype(_STORAGES[of_type.name]), count


def _ordered_dictionary(*arguments: Any) -> dict[Any, Any]:
    """Empty, or from Python 2 with its items, in lists of two."""
    pairs = arguments[0] if len(arguments) == 1 else [*arguments]
    if type(pairs) is not list or not all(
        type(pair) in (list, tuple) and len(pair) == 2 for pair in pairs
    ):
        raise DamagedError("an ordered dictionary has something else than items")
    return pickles.set_items({}, [part for pair in pairs for part in pair])


def _parameter(*arguments: Any) -> np.ndarray:
    if not arguments or not isinstance(arguments[0], np.ndarray):
        raise DamagedError("a parameter is no tensor")
    return arguments[0]


def _size(*arguments: Any) -> tuple[int, ...]:
    return pickles.shape_of(arguments[0] if len(arguments) == 1 else arguments)


def _tensor(*arguments: Any) -> np.ndarray:
    """A tensor: so many numbers of a storage, without copying them."""
    if len(arguments) < 4 or not isinstance(arguments[0], np.ndarray):
        raise DamagedError("a tensor has no storage")
    storage, shape, strides = (
        arguments[0],
        pickles.shape_of(arguments[2]),
        pickles.shape_of(arguments[3]),
    )
    (offset,) = pickles.shape_of((arguments[1],))
    if len(shape) != len(strides):
        raise DamagedError(f"a tensor has the shape {shape} and the strides {strides}")
    count = math.prod(shape)
    if not count:
        return pickles.empty(shape, storage.dtype)
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    # Repeated elements are no error in PyTorch, but could fill the memory later.
    if last >= storage.size or count > storage.size:
        raise DamagedError(f"a tensor of shape {shape} lies beyond its storage")
    # The stride of an axis of length 1 means nothing, and may be too large for NumPy.
    steps = [
        s * storage.itemsize if n > 1 else 0
        for n, s in zip(shape, strides, strict=True)
    ]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps)


_CALLS: pickles.Calls = {
    ("collections", "OrderedDict"): _ordered_dictionary,
    ("torch", "Size"): _size,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
}
