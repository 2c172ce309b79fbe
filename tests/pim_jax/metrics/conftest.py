"""The test images that the tables of reference values belong to."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest


def wave_image(height: int, width: int, phase: float, ripple: float) -> np.ndarray:
    """A sum of sinusoids as uint8 (h, w, 3), equal on every platform."""
    i, j, c = np.meshgrid(
        np.arange(height), np.arange(width), np.arange(3), indexing="ij"
    )
    value = (
        127.5
        + 60 * np.sin(0.07 * i + 0.11 * j + c + phase)
        + 40 * np.sin(0.9 * i - 0.5 * j * (1 + 0.3 * c))
        + ripple * np.sin(2.3 * i + 1.7 * j + 3.1 * c)
    )
    return np.clip(np.round(value), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def wave_pair() -> Callable[[int, int], tuple[np.ndarray, np.ndarray]]:
    """(height, width) -> two similar images, uint8 (1, h, w, 3)."""
    return lambda height, width: (
        wave_image(height, width, 0, 0)[None],
        wave_image(height, width, 0.05, 12)[None],
    )


class GoldenPair(NamedTuple):
    """A reference, a distorted image, and what published code says of them."""

    reference: np.ndarray  # (1, h, w, 3) float32 in [0, 1]
    distorted: np.ndarray
    values: dict[str, float]


@pytest.fixture(scope="session")
def golden_folder() -> Path:
    """Where the stored reference values lie."""
    return Path(__file__).resolve().parents[2] / "golden"


@pytest.fixture(scope="session")
def golden_pairs(golden_folder: Path) -> dict[str, GoldenPair]:
    """Pairs of photographs, see `tests/golden/pyramid_metrics.py`."""
    with np.load(golden_folder / "pyramid_metrics.npz") as file:
        arrays = dict(file)

    def pair(name: str) -> GoldenPair:
        a, b = (np.float32(arrays.pop(f"{name}/{k}")[None] / 255) for k in "ab")
        prefix = f"{name}/"
        found = {k: float(v) for k, v in arrays.items() if k.startswith(prefix)}
        return GoldenPair(a, b, {k.removeprefix(prefix): v for k, v in found.items()})

    return {name: pair(name) for name in ("jpeg", "noise", "contrast")}
