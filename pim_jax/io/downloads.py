"""Downloads of published files, their checksums, and the folder that keeps them.

The cache is `~/.cache/pim_jax`, or the folder in the environment variable
`PIM_JAX_CACHE`.
"""

import http.client
import os
import urllib.request
from pathlib import Path
from typing import NamedTuple

from absl import logging

from pim_jax.io import files

_TIMEOUT_SECONDS = 30


class NotDownloadedError(FileNotFoundError):
    """Weights are neither in the cache nor can they be fetched."""


class Checksum(NamedTuple):
    """How the bytes of a file are known: 'sha256' or 'sha512', and its first digits."""

    algorithm: str
    digits: str


def cache_folder() -> Path:
    """Where downloaded weights lie.

    Raises: FileNotFoundError, if there is neither PIM_JAX_CACHE nor a home folder, as in
      a container that runs as a user whom it does not know.
    """
    chosen = os.environ.get("PIM_JAX_CACHE")
    if chosen:
        return Path(chosen)
    try:
        return Path.home() / ".cache" / "pim_jax"
    except RuntimeError as error:
        raise FileNotFoundError(
            "this user has no home folder for the cache: set PIM_JAX_CACHE to a folder"
        ) from error


def download(what: str, url: str, path: Path, cached: Path, largest: int) -> None:
    """Writes what is at `url` to `path`, at most `largest` bytes and one block.

    Raises: NotDownloadedError, which says that the file can be put at `cached`.
    """
    logging.info("downloading %s", url)
    try:
        with (
            urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response,
            path.open("wb") as file,
        ):
            # What is cut off here fails the checksum.
            while file.tell() <= largest and (block := response.read(2**20)):
                file.write(block)
    except (OSError, http.client.HTTPException) as error:
        raise NotDownloadedError(
            f"{what}: cannot download {url} ({error}); put that file at {cached}, or "
            "pass weights=PATH of a copy"
        ) from error


def verify(path: Path, name: str, checksum: Checksum, source: str) -> None:
    """Compares a file with its checksum.

    Args:
      path: of the file.
      name: of the published file that it should be.
      checksum: of that one.
      source: where the file is from, for the message.

    Raises:
      ValueError: it is another file.
    """
    found = files.digest(path, checksum.algorithm)
    if not found.startswith(checksum.digits):
        raise ValueError(
            f"{source} is not the published {name}: its "
            f"{checksum.algorithm.upper().replace('SHA', 'SHA-')} is {found}, expected "
            f"{checksum.digits}"
        )
