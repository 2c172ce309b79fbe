"""Arrays from files of `torch.save` (.pth, .pt), without PyTorch and without running them.

Such a file is a pickle program and, beside it, the bytes of the tensors. A pickle can
call any function, so it is never handed to Python's own unpickler: the few instructions
that tensors in lists and dictionaries need are interpreted here, and anything else is an
error. Both containers are read: the zip of PyTorch 1.6 and later, and the older stream of
pickles.
"""

import pickletools
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_DTYPES = {
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
# What damaged or hostile files make the parts below raise.
_DAMAGE = (
    ValueError, KeyError, IndexError, TypeError, AttributeError, EOFError, OSError,
    OverflowError, MemoryError, RecursionError, NotImplementedError, RuntimeError,
    struct.error, zipfile.BadZipFile, zipfile.LargeZipFile,
)  # fmt: skip
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": list,
}
_ARGUMENTS = {
    "BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "BINFLOAT", "FLOAT",
    "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING",
    "SHORT_BINSTRING", "STRING", "BINBYTES", "SHORT_BINBYTES",
}  # fmt: skip
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = object()

Storages = Callable[[str, np.dtype, int], np.ndarray]


class _Name(NamedTuple):
    """A global of the pickle: a name, which is never looked up."""

    module: str
    name: str


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
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        with path.open("rb") as file:
            if file.read(4) == b"PK\x03\x04":
                return _read_zip(file)
            file.seek(0)
            return _read_stream(file, path.stat().st_size)
    except _DAMAGE as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"{path} is not a readable file of torch.save: {text}"
        ) from error


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


def _read_zip(file: IO[bytes]) -> Any:
    with zipfile.ZipFile(file) as archive:
        members = {member.filename: member for member in archive.infolist()}
        programs = [n for n in members if n.endswith("/data.pkl") and n.count("/") == 1]
        if len(programs) != 1:
            raise ValueError("it has no data.pkl")
        folder = programs[0].removesuffix("data.pkl")
        if any(m.compress_type != zipfile.ZIP_STORED for m in members.values()):
            # Never so in files of torch.save; a few bytes could become many gigabytes.
            raise ValueError("its parts are compressed")
        order = members.get(f"{folder}byteorder")
        if order is not None and archive.read(order) != b"little":
            raise ValueError("its bytes are not in little-endian order")

        def storage(key: str, dtype: np.dtype, count: int) -> np.ndarray:
            member = members[f"{folder}data/{key}"]
            if member.file_size != count * dtype.itemsize:
                raise ValueError(
                    f"storage {key} has {member.file_size} bytes, expected {count} "
                    f"times {dtype.itemsize}"
                )
            return np.frombuffer(archive.read(member), dtype)

        with archive.open(members[programs[0]]) as program:
            return _run(program, _kept(storage))


def _read_stream(file: IO[bytes], size: int) -> Any:
    """Magic number, protocol, machine, object, keys; then the bytes of each key."""

    def none(*_: Any) -> np.ndarray:
        raise ValueError("a tensor before the object")

    if _run(file, none) != _MAGIC or _run(file, none) != _PROTOCOL:
        raise ValueError("unknown magic number or protocol")
    machine = _run(file, none)
    if isinstance(machine, dict) and machine.get("little_endian") is False:
        raise ValueError("its bytes are not in little-endian order")
    storages: dict[str, np.ndarray] = {}
    left = size

    def storage(key: str, dtype: np.dtype, count: int) -> np.ndarray:
        nonlocal left
        left -= count * dtype.itemsize
        if count < 0 or left < 0:
            raise ValueError(f"storage {key} of {count} numbers is beyond the file")
        storages[key] = np.zeros(count, dtype)  # filled below
        return storages[key]

    found = _run(file, _kept(storage))
    for key in _run(file, none):
        array = storages[key]
        (count,) = struct.unpack("<q", file.read(8))
        content = file.read(array.nbytes) if count == array.size else b""
        if len(content) != array.nbytes:
            raise ValueError(f"storage {key} is cut off, or has another size")
        array[:] = np.frombuffer(content, array.dtype)
        del storages[key]
    if storages:
        raise ValueError(f"no bytes of the storages {sorted(storages)}")
    return found


def _kept(storage: Storages) -> Storages:
    """The same with each storage opened once, and always with the same type."""
    opened: dict[str, np.ndarray] = {}

    def get(key: str, dtype: np.dtype, count: int) -> np.ndarray:
        if key not in opened:
            opened[key] = storage(key, dtype, count)
        if opened[key].dtype != dtype or opened[key].size != count:
            raise ValueError(f"storage {key} has two types or sizes")
        return opened[key]

    return get


def _run(program: Any, storage: Storages) -> Any:
    """The value of one pickle; `program` then stands behind it."""
    machine = _Machine(storage)
    for opcode, argument, _ in pickletools.genops(program):
        if opcode.name == "STOP":
            (value,) = machine.stack
            return value
        machine.step(opcode.name, argument)
    raise ValueError("it ends early")


class _Machine:
    """The stack and the memory of a pickle program."""

    def __init__(self, storage: Storages):
        self.stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._storage = storage

    def step(self, name: str, argument: Any) -> None:
        """One instruction."""
        stack = self.stack
        if name in ("PROTO", "FRAME"):
            return
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in _ARGUMENTS:
            stack.append(argument)
        elif name == "MARK":
            stack.append(_MARK)
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif name in _TUPLES:
            stack.append(self._pop(_TUPLES[name]))
        elif name == "TUPLE":
            stack.append(tuple(self._pop_to_mark()))
        else:
            self._build(name, argument)

    def _build(self, name: str, argument: Any) -> None:
        """The instructions that change a container or make a tensor."""
        stack = self.stack
        if name in ("LIST", "DICT"):
            items = self._pop_to_mark()
            stack.append(items if name == "LIST" else {})
            if name == "DICT":
                self._set_items(items)
        elif name in ("APPEND", "APPENDS"):
            one = name == "APPEND"
            items = list(self._pop(1)) if one else self._pop_to_mark()
            _container(stack[-1], list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            self._set_items(self._pop(2) if name == "SETITEM" else self._pop_to_mark())
        elif name == "GLOBAL":
            stack.append(_Name(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            stack.append(_Name(*self._pop(2)))
        elif name == "BINPERSID":
            stack.append(self._open(*self._pop(1)))
        elif name == "REDUCE":
            stack.append(_call(*self._pop(2)))
        elif name == "BUILD":
            # The version numbers of modules, an attribute of the ordered dictionary.
            self._pop(1)
            _container(stack[-1], dict)
        else:
            raise ValueError(f"it has the instruction {name}, which plain data has not")

    def _pop(self, count: int) -> tuple[Any, ...]:
        items = tuple(self.stack[-count:])
        if len(items) < count or any(item is _MARK for item in items):
            raise ValueError("its stack is empty")
        del self.stack[-count:]
        return items

    def _pop_to_mark(self) -> list[Any]:
        items: list[Any] = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def _set_items(self, items: Any) -> None:
        target = _container(self.stack[-1], dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str | int | float | bool):
                raise ValueError(f"a key of a dictionary is a {type(key).__name__}")
            target[key] = value

    def _open(self, identity: Any) -> np.ndarray:
        """A storage: ('storage', its type, key, device, count) and, once, a view."""
        kind, of_type, key, _, count, *view = identity
        if (
            kind != "storage"
            or not isinstance(of_type, _Name)
            or view not in ([], [None])
        ):
            raise ValueError(f"it refers to {kind!r}, expected a storage")
        if of_type.module != "torch" or of_type.name not in _DTYPES:
            raise ValueError(f"it has a {'.'.join(of_type)}, expected {[*_DTYPES]}")
        if not isinstance(key, str) or type(count) is not int or count < 0:
            raise ValueError(f"a storage has the key {key!r} and the size {count!r}")
        return self._storage(key, np.dtype(_DTYPES[of_type.name]), count)


def _container(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise ValueError(f"it changes a {type(value).__name__}, not a {kind.__name__}")
    return value


def _call(name: Any, arguments: Any) -> Any:
    """The results of the few functions that `torch.save` writes calls of."""
    if not isinstance(name, _Name) or not isinstance(arguments, tuple):
        raise ValueError("it calls something that has no name")
    if name == ("collections", "OrderedDict"):
        # Empty, or from Python 2 with its items, in lists of two.
        return dict(*arguments)
    if name == ("torch._utils", "_rebuild_parameter"):
        return _array(arguments[0])
    if name in (
        ("torch._utils", "_rebuild_tensor_v2"),
        ("torch._utils", "_rebuild_tensor"),
    ):
        return _view(*arguments[:4])
    if name == ("torch", "Size"):
        return tuple(*arguments)
    raise ValueError(f"it calls {'.'.join(map(str, name))}, which plain data does not")


def _array(value: Any) -> np.ndarray:
    if not isinstance(value, np.ndarray):
        raise ValueError(f"a parameter is a {type(value).__name__}, not a tensor")
    return value


def _view(storage: Any, offset: Any, shape: Any, strides: Any) -> np.ndarray:
    """A tensor: so many numbers of a storage, without copying them."""
    numbers = (offset, *shape, *strides)
    if any(type(n) is not int or n < 0 for n in numbers) or len(shape) != len(strides):
        raise ValueError(f"a tensor has the shape {shape} and the strides {strides}")
    storage = _array(storage)
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    count = int(np.prod(shape, dtype=object)) if shape else 1
    # Repeated elements are no error in PyTorch, but could fill the memory later.
    if count and (last >= storage.size or count > storage.size):
        raise ValueError(f"a tensor of shape {shape} lies beyond its storage")
    steps = tuple(s * storage.itemsize for s in strides)
    if not count:
        return np.zeros(shape, storage.dtype)
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps)
