"""Nested dictionaries of NumPy arrays from pickles, without running what they name."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from pim_jax.io import files, pickles
from pim_jax.io.damage import DamagedError, named

_NUMBERS = re.compile(r"[fiu][1248]")
_DEEPEST = 100  # dictionaries inside each other


def read(path: str | Path) -> dict[str, Any]:
    """Dictionaries of dictionaries of arrays of numbers, of pickle protocols 3 and 4.

    No dictionary may stand in two places.

    Raises:
      FileNotFoundError: no such file.
      ValueError: it is damaged, or holds anything else.
    """
    path = files.existing(path)
    with named(f"{path} is no pickle of arrays"), path.open("rb") as file:
        found = pickles.load(file, path.stat().st_size, _CALLS)
        if type(found) is not dict:
            raise DamagedError("expected a dictionary")
        return _with_arrays(found)


class _Dtype(pickles.Placeholder):
    """In place of `numpy.dtype`."""

    def __init__(self, *arguments: Any) -> None:
        code = arguments[0] if arguments else None
        if type(code) is not str or not _NUMBERS.fullmatch(code):
            shown = repr(code) if type(code) is str else type(code).__name__
            raise DamagedError(f"an array of {shown}, expected numbers")
        self.code, self.order = code, "<"

    def set_state(self, state: Any) -> None:
        if type(state) is not tuple or len(state) < 2 or state[1] not in [*"<>|="]:
            raise DamagedError("the type of an array has no order of bytes")
        self.order = state[1].replace("|", "<")


class _Array(pickles.Placeholder):
    """In place of an empty array, which the state that follows fills."""

    def __init__(self, *_: Any) -> None:
        self.found: np.ndarray | None = None

    def set_state(self, state: Any) -> None:
        if type(state) is not tuple or len(state) != 5:
            raise DamagedError("an array has another state than those of NumPy")
        _, shape, dtype, by_columns, data = state
        if not isinstance(dtype, _Dtype) or type(data) is not bytes:
            raise DamagedError("an array without numbers")
        shape, kind = pickles.shape_of(shape), np.dtype(dtype.order + dtype.code)
        if len(data) != math.prod(shape) * kind.itemsize:
            raise DamagedError(f"{len(data)} bytes for an array of shape {shape}")
        if not data:
            self.found = pickles.empty(shape, kind)
        else:
            flat = np.frombuffer(data, kind)
            self.found = flat.reshape(shape, order="F" if by_columns is True else "C")


_CALLS: pickles.Calls = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "dtype"): _Dtype,
}


def _with_arrays(root: dict[Any, Any]) -> dict[str, Any]:
    """The dictionary with arrays in place of what stands for them.

    Nothing that is used later may take longer to walk through than the file: no
    dictionary stands in two places or inside itself.
    """
    waiting, seen = [(root, 1)], {id(root)}
    while waiting:
        part, depth = waiting.pop()
        if depth > _DEEPEST or not all(type(key) is str for key in part):
            raise _unexpected(part)
        for key, value in part.items():
            if isinstance(value, _Array) and value.found is not None:
                part[key] = value.found
            elif type(value) is dict and id(value) not in seen:
                seen.add(id(value))
                waiting.append((value, depth + 1))
            else:
                raise _unexpected(value)
    return root


def _unexpected(part: Any) -> DamagedError:
    return DamagedError(
        f"it holds {type(part).__name__}, expected dictionaries and arrays"
    )
