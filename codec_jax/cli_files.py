"""Files of the command `codec-jax`: which become which, and what is told about each."""

import dataclasses
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from codec_jax.evaluation.classical import CLASSICAL
from pim_jax.io.terminal import UsageError

STREAM = "-"  # in place of a path: standard input or output
CODED = ".cjx"
# What is taken for a picture in a folder.
PICTURES = frozenset(
    [
        *(".avif", ".bmp", ".gif", ".heic", ".heif", ".j2k", ".jfif", ".jp2", ".jpe"),
        *(".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff"),
        ".webp",
    ]
)
_JPEG_QUALITIES = range(1, 96)


@dataclasses.dataclass(frozen=True)
class Job:
    """A file that becomes another; either may be STREAM."""

    source: str
    out: str


@dataclasses.dataclass(frozen=True)
class Done:
    """What has become of a file.

    Attributes:
      job: which.
      height, width: of the picture.
      bytes: of the coded file.
      psnr: over the RGB samples that are visible, in dB; None if it was not measured.
      warning: one line, or None.
    """

    job: Job
    height: int
    width: int
    bytes: int
    psnr: float | None = None
    warning: str | None = None

    @property
    def bpp(self) -> float:
        """Bits of the coded file for each pixel."""
        return 8 * self.bytes / (self.height * self.width)

    def line(self) -> str:
        """For people."""
        size = f"{self.width} x {self.height}, {self.bytes} bytes"
        return f"{size}, {self.bpp:.4f} bits per pixel{_decibels(self.psnr)}"

    def record(self) -> dict[str, Any]:
        """For programs."""
        found: dict[str, Any] = {
            **dataclasses.asdict(self.job),
            "width": self.width,
            "height": self.height,
            "bytes": self.bytes,
            "bpp": self.bpp,
        }
        if self.psnr is not None:
            # JSON has no infinity.
            found["psnr"] = self.psnr if math.isfinite(self.psnr) else None
        if self.warning:
            found["warning"] = self.warning
        return found


def jobs(paths: Sequence[str], suffix: str, sources: Iterable[str]) -> list[Job]:
    """What is to be done for `IN ... OUT`.

    OUT is a folder if there are several IN, if IN is a folder, if OUT is one, or if it
    ends with a slash. Of a folder all files with a suffix of `sources` are taken, in
    folders inside too, but hidden ones; they keep their place.

    Args:
      paths: of the command line; the last is OUT.
      suffix: of files in a folder OUT.
      sources: suffixes of what is taken from a folder IN.

    Raises:
      UsageError: fewer than two paths, a stream among several, two files that would get
        the same name, or OUT is a file and not a folder.
      ValueError: there is nothing in the folders.
    """
    *given, out = paths
    if not given:
        raise UsageError(f"expected IN and OUT, found only {out}")
    folders = any(Path(path).is_dir() for path in given if path != STREAM)
    several = len(given) > 1 or folders
    if STREAM in paths:
        if several or (given == [STREAM] and _is_folder(out)):
            raise UsageError("- stands for one file, and has no name in a folder")
        return [Job(given[0], out)]
    if not several and not _is_folder(out):
        return [Job(given[0], out)]
    named_as_file = Path(out).suffix.lower() in {CODED, *PICTURES}
    if not _is_folder(out) and (Path(out).exists() or named_as_file):
        raise UsageError(f"expected a folder for several files, found a file: {out}")
    wanted = frozenset(sources)
    found = [pair for path in given for pair in _found(Path(path), wanted, Path(out))]
    if not found:
        kinds = ", ".join(sorted(wanted))
        raise ValueError(f"found no files {kinds} in {', '.join(given)}")
    return [
        Job(str(source), str(Path(out) / name))
        for (source, _), name in zip(found, _names(found, suffix), strict=True)
    ]


def _is_folder(out: str) -> bool:
    return out.endswith(("/", os.sep)) or Path(out).is_dir()


def _found(path: Path, suffixes: frozenset[str], out: Path) -> list[tuple[Path, Path]]:
    """Files, each with its place below `path`."""
    if not path.is_dir():
        return [(path, Path(path.name))]
    found = []
    for folder, inside, files in os.walk(path):
        here = Path(folder)
        # What was written before is not taken in again.
        inside[:] = sorted(
            name
            for name in inside
            if not name.startswith(".") and not _same(here / name, out)
        )
        found += [
            (here / name, (here / name).relative_to(path))
            for name in sorted(files)
            if not name.startswith(".") and Path(name).suffix.lower() in suffixes
        ]
    return found


def _names(found: Sequence[tuple[Path, Path]], suffix: str) -> list[Path]:
    """New names: a.png becomes a.cjx, and a.png.cjx where there is an a.jpg as well."""
    short = [place.with_suffix(suffix) for _, place in found]
    several = {name for name, count in Counter(short).items() if count > 1}
    names = [
        place.with_name(place.name + suffix) if name in several else name
        for (_, place), name in zip(found, short, strict=True)
    ]
    first: dict[Path, Path] = {}
    for name, (source, _) in zip(names, found, strict=True):
        if name in first:
            raise UsageError(f"{first[name]} and {source} would both become {name}")
        first[name] = source
    return names


def _same(a: Path, b: Path) -> bool:
    try:
        return os.path.samefile(a, b)
    except OSError:
        return False


def refused(out: str | Path, force: bool, sources: Iterable[str] = ()) -> str | None:
    """Why a file cannot be written; None if it can.

    Args:
      out: its path.
      force: whether it may take the place of an existing file.
      sources: files that must not be overwritten in any case.
    """
    if out == STREAM:
        return None
    path = Path(out)
    if path.is_dir():
        return f"expected a file, found a folder: {path}"
    if path.exists():
        if any(s != STREAM and _same(path, Path(s)) for s in sources):
            return f"{path} is the input itself; expected another name for the output"
        if path.is_file() and not force:
            return f"{path} exists; --force overwrites it"
    folder = path.parent
    if not folder.is_dir():
        return f"no such folder: {folder}"
    if not (path.exists() and not path.is_file()) and not os.access(folder, os.W_OK):
        return f"the folder {folder} cannot be written"
    return None


def psnr(
    expected: UInt8[np.ndarray, "h w 3"],
    found: UInt8[np.ndarray, "h w 3"],
    alpha: UInt8[np.ndarray, "h w"] | None = None,
) -> float:
    """Over RGB in dB, of pixels that are not fully transparent; infinite if alike."""
    difference = expected.astype(np.float32) - found
    if alpha is not None:
        difference = difference[alpha > 0]
    if not difference.size:
        return math.inf
    error = float(np.mean(np.square(difference), dtype=np.float64))
    return 10 * math.log10(255**2 / error) if error > 0 else math.inf


def jpeg_of(
    pixels: UInt8[np.ndarray, "h w 3"],
    least: float,
    alpha: UInt8[np.ndarray, "h w"] | None = None,
) -> tuple[int, int] | None:
    """The smallest JPEG with at least this PSNR: its quality and how many bytes it has.

    None if no quality up to 95 reaches it, or the picture is too large for JPEG.
    """
    jpeg = CLASSICAL["jpeg"]

    def made(quality: int) -> tuple[int, float]:
        data = jpeg.compress(pixels, quality)
        return len(data), psnr(pixels, jpeg.decompress(data), alpha)

    low, high, best = _JPEG_QUALITIES[0], _JPEG_QUALITIES[-1], None
    try:
        while low <= high:
            middle = (low + high) // 2
            size, reached = made(middle)
            if reached >= least:
                best, high = (middle, size), middle - 1
            else:
                low = middle + 1
    except ValueError:
        return None
    return best


def warning(
    done: Done, source_bytes: int, coded: int, jpeg: tuple[int, int] | None
) -> str | None:
    """One line if another file would have been the better choice.

    Args:
      done: of a file that was compressed.
      source_bytes: of the file it was made from.
      coded: bytes of `done` without profile, EXIF and alpha.
      jpeg: of `jpeg_of`.
    """
    if done.bytes > source_bytes:
        return (
            f"the file is larger than its source ({done.bytes} and {source_bytes} "
            "bytes); text and graphics are smaller without loss"
        )
    if jpeg is not None and jpeg[1] < coded:
        return (
            f"a JPEG of the same PSNR is smaller ({jpeg[1]} bytes at quality {jpeg[0]}, "
            f"this has {coded}); this picture is unlike photographs"
        )
    return None


def summary(
    done: Sequence[Done], failed: int, skipped: int, total: int
) -> dict[str, Any]:
    """What is said in the end of all files together; after Ctrl-C some are left."""
    found: dict[str, Any] = {
        "files": total,
        "done": len(done),
        "failed": failed,
        "skipped": skipped,
        "bytes": sum(d.bytes for d in done),
    }
    if done:
        pixels = sum(d.height * d.width for d in done)
        found["bpp"] = 8 * found["bytes"] / pixels
    known = [d.psnr for d in done if d.psnr is not None and math.isfinite(d.psnr)]
    if known:
        found["psnr"] = float(np.mean(known))
    return found


def summary_line(found: Mapping[str, Any]) -> str:
    """`summary` for people."""
    parts = [f"{found['done']} of {found['files']} files"]
    parts += [f"{found[key]} {key}" for key in ("failed", "skipped") if found[key]]
    text = f"{', '.join(parts)}: {found['bytes']} bytes"
    if "bpp" in found:
        text += f", {found['bpp']:.4f} bits per pixel"
    mean = f"{_decibels(found['psnr'])} on average" if "psnr" in found else ""
    return text + mean


def _decibels(value: float | None) -> str:
    if value is None:
        return ""
    return f", {value:.2f} dB" if math.isfinite(value) else ", without loss"


def each(
    todo: Sequence[Job],
    work: Callable[[Job], Done],
    failure: Callable[[Job, str], None],
    success: Callable[[int, Done], None],
    errors: tuple[type[BaseException], ...],
) -> None:
    """Does one job after the other; a file that cannot be processed stops none.

    Args:
      todo: what to do.
      work: does one of them.
      failure: told of a job that raised one of `errors`, and why.
      success: told of the others, with their number from 1.
      errors: what is wrong with an input.
    """
    for number, job in enumerate(todo, 1):
        try:
            done = work(job)
        except errors as error:
            failure(job, " ".join(str(error).split()) or type(error).__name__)
        else:
            success(number, done)
