"""Files as such: their checksums, replacing them whole, and those inside packages."""

import contextlib
import hashlib
import io
import os
import secrets
import tempfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import BinaryIO

# To read bytes from, or to write them to; at run time BytesIO is no BinaryIO.
Stream = BinaryIO | io.BytesIO


def existing(path: str | Path) -> Path:
    """The path of a file.

    Raises: FileNotFoundError if there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    return path


def packaged(package: str, *names: str) -> Path:
    """The path of a file or folder that is installed with a package.

    Args:
      package: such as "pim_jax.metrics".
      names: of folders inside it, and of the file.
    """
    return Path(str(resources.files(package))).joinpath(*names)


def sha256(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def digest(path: Path, algorithm: str = "sha256") -> str:
    """The digest of a file in hexadecimal, read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def read_verified(path: Path) -> bytes:
    """The content of a file whose SHA-256 lies in a file of the suffix .sha256 next to it.

    Raises:
      FileNotFoundError: one of the two is missing.
      ValueError: the digests differ.
    """
    data = existing(path).read_bytes()
    checksum = existing(path.with_suffix(".sha256"))
    # As `sha256sum` writes it: the digest, then the name.
    expected = (checksum.read_text(encoding="utf-8").split() or [""])[0]
    if sha256(data) != expected:
        raise ValueError(f"{path}: SHA-256 is {sha256(data)}, expected {expected}")
    return data


def replace_file(path: str | Path, data: bytes) -> None:
    """Writes a file so that at any time there is the old one or the new one, whole.

    Raises:
      FileNotFoundError: there is no such folder.
      ValueError: the path is a folder.
    """
    path = Path(path).resolve()
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no such folder: {path.parent}")
    if path.is_dir():
        raise ValueError(f"expected a file, found a folder: {path}")
    if path.exists() and not path.is_file():
        path.write_bytes(data)  # a pipe or a device, such as /dev/stdout
        return
    fresh = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with fresh.open("xb") as file:
            file.write(data)
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """An empty folder to fill, which becomes `path` at the end, or vanishes on an error.

    Args:
      path: must not exist, or be an empty folder; folders above it are made.

    Raises: OSError, at the end, if there is another folder with files by then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f".{path.name}-", dir=path.parent
    ) as temporary:
        # Inside the other, which is private: this one is to be shared like any folder.
        fresh = Path(temporary, path.name)
        fresh.mkdir()
        yield fresh
        fresh.replace(path)
