"""Random access to the frames of a dataset that `video.prepare` wrote.

Reads the shards with tfds (not TensorFlow), or the plain arrays that `unpack` makes of
them, for which NumPy is enough. Nothing here needs PyAV.
"""

import io
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import logging
from PIL import Image

_INDEX = "index.json"  # Of unpacked datasets; tfds' own ones have metadata.json.

# (run, first, number) -> (number, h, w, 3) uint8
Reader = Callable[[int, int, int], np.ndarray]


class Extent(NamedTuple):
    """What is known of a run without reading it.

    Attributes:
      clip: name of the clip.
      height: of the frames in pixels.
      width: of the frames in pixels.
      times: presentation time of each frame in seconds.
    """

    clip: str
    height: int
    width: int
    times: list[float]

    @property
    def nbytes(self) -> int:
        """Bytes of the decoded run."""
        return len(self.times) * self.height * self.width * 3


class FrameRuns(NamedTuple):
    """The runs of one split.

    Attributes:
      extents: of each run.
      read: (run, first, number) -> (number, h, w, 3) uint8, frames of a run. Safe to
        call from several threads; the arrays must not be written to.
    """

    extents: list[Extent]
    read: Reader

    def pairs(self, smallest_side: int = 1) -> np.ndarray:
        """(n, 2) int64: run and position of the first frame of every pair.

        Args:
          smallest_side: leaves out runs with a side shorter than this, in pixels.
        Raises: ValueError if that leaves none.
        """
        fitting = [
            run
            for run, extent in enumerate(self.extents)
            if min(extent.height, extent.width) >= smallest_side
        ]
        if len(fitting) < len(self.extents):
            small = {e.clip for e in self.extents} - {
                self.extents[run].clip for run in fitting
            }
            logging.warning(
                "%d of %d runs have a side under %d px and are left out, of clips %s",
                len(self.extents) - len(fitting),
                len(self.extents),
                smallest_side,
                ", ".join(sorted(small)),
            )
        if not fitting:
            largest = max(min(e.height, e.width) for e in self.extents)
            raise ValueError(
                f"no frame is as large as {smallest_side}x{smallest_side}: the shorter"
                f" side is at most {largest}"
            )
        pairs = [
            (run, first)
            for run in fitting
            for first in range(len(self.extents[run].times) - 1)
        ]
        return np.array(pairs, np.int64)


def open_runs(
    prepared: str | Path, split: str = "train", *, cache_gb: float = 8.0
) -> FrameRuns:
    """Opens one split of a prepared or unpacked dataset.

    Args:
      prepared: folder from `video.prepare`, or from `unpack`.
      split: 'train' or 'validation'.
      cache_gb: decoded frames that are kept in memory, in 10^9 bytes. Further ones are
        decoded from the shards each time. Unpacked datasets are mapped into memory,
        and need no cache.
    Raises: FileNotFoundError if nothing is prepared there; ValueError if it has no such
      split.
    """
    prepared = Path(prepared)
    plain = (prepared / _INDEX).is_file()
    index = prepared / (_INDEX if plain else "metadata.json")
    if not index.is_file():
        raise FileNotFoundError(f"no prepared frame pairs in {prepared}")
    splits = json.loads(index.read_text())["runs"]
    if split not in splits:
        raise ValueError(
            f"{prepared} has no split {split!r}, only {sorted(splits)}; for validation,"
            " prepare at least two clips or a validation_dir"
        )
    extents = [Extent(*extent) for extent in splits[split]]
    if plain:
        return FrameRuns(extents, _mapped(prepared / f"{split}.npy", extents))
    total = sum(extent.nbytes for extent in extents) / 1e9
    logging.info("%s: %.2f GB of frames, cache %.2f GB", split, total, cache_gb)
    return FrameRuns(extents, _cached(_records(prepared, split), extents, cache_gb))


def unpack(prepared: str | Path, folder: str | Path) -> None:
    """Writes a prepared dataset as plain arrays, readable with NumPy alone.

    Each split becomes SPLIT.npy, a uint8 vector of all pixels of all runs, and
    index.json, written last, tells their sizes. About twice the size of the shards.
    """
    prepared, folder = Path(prepared), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    splits = json.loads((prepared / "metadata.json").read_text())["runs"]
    for split in splits:
        runs = open_runs(prepared, split, cache_gb=0)
        size = sum(extent.nbytes for extent in runs.extents)
        pixels = np.lib.format.open_memmap(
            folder / f"{split}.npy", mode="w+", dtype=np.uint8, shape=(size,)
        )
        start = 0
        for run, extent in enumerate(runs.extents):
            frames = runs.read(run, 0, len(extent.times))
            pixels[start : start + extent.nbytes] = frames.reshape(-1)
            start += extent.nbytes
        pixels.flush()
    (folder / _INDEX).write_text(json.dumps({"runs": splits}))


def _mapped(path: Path, extents: list[Extent]) -> Reader:
    """Reads runs from an unpacked split, through the operating system's cache."""
    pixels = np.load(path, mmap_mode="r")
    ends = np.cumsum([extent.nbytes for extent in extents])
    if len(pixels) != ends[-1]:
        raise ValueError(f"{path} has {len(pixels)} bytes, its index says {ends[-1]}")

    def read(run: int, first: int, number: int) -> np.ndarray:
        extent = extents[run]
        frames = pixels[ends[run] - extent.nbytes : ends[run]]
        frames = frames.reshape(-1, extent.height, extent.width, 3)
        return frames[first : first + number]

    return read


def _records(prepared: Path, split: str) -> Reader:
    """Reads runs from the shards, decoding each time."""
    import tensorflow_datasets as tfds  # Optional: unpacked datasets do without.

    class _Encoded(tfds.decode.SkipDecoding):
        """Leaves the pictures of a sequence encoded, as few of them are needed."""

        def decode_batch_example_np(self, serialized_images: Any) -> Any:
            return serialized_images

    builder = tfds.builder_from_directory(str(prepared))
    source = builder.as_data_source(split, decoders={"frames": _Encoded()})

    def read(run: int, first: int, number: int) -> np.ndarray:
        encoded = source[int(run)]["frames"][first : first + number]
        return np.stack([np.asarray(Image.open(io.BytesIO(png))) for png in encoded])

    return read


def _cached(read: Reader, extents: list[Extent], cache_gb: float) -> Reader:
    """Keeps whole decoded runs in memory until `cache_gb` is used up."""
    kept: dict[int, np.ndarray] = {}
    room = [int(cache_gb * 1e9)]
    lock = threading.Lock()

    def read_cached(run: int, first: int, number: int) -> np.ndarray:
        frames = kept.get(run)
        if frames is not None:
            return frames[first : first + number]
        with lock:
            keep = room[0] >= extents[run].nbytes
            if keep:
                room[0] -= extents[run].nbytes
        if not keep:
            return read(run, first, number)
        frames = read(run, 0, len(extents[run].times))
        with lock:
            if run in kept:  # Another thread was first.
                room[0] += extents[run].nbytes
            kept[run] = frames
        return frames[first : first + number]

    return read_cached
