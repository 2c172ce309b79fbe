"""The released PIM models: download once, verify, keep in the user's cache.

The cache is the one of `downloads`. Weights and their terms (Apache 2.0):
https://github.com/google-research/perceptual-quality.
"""

import re
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

from pim_jax import downloads
from pim_jax.convert import CHECKPOINT, read_published
from pim_jax.downloads import Checksum, cache_folder
from pim_jax.metric import PimMetric, pim_metric

URL = "https://storage.googleapis.com/tensorflow_compression/pim"
_LARGEST_FILE = 256 * 2**20  # bytes; the archives have some 10 MB
_MEMBERS = re.compile(r"config\.json|checkpoint|weights\.(index|data-\d{5}-of-\d{5})")


class Archive(NamedTuple):
    """A zip with one folder, named as the zip."""

    stem: str
    sha512: str


ARCHIVES = {
    "pim-1-published": Archive(
        "pim-1",
        "436b4a95e667d8a4b6ee639f1d5d303585059b3f33075dbabbc9b1d0fb5008fa"
        "1509c046b80e2565c69e77f3ac396288eeb260cad8e316ea5c7e207b57ae68cb",
    ),
    "pim-5-published": Archive(
        "pim-5",
        "7939f9f9ed07650e9e290cac4e2cf559424795c26bb41f0641b7b77e93c96426"
        "8e5f4a8d6f0ba9a37d4407aef9973c04ee1dd88f1563643f0bc600a1a456aab3",
    ),
}


def load_pim_1(weights: str | Path | None = None) -> PimMetric:
    """PIM-1 as released: one Gaussian per position, squared distance of its mean.

    Args:
      weights: the unzipped folder or the zip; downloaded if None.

    Raises:
      NotDownloadedError (a FileNotFoundError): no network and nothing in the cache.
      ValueError: a file is not the published one, or damaged.
    """
    return _load("pim-1-published", weights)


def load_pim_5(weights: str | Path | None = None) -> PimMetric:
    """PIM-5 as released: mixtures of five Gaussians; arguments as for `load_pim_1`."""
    return _load("pim-5-published", weights)


def _load(name: str, weights: str | Path | None) -> PimMetric:
    path = fetch(name) if weights is None else Path(weights)
    if path.is_file():
        with tempfile.TemporaryDirectory() as folder:
            _unpack(path, ARCHIVES[name], Path(folder), str(path))
            params, config = read_published(folder)
    else:
        params, config = read_published(path)
    return pim_metric(params, config, name).replace(version="published")  # type: ignore[attr-defined,no-any-return]


def is_cached(name: str) -> bool:
    """Whether `name` can be loaded without a network."""
    try:
        stem = cache_folder() / ARCHIVES[name].stem
    except FileNotFoundError:  # there is no cache
        return False
    return stem.is_dir() or stem.with_name(f"{stem.name}.zip").is_file()


def fetch(name: str) -> Path:
    """The folder of a released model in the cache, downloaded if it is not there.

    A zip that was put into the cache by hand is verified and unpacked.

    Raises:
      NotDownloadedError, ValueError: see `load_pim_1`.
    """
    archive = ARCHIVES[name]
    folder = cache_folder() / archive.stem
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Complete or absent: everything is made in a temporary folder, then renamed.
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        cached = folder.parent / f"{archive.stem}.zip"
        path, source = cached, str(cached)
        if not path.is_file():
            path, source = Path(temporary, path.name), _url(name)
            downloads.download(name, source, path, cached, _LARGEST_FILE)
        unpacked = Path(temporary, "unpacked")
        unpacked.mkdir()
        _unpack(path, archive, unpacked, source)
        try:
            unpacked.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
    return folder


def _url(name: str) -> str:
    return f"{URL}/{ARCHIVES[name].stem}.zip"


def _unpack(path: Path, archive: Archive, folder: Path, source: str) -> None:
    """Verifies the zip and writes its files; errors say that it is from `source`."""
    checksum = Checksum("sha512", archive.sha512)
    downloads.verify(path, f"{archive.stem}.zip", checksum, source)
    try:
        with zipfile.ZipFile(path) as opened:
            _extract(opened, archive.stem, folder)
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        raise ValueError(f"cannot unpack {source}: {error}") from error


def _extract(opened: zipfile.ZipFile, stem: str, folder: Path) -> None:
    """Writes the files of the model, and nothing else, straight into `folder`."""
    for member in opened.infolist():
        # The name is never used as a path, so it cannot lead elsewhere.
        parent, _, base = member.filename.rpartition("/")
        if parent != stem or not _MEMBERS.fullmatch(base):
            continue
        if member.file_size > _LARGEST_FILE:
            raise ValueError(f"{base} has {member.file_size} bytes")
        with opened.open(member) as source, (folder / base).open("wb") as file:
            shutil.copyfileobj(source, file)
    for base in ("config.json", f"{CHECKPOINT}.index"):
        if not (folder / base).is_file():
            raise ValueError(f"it has no {stem}/{base}")
