"""A restricted unpickler: plain data, and calls of a few functions that are given.

A pickle is a program, and its instructions can call any function. The unpickler here
carries out the instructions of plain data alone: numbers, text, tuples, lists and
dictionaries. A name in a pickle is never looked up; a call of one means a function that
the reader of a format gives for it, and any other call is an error.

The unpickler is Python's own, in its form in Python. The form in C has no bounds on
hostile input: it reserves memory for any index of its memo, and hashing a deeply nested
tuple as a key of a dictionary overflows its stack.
"""

import math
import pickle
import pickletools
import struct
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np

from pim_jax.io.damage import DamagedError, decoding
from pim_jax.io.files import Stream

_T = TypeVar("_T")

_CODES = {opcode.name: ord(opcode.code) for opcode in pickletools.opcodes}
_NAMES = {code: name for name, code in _CODES.items()}
# Of Python's unpickler; those that change a container or call are in `_Unpickler`.
_INSTRUCTIONS = (
    "PROTO", "FRAME", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT",
    "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING",
    "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE",
    "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "EMPTY_TUPLE", "TUPLE",
    "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "LIST", "EMPTY_DICT", "PUT", "BINPUT",
    "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET", "GLOBAL", "STACK_GLOBAL",
)  # fmt: skip
# What these instructions raise on hostile bytes.
_DAMAGE = (
    EOFError, IndexError, MemoryError, OverflowError, ValueError,
    pickle.UnpicklingError, struct.error,
)  # fmt: skip
_MOST_AXES = 32  # of an array of NumPy 1


class Name(NamedTuple):
    """A global of the pickle: a name, which is never looked up."""

    module: str
    name: str


class Placeholder:
    """The result of a call that a later BUILD instruction completes."""

    def set_state(self, state: Any) -> None:
        """Completes it. DamagedError for a state that it cannot have."""
        raise NotImplementedError


Calls = Mapping[tuple[str, str], Callable[..., Any]]


def load(
    file: Stream,
    size: int,
    calls: Calls,
    refer: Callable[[Any], Any] | None = None,
) -> Any:
    """The value of one pickle.

    Args:
      file: read from its place up to the end of the pickle.
      size: of the file, in bytes.
      calls: (module, name) -> the function that a call of this name means, which raises
        DamagedError for arguments that it cannot have.
      refer: the value of a reference to something outside of the pickle; None if there
        is nothing.

    Raises:
      DamagedError: it is cut off or damaged, has an instruction that plain data does not
        need, or calls anything else.
    """
    # For the codes of the instructions; all else is guarded where it is read.
    with decoding(EOFError, pickle.UnpicklingError):
        return _Unpickler(_Bounded(file, size), calls, refer).load()


def set_items(target: dict[Any, Any], items: list[Any]) -> dict[Any, Any]:
    """Adds keys and values in turn. No tuple is a key: hashing a deep one would crash."""
    if len(items) % 2:
        raise DamagedError("a dictionary has a key without a value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str | int | float | bool):
            raise DamagedError(f"a key of a dictionary is a {type(key).__name__}")
        target[key] = value
    return target


def shape_of(value: Any) -> tuple[int, ...]:
    """A shape, offset or strides: numbers of which arrays of this machine may be made."""
    if (
        type(value) not in (tuple, list)
        or len(value) > _MOST_AXES
        or not all(type(n) is int and 0 <= n <= sys.maxsize for n in value)
    ):
        raise DamagedError("an array has a shape or strides that it cannot have")
    return tuple(value)


def empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Of a shape with a zero; NumPy makes no array whose other axes are too long."""
    if math.prod(n or 1 for n in shape) * dtype.itemsize > sys.maxsize:
        raise DamagedError(f"an empty array has the shape {shape}")
    return np.zeros(shape, dtype)


class _Bounded:
    """A file that is never asked for more bytes than it has.

    The length in an instruction may be any number, and memory is reserved before reading.
    """

    def __init__(self, file: Stream, size: int) -> None:
        self._file, self._size = file, size
        self.readline = file.readline

    def read(self, count: int) -> bytes:
        return self._file.read(min(count, self._size))


class _Instructions(dict[int, Any]):
    def __missing__(self, code: int) -> Any:
        raise DamagedError(
            f"it has the instruction {_NAMES.get(code, code)}, which plain data has not"
        )


def _guarded(code: int) -> Callable[[Any], None]:
    """An instruction of Python's unpickler, with errors of the bytes as DamagedError."""
    instruction, guard = pickle._Unpickler.dispatch[code], decoding(*_DAMAGE)

    def guarded(machine: Any) -> None:
        with guard:
            instruction(machine)

    return guarded


class _Unpickler(pickle._Unpickler):
    """Carries out instructions of plain data, and `calls` of names that it knows."""

    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]

    def __init__(
        self,
        file: _Bounded,
        calls: Calls,
        refer: Callable[[Any], Any] | None,
    ) -> None:
        # Text of Python 2 may hold any byte.
        super().__init__(file, encoding="latin-1")
        self._calls, self._refer = calls, refer

    def find_class(self, module: str, name: str) -> Name:
        return Name(module, name)

    def _pop(self, count: int) -> list[Any]:
        items = self.stack[-count:]
        if len(items) < count:
            raise DamagedError("its stack is empty")
        del self.stack[-count:]
        return items

    def _pop_mark(self) -> list[Any]:
        with decoding(IndexError):
            return self.pop_mark()

    def _top(self, kind: type[_T]) -> _T:
        """The container that an instruction changes."""
        if not self.stack or type(self.stack[-1]) is not kind:
            found = type(self.stack[-1]).__name__ if self.stack else "nothing"
            raise DamagedError(f"it changes {found}, expected {kind.__name__}")
        return self.stack[-1]  # type: ignore[no-any-return]

    def _append(self) -> None:
        (item,) = self._pop(1)
        self._top(list).append(item)

    def _appends(self) -> None:
        items = self._pop_mark()
        self._top(list).extend(items)

    def _set_item(self) -> None:
        items = self._pop(2)
        set_items(self._top(dict), items)

    def _set_items(self) -> None:
        items = self._pop_mark()
        set_items(self._top(dict), items)

    def _dictionary(self) -> None:
        items = self._pop_mark()
        self.append(set_items({}, items))

    def _empty_set(self) -> None:
        self.append([])

    def _persistent(self) -> None:
        (identity,) = self._pop(1)
        if self._refer is None:
            raise DamagedError("it refers to something outside")
        self.append(self._refer(identity))

    def _call(self) -> None:
        name, arguments = self._pop(2)
        if not isinstance(name, Name) or type(arguments) is not tuple:
            raise DamagedError("it calls something that has no name")
        if name not in self._calls:
            raise DamagedError(
                f"it asks for {name.module}.{name.name}, which plain data does not"
            )
        self.append(self._calls[name](*arguments))

    def _build(self) -> None:
        (state,) = self._pop(1)
        if self.stack and isinstance(self.stack[-1], Placeholder):
            self.stack[-1].set_state(state)
        else:
            # The version numbers of modules, an attribute of the ordered dictionary.
            self._top(dict)

    dispatch = _Instructions({_CODES[n]: _guarded(_CODES[n]) for n in _INSTRUCTIONS})
    dispatch[_CODES["APPEND"]] = _append
    dispatch[_CODES["APPENDS"]] = _appends
    dispatch[_CODES["SETITEM"]] = _set_item
    dispatch[_CODES["SETITEMS"]] = _set_items
    dispatch[_CODES["DICT"]] = _dictionary
    dispatch[_CODES["EMPTY_SET"]] = _empty_set
    dispatch[_CODES["BINPERSID"]] = _persistent
    dispatch[_CODES["REDUCE"]] = _call
    dispatch[_CODES["BUILD"]] = _build
