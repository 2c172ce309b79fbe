"""Nested dictionaries of NumPy arrays from pickles, without running what they name.

A pickle can call any function. Here the only names that mean anything are the three that
arrays of numbers are written with, and they stand for classes of this module that do
nothing but keep what they are given; any other name is an error.
"""

import math
import pickle
import re
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

# What damaged or hostile files make the unpickler and the parts below raise.
_DAMAGE = (
    pickle.UnpicklingError, ValueError, KeyError, IndexError, TypeError, AttributeError,
    EOFError, ImportError, MemoryError, OverflowError, RecursionError,
)  # fmt: skip
_NUMBERS = re.compile(r"[fiu][1248]")


class _Kind:
    """In place of `numpy.ndarray`, which an array names and nothing needs."""


class _Dtype:
    """In place of `numpy.dtype`."""

    def __init__(self, code: str, *_: Any) -> None:
        if not _NUMBERS.fullmatch(code):
            raise ValueError(f"an array of {code!r}, expected numbers")
        self.code, self.order = code, "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1].replace("|", "<")


class _Array:
    """In place of what makes an empty array, which the state that follows fills."""

    def __init__(self, *_: Any) -> None:
        self.found: np.ndarray | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, by_columns, data = state
        if not isinstance(dtype, _Dtype) or not isinstance(data, bytes):
            raise ValueError("an array without numbers")
        kind = np.dtype(dtype.order + dtype.code)
        if len(data) != math.prod(shape) * kind.itemsize:
            raise ValueError(f"{len(data)} bytes for an array of shape {shape}")
        flat = np.frombuffer(data, kind)
        self.found = flat.reshape(shape, order="F" if by_columns else "C")


_KNOWN: dict[tuple[str, str], type] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Kind,
    ("numpy", "dtype"): _Dtype,
}


class _Unpickler(pickle.Unpickler):
    """Knows `_KNOWN` alone."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _KNOWN[module, name]

    def persistent_load(self, pid: Any) -> NoReturn:
        raise pickle.UnpicklingError("it refers to something outside")


def read(path: str | Path) -> dict[str, Any]:
    """Dictionaries of dictionaries of arrays of numbers, of pickle protocols 3 and 4.

    Raises:
      FileNotFoundError: no such file.
      ValueError: it is damaged, or holds anything else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        with path.open("rb") as file:
            found = _arrays(_Unpickler(file).load())
    except _DAMAGE as error:
        raise ValueError(f"{path} is no pickle of arrays: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} is no pickle of arrays: expected a dictionary")
    return found


def _arrays(part: Any) -> Any:
    if isinstance(part, dict) and all(isinstance(key, str) for key in part):
        return {key: _arrays(value) for key, value in part.items()}
    if isinstance(part, _Array) and part.found is not None:
        return part.found
    raise ValueError(
        f"it holds {type(part).__name__}, expected dictionaries and arrays"
    )
