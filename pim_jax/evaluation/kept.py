"""Distances on disk, as they come: an evaluation that was stopped goes on where it was.

One file for each metric, with a line for each pair of images. The file is named after
the metric's program and weights, and a line after the pixels of the two images: what has
changed has another name, so that an old distance is never taken for a new one.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pim_jax.metric import Metric

FOLDER = "distances"
_HEADER = "pair,distance\n"
_LINE = re.compile(r"([0-9a-f]{32}),(\S+)")
_SIDE = 64  # of the images that a metric's program is looked at for


def fingerprint(metric: Metric) -> str:
    """Names what a metric computes: its program and its weights, 16 hexadecimal digits.

    The program is the one that JAX makes for one pair of images on the device at hand,
    so that another version of this code, of JAX, or another precision is another name.
    """
    side = max(_SIDE, metric.minimum_size)
    image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    bare = metric.replace(name="", version="")  # type: ignore[attr-defined]
    program = jax.jit(lambda metric, a, b: metric(a, b)).lower(bare, image, image)
    digest = hashlib.blake2b(digest_size=8)
    for text in (jax.__version__, jax.devices()[0].device_kind, program.as_text()):
        digest.update(text.encode() + b"\0")
    for path, leaf in jax.tree_util.tree_leaves_with_path(metric.params):
        weights = np.asarray(leaf)
        about = f"{jax.tree_util.keystr(path)} {weights.dtype} {weights.shape}"
        digest.update(about.encode() + b"\0" + weights.tobytes())
    return digest.hexdigest()


def pair_names(pixels: np.ndarray, pairs: np.ndarray) -> list[str]:
    """A name for each pair, by the pixels of its two images in their order.

    Args:
      pixels: (m, h, w, 3) uint8.
      pairs: (p, 2) positions.
    """
    shape = str(pixels.shape[1:]).encode()
    images = [hashlib.blake2b(shape + image.tobytes()).digest() for image in pixels]
    return [
        hashlib.blake2b(images[a] + images[b], digest_size=16).hexdigest()
        for a, b in pairs
    ]


class Store:
    """The distances of one metric in one file, a line `pair,distance` each."""

    def __init__(self, path: Path):
        """Reads what is there; a line that was cut off in writing is left out."""
        self.path = path
        text = (
            path.read_text(encoding="ascii", errors="replace") if path.exists() else ""
        )
        self._whole = text.endswith("\n")
        self._known: dict[str, float] = {}
        # What follows the last line break may lack digits.
        for line in text.split("\n")[:-1]:
            match = _LINE.fullmatch(line)
            if match:
                self._known[match[1]] = _number(match[2])

    def __len__(self) -> int:
        """The number of pairs whose distance is known."""
        return len(self._known)

    def find(self, names: Sequence[str]) -> np.ndarray:
        """Known distances, float64, one a name; NaN for those that are not known."""
        return np.array([self._known.get(name, np.nan) for name in names], np.float64)

    def add(self, names: Sequence[str], distances: np.ndarray) -> None:
        """Appends distances to the file at once; NaN is not kept."""
        new = {
            name: float(distance)
            for name, distance in zip(names, distances, strict=True)
            if not np.isnan(distance) and name not in self._known
        }
        if not new:
            return
        self._known |= new
        # Digits enough that reading gives the very same number.
        lines = "".join(f"{name},{distance!r}\n" for name, distance in new.items())
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lines = _HEADER + lines
        elif not self._whole:
            lines = "\n" + lines
        self._whole = True
        with self.path.open("a", encoding="ascii") as file:
            file.write(lines)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


class Kept(NamedTuple):
    """A metric whose distances are kept: what is known is not computed again."""

    metric: Metric
    store: Store


def keep(metrics: Mapping[str, Metric], folder: str | Path) -> dict[str, Kept]:
    """The metrics with a file each in FOLDER/distances, written as distances come.

    Args:
      metrics: name in tables -> metric.
      folder: made with the first distance.
    """
    found = {}
    for name, metric in metrics.items():
        plain = re.sub(r"[^\w.-]+", "-", name).strip("-")[-60:]
        path = Path(folder) / FOLDER / f"{plain}-{fingerprint(metric)}.csv"
        found[name] = Kept(metric, Store(path))
    return found
