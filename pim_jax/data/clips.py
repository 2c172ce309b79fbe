"""From a video file to short runs of frames that are a chosen time apart.

A clip is decoded once, front to back, holding only a handful of frames at a time:

    decode -> shots (split at hard cuts) -> frames gap_seconds apart -> resize -> runs

Consecutive frames of a run are the pairs that a metric learns from, so every run obeys
the pair rules: no pair straddles a cut, none is too far apart in time, and the two
frames of a pair differ.
"""

import collections
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pim_jax.data.decoding import Decoded, Remark, UndecodableError, decode, shown

# A hard cut stands out from the two differences before and after it. Measured on 89
# natural clips: cuts had 44..81 of 255 levels and 2.7..137 times their neighbours; hand
# shake and fast pans reach 50 levels, but together with their neighbours.
_CUT_LEVELS = 12.0
_CUT_RATIO = 2.2
_NEIGHBOURS = 2
# Mean absolute difference, in 8-bit levels, up to which two frames count as the same.
# Repeated frames are not always equal: the codec may send a small correction.
_SAME_LEVELS = 0.1
# Real gap of a pair, in units of the wanted one. The upper bound lets sources of 5
# frames per second through at the default gap of 0.1 s, as pairs 0.2 s apart.
_SHORTEST_GAP = 0.5
_LONGEST_GAP = 2.5


@dataclass(frozen=True)
class Sampling:
    """Which frames of a clip are kept, and at which size.

    Attributes:
      short_side: pixels of the shorter side after resizing. Only ever downscales: a
        smaller clip keeps its size.
      gap_seconds: wanted time between consecutive frames of a run, in seconds. The
        frame nearest to it is taken, the earlier one of two equally near. Real gaps lie
        between 0.5 and 2.5 times this; a source that is too slow gives no pairs.
      run_length: most frames in a run, at least 2.
    """

    short_side: int = 256
    gap_seconds: float = 0.1
    run_length: int = 8

    def __post_init__(self) -> None:
        if self.short_side < 1:
            raise ValueError(f"short_side must be at least 1, got {self.short_side}")
        if not self.gap_seconds > 0:
            raise ValueError(f"gap_seconds must be positive, got {self.gap_seconds}")
        if self.run_length < 2:
            raise ValueError(
                f"run_length must be at least 2 (one pair), got {self.run_length}"
            )


class Run(NamedTuple):
    """Consecutive frames of one shot.

    Attributes:
      times: presentation times in seconds, (n,) float64, increasing, n >= 2.
      frames: (n, h, w, 3) uint8 sRGB.
    """

    times: np.ndarray
    frames: np.ndarray


def check_decodes(path: Path) -> None:
    """Returns if the first frame of a file decodes.

    Raises: UndecodableError, with the decoder's reason.
    """
    next(decode(path))


def read_runs(
    path: Path,
    sampling: Sampling,
    on_frame: Callable[[], object] = lambda: None,
    remark: Remark = lambda text: None,
) -> Iterator[Run]:
    """The runs of a clip, in order.

    Args:
      path: a video file of any container that PyAV decodes. Orientation, pixel aspect
        ratio and colour matrix stored in the file are applied, and interlaced frames
        are deinterlaced, see `decoding`.
      sampling: which frames are kept.
      on_frame: called once for each decoded frame.
      remark: as `decoding.decode`'s.
    Yields: runs of 2 to `sampling.run_length` frames. No frame is in two runs.
    Raises: UndecodableError, if decoding fails; after the runs that came before.
    """
    damage: list[UndecodableError] = []

    def counted() -> Iterator[Decoded]:
        # An error passing through the generators below would take along the frames
        # that they hold, so it waits.
        try:
            for decoded in decode(path, remark):
                on_frame()
                yield decoded
        except UndecodableError as error:
            damage.append(error)

    longest = _LONGEST_GAP * sampling.gap_seconds
    for shot in split_shots(counted()):
        kept = sample_times(shot, sampling.gap_seconds)
        images = ((frame.time, shown(frame, sampling.short_side)) for frame in kept)
        yield from chain_runs(images, longest, sampling.run_length)
    if damage:
        raise damage[0]


def split_shots(frames: Iterable[Decoded]) -> Iterator[Iterator[Decoded]]:
    """Groups frames into shots: at hard cuts, and where time runs backwards.

    Holds `2 * _NEIGHBOURS + 1` frames. Like `itertools.groupby`, each shot is to be
    used up before the next one is asked for.
    """
    numbered = _number_shots(frames)
    for _, shot in itertools.groupby(numbered, key=itemgetter(0)):
        yield map(itemgetter(1), shot)


def sample_times(frames: Iterable[Any], gap: float) -> Iterator[Any]:
    """Keeps the first frame, then always the one nearest to `gap` after the last kept.

    Works for variable frame rates: only the frames' `time` counts, in seconds.
    """
    last = candidate = None
    for frame in frames:
        if last is None:
            last = frame
            yield frame
            continue
        target = last.time + gap
        # The small margin makes ties, which rounding would decide, go to the earlier.
        if candidate is not None and (
            abs(candidate.time - target) <= abs(frame.time - target) + 1e-6
        ):
            last, candidate = candidate, None
            yield last
        if frame.time - last.time >= _SHORTEST_GAP * gap:
            candidate = frame
    if candidate is not None:
        yield candidate


def chain_runs(
    images: Iterable[tuple[float, np.ndarray]], longest_gap: float, run_length: int
) -> Iterator[Run]:
    """Chains images into runs whose consecutive images are all valid pairs.

    Args:
      images: (time in seconds, (h, w, 3) uint8) in order of time.
      longest_gap: a pair further apart in time than this, in seconds, is none.
      run_length: a run with this many images ends.
    Yields: runs of at least two images. A pair without change ends a run too: the
      second image begins the next run, so no change is missed.
    """
    run: list[tuple[float, np.ndarray]] = []
    for time, image in images:
        broken = bool(run) and (
            time - run[-1][0] > longest_gap or _same(run[-1][1], image)
        )
        if broken or len(run) == run_length:
            yield from _finished(run)
            run = []
        run.append((time, image))
    yield from _finished(run)


def _finished(run: Sequence[tuple[float, np.ndarray]]) -> Iterator[Run]:
    if len(run) >= 2:
        times, images = zip(*run, strict=True)
        yield Run(np.array(times, np.float64), np.stack(images))


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two images of equal shape are without change, or their sizes differ."""
    if a.shape != b.shape:  # Some streams change size on the way.
        return True
    difference = np.abs(a.astype(np.int16) - b.astype(np.int16))
    return bool(difference.mean() <= _SAME_LEVELS)


def _number_shots(frames: Iterable[Decoded]) -> Iterator[tuple[int, Decoded]]:
    number = 0
    previous: Decoded | None = None
    for frame, difference, neighbours in _with_neighbours(frames):
        cut = difference >= max(_CUT_LEVELS, _CUT_RATIO * max(neighbours))
        if previous is not None and (cut or frame.time < previous.time):
            number += 1
        previous = frame
        yield number, frame


def _with_neighbours(
    frames: Iterable[Decoded],
) -> Iterator[tuple[Decoded, float, list[float]]]:
    """Each frame, its difference to the one before, and the differences around that."""
    outside: list[tuple[Any, float]] = [(None, 0.0)] * _NEIGHBOURS
    window: collections.deque[tuple[Any, float]] = collections.deque(
        outside, maxlen=2 * _NEIGHBOURS + 1
    )
    for item in itertools.chain(_differences(frames), outside):
        window.append(item)
        if len(window) == window.maxlen:
            around = [difference for _, difference in window]
            difference = around.pop(_NEIGHBOURS)
            yield window[_NEIGHBOURS][0], difference, around


def _differences(frames: Iterable[Decoded]) -> Iterator[tuple[Decoded, float]]:
    previous = None
    for frame in frames:
        difference = 0.0
        if previous is not None:
            difference = float(np.abs(frame.thumbnail - previous).mean())
        previous = frame.thumbnail
        yield frame, difference
