"""Arrays by name in .npz files."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from pim_jax.io import files
from pim_jax.io.damage import decoding, named

# What NumPy and zipfile raise on damaged files.
_DAMAGE = (
    EOFError, LookupError, MemoryError, OSError, OverflowError, RuntimeError, SyntaxError,
    TypeError, ValueError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def read(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file.

    Raises: FileNotFoundError, or ValueError for a damaged file.
    """
    path = files.existing(path)
    with (
        named(f"{path} is not a readable .npz file"),
        decoding(*_DAMAGE),
        # NumPy leaves a file open of which it cannot read the beginning.
        path.open("rb") as file,
        np.load(file, allow_pickle=False) as stored,
    ):
        return dict(stored)
