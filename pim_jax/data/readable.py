"""Odd files are named, counted and left out, before any work is done on the others."""

import concurrent.futures
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from absl import logging

from pim_jax.data import images
from pim_jax.data.bapps_folder import Example, Source

_READERS = 4  # threads
_NAMED = 10  # so many files are named, the rest is counted


class Chosen:
    """Those examples of a source that can be read.

    Attributes:
      labels: of each example whatever is no image.
      skipped: what was left out -> why.
    """

    def __init__(
        self,
        source: Source,
        positions: Sequence[int],
        labels: Sequence[Example],
        skipped: Mapping[str, str],
    ):
        """The examples at these positions."""
        self._source, self._positions = source, positions
        self.labels, self.skipped = labels, skipped

    def __len__(self) -> int:
        """The number of examples that can be read."""
        return len(self._positions)

    def __getitem__(self, index: int) -> Example:
        """One of them."""
        return self._source[self._positions[index]]


def examples(source: Source, name: str, limit: int = 0) -> Chosen:
    """Reads all examples of a source once, and leaves out what cannot be read.

    Args:
      source: of examples, whose images must have one size in each.
      name: what messages call it.
      limit: only the first so many are looked at; 0 for all.

    Raises:
      ValueError: none is left.
    """
    count = min(limit, len(source)) if limit > 0 else len(source)

    def label(index: int) -> Example | str:
        try:
            example = source[index]
        except (ValueError, OSError) as error:
            return str(error)
        shapes = {np.shape(value) for value in example.values() if np.ndim(value) == 3}
        if len(shapes) > 1:
            return f"the images must have one size, found {sorted(shapes)}"
        return {k: value for k, value in example.items() if np.ndim(value) != 3}

    with concurrent.futures.ThreadPoolExecutor(_READERS) as pool:
        found = list(pool.map(label, range(count)))
    skipped = {
        f"example {i}": why for i, why in enumerate(found) if isinstance(why, str)
    }
    report(name, skipped, count)
    positions = [i for i, of in enumerate(found) if not isinstance(of, str)]
    labels = [of for of in found if not isinstance(of, str)]
    return Chosen(source, positions, labels, skipped)


def shapes(paths: Iterable[Path], name: str) -> dict[Path, tuple[int, ...]]:
    """Decodes each file once; path -> (h, w, 3) of those that can be read.

    Args:
      paths: of image files.
      name: what messages call them together.

    Raises:
      ValueError: none is left.
    """

    def shape(path: Path) -> tuple[int, ...] | str:
        try:
            return images.read_pixels(path).shape
        except (ValueError, OSError) as error:
            return str(error)

    paths = list(dict.fromkeys(paths))
    with concurrent.futures.ThreadPoolExecutor(_READERS) as pool:
        found = dict(zip(paths, pool.map(shape, paths), strict=True))
    skipped = {str(path): of for path, of in found.items() if isinstance(of, str)}
    report(name, skipped, len(paths))
    return {path: of for path, of in found.items() if not isinstance(of, str)}


def report(name: str, skipped: Mapping[str, str], count: int) -> None:
    """Warns of what was left out, by name and in number.

    Args:
      name: of all together.
      skipped: what -> why.
      count: how many there were.

    Raises:
      ValueError: all of them were left out.
    """
    if not skipped:
        return
    if len(skipped) == count:
        what, why = next(iter(skipped.items()))
        raise ValueError(
            f"{name}: none of {count} can be used; the first, {what}: {why}"
        )
    for what, why in [*skipped.items()][:_NAMED]:
        logging.warning("%s: %s is left out: %s", name, what, why)
    logging.warning("%s: %d of %d are left out", name, len(skipped), count)


def note(skipped: Mapping[str, int]) -> tuple[str, ...]:
    """A line for the notes of a table: name -> how many were left out of it."""
    several = {name: count for name, count in skipped.items() if count}
    if not several:
        return ()
    counts = ", ".join(f"{name} {count}" for name, count in several.items())
    return (f"Left out, as they cannot be read: {counts}.",)
