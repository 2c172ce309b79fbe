"""The analytic test images that the tables of reference values belong to."""

from collections.abc import Callable
from pathlib import Path

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


@pytest.fixture(scope="session")
def golden_folder() -> Path:
    """Where the stored reference values lie."""
    return Path(__file__).resolve().parents[2] / "golden"
