"""The range coder of tensorflow-compression: its own C++ ops.

They are in two packages, `tensorflow-compression-ops` and `tensorflow-compression`, which
write the same bytes; either will do. Importing TensorFlow takes seconds, so it waits for
the first call.
"""

import functools
import importlib.util
import os
import sys
from typing import Any

import numpy as np
from jaxtyping import Int32

from codec_jax.coding.tables import Tables

_PACKAGES = ("tensorflow_compression_ops", "tensorflow_compression")


def is_installed() -> bool:
    """Whether either package is there. Imports neither."""
    return any(importlib.util.find_spec(package) for package in _PACKAGES)


def encode(
    values: Int32[np.ndarray, " n"], rows: Int32[np.ndarray, " n"], tables: Tables
) -> bytes:
    """The same as `numba_engine.encode`."""
    ops = _ops()
    handle = ops.create_range_encoder([], _lookup(tables))
    handle = ops.entropy_encode_index(handle, rows, values)
    return ops.entropy_encode_finalize(handle).numpy()


def decode(
    data: bytes, rows: Int32[np.ndarray, " n"], tables: Tables
) -> Int32[np.ndarray, " n"]:
    """The values of bytes that `encode` has written with these tables and rows.

    The caller has to know that. Other bytes give other values; and where an outlier begins
    with zeros to the end of the bytes and beyond, the C++ code does not return at all.
    """
    ops = _ops()
    handle = ops.create_range_decoder(data, _lookup(tables))
    _, values = ops.entropy_decode_index(handle, rows, rows.shape, np.int32)
    return values.numpy()


def _lookup(tables: Tables) -> Int32[np.ndarray, "r w+1"]:
    """The rows as the ops take them: a negative precision turns the escape on.

    With two axes. In one axis a 2^precision at the end of a row hides the precision of
    the next where that is the same number.
    """
    signed = np.where(tables.escape, -tables.precision, tables.precision)
    return np.concatenate([signed[:, None], tables.cdf], axis=1)


@functools.cache
def _ops() -> Any:
    if "tensorflow" not in sys.modules:
        # Its remarks on libraries for GPUs are no one's business here.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import tensorflow as tf

        # The ops run on the CPU. TensorFlow would take all memory of the GPUs from JAX.
        tf.config.set_visible_devices([], "GPU")
    if importlib.util.find_spec(_PACKAGES[0]):
        import tensorflow_compression_ops

        return tensorflow_compression_ops
    import tensorflow_compression

    return tensorflow_compression
