"""The range coder: integers and a table row for each, to bytes and back.

The bytes are those of tensorflow-compression, from either of two engines: its own C++ ops
(`tensorflow_engine`), used where they are installed, and ours (`numba_engine`), which
needs no TensorFlow. Both write the same bytes, and what one writes the other reads. Which
one is used can be said for one call (`engine`), for a block (`using`), or for a process, by
the environment variable CODEC_JAX_CODER: `tensorflow` or `ours`, which starts faster. An
engine is imported when it is first used.

A stream has no header, no length and no checksum: tables, rows and the number of symbols
have to be known. Symbols follow each other in C order.
"""

import contextlib
import contextvars
import os
from collections.abc import Iterator, Mapping
from typing import Literal

import numpy as np
from jaxtyping import Int32, Integer
from numpy.typing import ArrayLike

from codec_jax.coding import tensorflow_engine
from codec_jax.coding.tables import Tables

Engine = Literal["tensorflow", "numba"]
# By the names that users choose them by.
CODERS: Mapping[str, Engine] = {"ours": "numba", "tensorflow": "tensorflow"}
VARIABLE = "CODEC_JAX_CODER"

_engine_here: contextvars.ContextVar[Engine | None] = contextvars.ContextVar(
    "engine", default=None
)


@contextlib.contextmanager
def using(engine: Engine | None) -> Iterator[None]:
    """Inside, `encode` and `decode` use this engine where a call names none.

    Args:
      engine: None leaves the choice as it is outside.

    Raises:
      ValueError: no such engine, or it is not installed.
    """
    if engine is None:
        yield
        return
    token = _engine_here.set(_available(engine))
    try:
        yield
    finally:
        _engine_here.reset(token)


def encode(
    symbols: ArrayLike,
    rows: ArrayLike,
    tables: Tables,
    engine: Engine | None = None,
) -> bytes:
    """Codes each symbol with the probabilities of a row of the tables.

    About sum(-log2 p) / 8 bytes, and no more than two beyond. Symbols outside a row with
    an escape take about 2 log2 of their distance in bits on top of the escape.

    Args:
      symbols: integers of any shape.
      rows: which row of `tables` each symbol has.
      tables: as the receiver has them.
      engine: None takes that of `using`, then that of CODEC_JAX_CODER, then TensorFlow's
        where it is installed. The bytes are the same.

    Raises:
      ValueError: not integers, shapes that differ, no such row or engine, or a symbol
        that its row cannot code (`Tables.lowest` to `Tables.highest`).
    """
    engine = chosen(engine)
    rows = _rows(rows, tables)
    symbols = _integers("symbols", symbols)
    if symbols.shape != rows.shape:
        raise ValueError(f"symbols have shape {symbols.shape}, rows {rows.shape}")
    outside = (symbols < tables.lowest[rows]) | (symbols > tables.highest[rows])
    if np.any(outside):
        index = tuple(map(int, np.argwhere(outside)[0]))
        row = rows[index]
        raise ValueError(
            f"symbol {symbols[index]} at {index} is outside row {row}, which codes "
            f"{tables.lowest[row]} to {tables.highest[row]}"
        )
    if not rows.size:
        return b""
    # Checked above; a copy of the symbols of a large picture takes as much as itself.
    values = np.subtract(
        symbols, tables.offset[rows], dtype=np.int32, casting="unsafe"
    ).ravel()
    if engine == "tensorflow":
        return tensorflow_engine.encode(values, rows.ravel(), tables)
    from codec_jax.coding import numba_engine

    return numba_engine.encode(values, rows.ravel(), tables)


def decode(
    data: bytes,
    rows: ArrayLike,
    tables: Tables,
    engine: Engine | None = None,
) -> Int32[np.ndarray, "*s"]:
    """The symbols that `encode` turns into exactly these bytes, with the shape of `rows`.

    Bytes may come from anywhere. Any others than `encode` writes are an error, whichever
    the engine; but a change that makes them the bytes of other symbols is not noticed:
    a checksum belongs to the file. Takes time in proportion to `rows`, at most that of
    64 bits for each.

    Args:
      data: what `encode` returned.
      rows, tables: those given to `encode`.
      engine: as there. Ours says what is wrong with bytes that TensorFlow's cannot read.

    Raises:
      ValueError: the bytes are damaged, truncated or too long, or were written with other
        tables, rows or number of symbols; `data` is not bytes; no such row or engine.
    """
    engine = chosen(engine)
    rows = _rows(rows, tables)
    if not isinstance(data, bytes):
        raise ValueError(f"expected bytes, found {type(data).__name__}")
    values = None
    if engine == "tensorflow" and rows.size:
        values = tensorflow_engine.decode(data, rows.ravel(), tables)
    if values is None:
        from codec_jax.coding import numba_engine

        values = numba_engine.decode(data, rows.ravel(), tables)
    # NumPy makes a number of the sum of two arrays without axes.
    return np.asarray(values.reshape(rows.shape) + tables.offset[rows])


def chosen(engine: Engine | None = None) -> Engine:
    """The engine that `encode` and `decode` use when they are given this one.

    Raises:
      ValueError: no such engine, one that is not installed, or CODEC_JAX_CODER is neither
        of CODERS.
    """
    engine = engine or _engine_here.get()
    if engine is not None:
        return _available(engine)
    name = os.environ.get(VARIABLE)
    if name:
        if name not in CODERS:
            raise ValueError(f"{VARIABLE}: expected one of {[*CODERS]}, found {name!r}")
        return _available(CODERS[name])
    return "tensorflow" if tensorflow_engine.is_installed() else "numba"


def _available(engine: Engine) -> Engine:
    if engine not in ("tensorflow", "numba"):
        raise ValueError(f"engine: expected 'tensorflow' or 'numba', found {engine!r}")
    if engine == "tensorflow" and not tensorflow_engine.is_installed():
        raise ValueError("the engine 'tensorflow' needs tensorflow-compression-ops")
    return engine


def _rows(rows: ArrayLike, tables: Tables) -> Int32[np.ndarray, "*s"]:
    rows = _integers("rows", rows)
    count = len(tables.cdf)
    if rows.size and not 0 <= rows.min() <= rows.max() < count:
        wrong = rows[(rows < 0) | (rows >= count)][0]
        raise ValueError(f"there is no row {wrong} among {count} tables")
    return np.asarray(rows, np.int32, order="C")


def _integers(name: str, values: ArrayLike) -> Integer[np.ndarray, "*s"]:
    array = np.asarray(values)
    # An empty list is an array of floats.
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name}: expected integers, found {array.dtype}")
    return array if array.size else array.astype(np.int32)
