"""The range coder of tensorflow-compression: its own C++ ops.

They are in two packages, `tensorflow-compression-ops` and `tensorflow-compression`, which
write the same bytes; either will do. Importing TensorFlow takes seconds and prints remarks
on libraries for GPUs, so it waits for the first call and is done quietly.
"""

import contextlib
import functools
import importlib.util
import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Int32, Int64

from codec_jax.coding.tables import LARGEST_OUTLIER, Tables

_PACKAGES = ("tensorflow_compression_ops", "tensorflow_compression")
_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
# Symbols that are decoded before it is asked whether the bytes are used up, and bytes that
# one can take at most: 16 bits of an escape and those of an outlier.
_CHUNK, _BYTES_PER_SYMBOL = 2**16, 12


def is_installed() -> bool:
    """Whether either package is there. Imports neither."""
    return any(importlib.util.find_spec(package) for package in _PACKAGES)


def encode(
    values: Int32[np.ndarray, " n"], rows: Int32[np.ndarray, " n"], tables: Tables
) -> bytes:
    """The same as `numba_engine.encode`."""
    return _encoded(values, rows, _lookup(tables))


def decode(
    data: bytes, rows: Int32[np.ndarray, " n"], tables: Tables
) -> Int32[np.ndarray, " n"] | None:
    """The values for which `encode` gives exactly these bytes.

    Where an outlier begins with zeros to the end of the bytes and beyond, the C++ code
    looks for the end of the zeros forever. So the bytes are continued by ones, which end
    it; whether the bytes were those of the values shows when these are encoded again.

    Args:
      data: any bytes.
      rows: row of `tables` for each value.
      tables: probabilities; the offsets are left to the caller.

    Returns: None if the bytes are damaged; also, very rarely, if they are not, but end
      with so many zeros that these cannot be told from missing ones.
    """
    ops, lookup = _ops(), _lookup(tables)
    # What can still be part of a whole file: bytes of zeros, which are not written.
    end = len(data) + len(data) // 64 + 64
    # Zeros of an outlier are followed by as many digits.
    ones = 2 * end + _BYTES_PER_SYMBOL * min(_CHUNK, len(rows)) + 64
    handle = ops.create_range_decoder(data.ljust(end, b"\0") + b"\xff" * ones, lookup)
    values, taken = np.empty(len(rows), np.int32), 0.0
    for start in range(0, len(rows), _CHUNK):
        part = rows[start : start + _CHUNK]
        handle, found = ops.entropy_decode_index(handle, part, part.shape, np.int32)
        values[start : start + _CHUNK] = found.numpy()
        outliers = _outliers(values[start : start + _CHUNK], part, tables)
        if outliers.max(initial=0) > LARGEST_OUTLIER:
            return None
        taken += _bits(values[start : start + _CHUNK], outliers, part, tables)
        if taken > 8 * end:
            return None
    return values if _encoded(values, rows, lookup) == data else None


def _encoded(
    values: Int32[np.ndarray, " n"],
    rows: Int32[np.ndarray, " n"],
    lookup: Int32[np.ndarray, "r w+1"],
) -> bytes:
    ops = _ops()
    handle = ops.create_range_encoder([], lookup)
    handle = ops.entropy_encode_index(handle, rows, values)
    return ops.entropy_encode_finalize(handle).numpy()


def _outliers(
    values: Int32[np.ndarray, " n"], rows: Int32[np.ndarray, " n"], tables: Tables
) -> Int64[np.ndarray, " n"]:
    """The number >= 1 that codes an outlier; 0 for a symbol of the row."""
    wide, top = values.astype(np.int64), tables.size[rows] - 1
    coded = np.where(wide < 0, -wide, wide - top + 1)
    return np.where(tables.escape[rows] & ((wide < 0) | (wide >= top)), coded, 0)


def _bits(
    values: Int32[np.ndarray, " n"],
    outliers: Int64[np.ndarray, " n"],
    rows: Int32[np.ndarray, " n"],
    tables: Tables,
) -> float:
    """How many bits of a stream these values take."""
    k = np.where(outliers > 0, tables.size[rows] - 1, values)
    counts = tables.cdf[rows, k + 1] - tables.cdf[rows, k]
    bits = np.sum(tables.precision[rows] - np.log2(counts))
    _, digits = np.frexp(outliers[outliers > 0].astype(np.float64))
    return float(bits + 2 * np.sum(digits))


def _lookup(tables: Tables) -> Int32[np.ndarray, "r w+1"]:
    """The rows as the ops take them: a negative precision turns the escape on.

    With two axes. In one axis a 2^precision at the end of a row hides the precision of
    the next where that is the same number.
    """
    signed = np.where(tables.escape, -tables.precision, tables.precision)
    return np.concatenate([signed[:, None], tables.cdf], axis=1)


@functools.cache
def _ops() -> Any:
    with _quietly():
        if "tensorflow" not in sys.modules:
            import tensorflow as tf

            # The ops run on the CPU. TensorFlow would take all GPU memory from JAX.
            tf.config.set_visible_devices([], "GPU")
        if importlib.util.find_spec(_PACKAGES[0]):
            import tensorflow_compression_ops

            return tensorflow_compression_ops
        import tensorflow_compression

        return tensorflow_compression


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without TensorFlow's remarks while it is loaded, unless the user asks for them.

    They come from C++, some before the level of its log is known, so what is written to
    standard error itself is thrown away. An error is still raised in Python.
    """
    level = os.environ.get(_LOG_LEVEL)
    # JAX sets 1 where there is none.
    if level not in (None, "1", "3"):
        yield
        return
    os.environ[_LOG_LEVEL] = "3"
    sys.stderr.flush()
    before, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nowhere)
        if level is not None:
            os.environ[_LOG_LEVEL] = level
        else:
            del os.environ[_LOG_LEVEL]
