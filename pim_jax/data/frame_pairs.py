"""Batches of crops of temporally close frames.

    runs = frame_runs.open_runs(prepared, "train")
    for batch in batches(runs, crop=64, batch_size=16, seed=0):  # {'x': ..., 'y': ...}

Randomness is counter-based: row r of batch k is a function of (seed, k, r) alone. So a
run resumed at step k sees the batches it would have seen, and a process draws its own
rows without drawing those of others.
"""

import collections
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from pim_jax.data import batching
from pim_jax.data.frame_runs import FrameRuns

# First words of the random keys, so that no two uses share numbers.
_ORDER, _ROWS, _CHOICE = range(3)


@dataclass(frozen=True)
class Augmentation:
    """How the two crops of a pair are varied. All but flips are off by default.

    Attributes:
      flip: mirror both frames left to right, in half of the pairs.
      scale: range of the crop window's side in units of the crop, for both frames
        together; windows are resized to the crop with antialiasing.
      jitter_px: each frame's window moves by up to this many pixels of the frame in
        either direction, independently.
      brightness: each frame is multiplied by its own factor in 1 -+ this.
    """

    flip: bool = True
    scale: tuple[float, float] = (1.0, 1.0)
    jitter_px: int = 0
    brightness: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale must be 0 < low <= high, got {self.scale}")
        if self.jitter_px < 0 or not 0 <= self.brightness < 1:
            raise ValueError(
                "jitter_px must be >= 0 and brightness in [0, 1), got"
                f" {self.jitter_px} and {self.brightness}"
            )


def batches(
    runs: FrameRuns,
    *,
    crop: int = 64,
    batch_size: int,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
    start_step: int = 0,
    augmentation: Augmentation = Augmentation(),
) -> Iterator[batching.Batch]:
    """Endless batches of crops at the same place of two frames that are close in time.

    Every epoch visits all pairs in a new order, and leaves out the last few that fill
    no batch. If there are fewer pairs than rows, pairs recur within a batch, with other
    crops. Batches are made ahead by threads, which end when the iterator is closed.

    Args:
      runs: the frames.
      crop: side of the crops in pixels.
      batch_size: pairs in the global batch, over all processes.
      seed: of order, crops and augmentation.
      process_index: this process, 0 .. process_count - 1. It gets rows
        process_index * batch_size / process_count and on of each global batch.
      process_count: number of processes; must divide the batch size.
      start_step: number of the first batch. Batch k is the same whatever this is.
      augmentation: how crops are varied.

    Returns: iterator of {'x': (batch_size / process_count, crop, crop, 3) uint8, 'y':
      the same}, x being the earlier frame.
    Raises: ValueError if the batch does not divide, or no frame holds a crop.
    """
    rows = batching.rows_of_process(batch_size, process_index, process_count)
    pairs = runs.pairs(crop)

    def batch(step: int) -> batching.Batch:
        crops = []
        order = batching.order(len(pairs), batch_size, seed, _ORDER, step)
        chosen = pairs[order]
        for row in rows:
            run, first = chosen[row].tolist()
            x, y = runs.read(run, first, 2)
            rng = batching.generator(seed, _ROWS, step, row)
            crops.append(_crop_pair(rng, x, y, crop, augmentation))
        x, y = map(np.stack, zip(*crops, strict=True))
        return {"x": x, "y": y}

    return batching.ahead(batch, start_step)


def validation_pairs(
    runs: FrameRuns, n: int, *, crop: int = 64, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """A fixed choice of pairs for evaluation, spread evenly over clips and runs.

    As many clips as possible, then as many runs, then pairs; used again when all have
    been. Each pair is cropped at a place of its own: a clip's frames at one place are
    often nearly the same picture, and no metric could tell which is the next.

    Returns: x and y, each (n, crop, crop, 3) uint8; the same for the same arguments.
    Raises: ValueError if no frame holds a crop.
    """
    pairs = _spread(runs, crop, seed)
    plain = Augmentation(flip=False)
    crops = []
    for row in range(n):
        run, first = pairs[row % len(pairs)].tolist()
        x, y = runs.read(run, first, 2)
        crops.append(
            _crop_pair(batching.generator(seed, _CHOICE, 1, row), x, y, crop, plain)
        )
    x, y = map(np.stack, zip(*crops, strict=True))
    return x, y


def whole_frames(
    runs: FrameRuns, n: int, *, smallest_side: int = 1, seed: int = 0
) -> list[np.ndarray]:
    """A fixed choice of frames, spread evenly over clips and runs.

    Returns: n arrays (h, w, 3) uint8 of various sizes, fewer if there are fewer.
    """
    pairs = _spread(runs, smallest_side, seed)[:n]
    return [runs.read(run, first, 1)[0] for run, first in pairs.tolist()]


def _crop_pair(
    rng: np.random.Generator, x: np.ndarray, y: np.ndarray, crop: int, how: Augmentation
) -> tuple[np.ndarray, np.ndarray]:
    """Crops of two frames (h, w, 3), at the same place up to the augmentation."""
    size = np.array(x.shape[:2])
    side = crop
    if how.scale != (1.0, 1.0):
        side = min(round(crop * rng.uniform(*how.scale)), *size)
    corner = rng.integers(0, size - side + 1)
    flipped = how.flip and rng.random() < 0.5
    crops = []
    for image in (x, y):
        top, left = corner
        if how.jitter_px:
            moved = corner + rng.integers(-how.jitter_px, how.jitter_px + 1, 2)
            top, left = np.clip(moved, 0, size - side)
        image = image[top : top + side, left : left + side]
        if side != crop:
            image = _resize(image, crop)
        if how.brightness:
            factor = 1 + rng.uniform(-how.brightness, how.brightness)
            levels = np.clip(np.rint(np.arange(256) * factor), 0, 255)
            image = levels.astype(np.uint8)[image]
        crops.append(image[:, ::-1] if flipped else image)
    return crops[0], crops[1]


def _resize(image: np.ndarray, side: int) -> np.ndarray:
    resized = Image.fromarray(image).resize((side, side), Image.Resampling.LANCZOS)
    return np.asarray(resized)


def _spread(runs: FrameRuns, smallest_side: int, seed: int) -> np.ndarray:
    """All pairs, ordered so that any first n are spread over clips, then runs."""
    pairs = runs.pairs(smallest_side)
    pairs = pairs[batching.generator(seed, _CHOICE, 0).permutation(len(pairs))]
    pairs = pairs[np.argsort(_occurrence(pairs[:, 0].tolist()), kind="stable")]
    clip = [runs.extents[run].clip for run, _ in pairs]
    return pairs[np.argsort(_occurrence(clip), kind="stable")]


def _occurrence(keys: list[Any]) -> list[int]:
    """How often each key came before."""
    seen: collections.Counter[Any] = collections.Counter()
    before = []
    for key in keys:
        before.append(seen[key])
        seen[key] += 1
    return before
