"""One photograph under eight distortions of the same squared error, ranked by metrics.

With the error of all versions equal, PSNR has nothing to say, and what is left is what a
metric sees beyond it (the comparison that made the case for SSIM: Wang & Bovik 2009, "Mean
Squared Error: Love It or Leave It?", https://doi.org/10.1109/MSP.2008.930649).
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import scipy.stats

from pim_jax.data import distortions
from pim_jax.evaluation import distances
from pim_jax.evaluation.kept import Kept
from pim_jax.evaluation.tables import Score, Table
from pim_jax.metric import Metric
from pim_jax.metrics.pixel import psnr_of_bytes

# Distortion and the largest strength that is tried.
EIGHT: dict[str, tuple[Callable[[np.ndarray, float, int], np.ndarray], float]] = {
    "noise": (distortions.noise, 100.0),
    "blur": (distortions.blur, 20.0),
    "jpeg": (distortions.jpeg, 99.0),
    "jpeg2000": (distortions.jpeg2000, 1000.0),
    "colour": (distortions.colour_shift, 100.0),
    "contrast": (distortions.contrast, 1.0),
    "brightness": (distortions.brightness, 128.0),
    "shift": (distortions.shift, 20.0),
}
_BISECTIONS = 14


class Version(NamedTuple):
    """A distorted photograph.

    Attributes:
      pixels: uint8 (h, w, 3).
      strength: of the distortion, in its own unit.
      psnr: against the photograph, in dB.
    """

    pixels: np.ndarray
    strength: float
    psnr: float


def equally_wrong(pixels: np.ndarray, target: float) -> dict[str, Version]:
    """Eight versions of a photograph whose PSNR is as near to `target` as can be.

    Strengths are found by bisection. Qualities of JPEG and levels of brightness are whole
    numbers, so theirs is met less closely.

    Args:
      pixels: uint8 (h, w, 3).
      target: in dB.

    Raises:
      ValueError: a distortion at its strongest still leaves a higher PSNR.
    """
    found = {}
    for name, (apply, largest) in EIGHT.items():
        strongest = psnr_of_bytes(pixels, apply(pixels, largest, 0))
        if strongest > target:
            raise ValueError(
                f"{name} leaves {strongest:.1f} dB at its strongest, so {target:g} dB "
                "cannot be reached"
            )
        low, high = 0.0, largest
        tried = []
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            version = apply(pixels, middle, 0)
            tried.append(Version(version, middle, psnr_of_bytes(pixels, version)))
            if tried[-1].psnr > target:
                low = middle
            else:
                high = middle
        found[name] = min(tried, key=lambda version: abs(version.psnr - target))
    return found


def ranks(
    metrics: Mapping[str, Metric | Kept],
    pixels: np.ndarray,
    versions: Mapping[str, Version],
    progress: Callable[[str], None] = lambda text: None,
    done: Callable[[dict[str, dict[str, float]]], None] = lambda found: None,
) -> dict[str, dict[str, float]]:
    """Metric -> distortion -> rank: 1 is closest to the photograph, ties share ranks."""
    images = np.stack([pixels, *(version.pixels for version in versions.values())])
    pairs = np.array([(0, k + 1) for k in range(len(versions))])
    found = {}
    for name, metric in metrics.items():
        progress(f"{name}: {len(versions)} versions")
        distance = distances.pair_distances(metric, images, pairs, batch_size=1)
        order = scipy.stats.rankdata(distance)
        found[name] = dict(zip(versions, (float(rank) for rank in order), strict=True))
        done(found)
    return found


def table(
    found: Mapping[str, Mapping[str, float]], versions: Mapping[str, Version], name: str
) -> Table:
    """The ranks, metrics down; `name` says which photograph it is."""
    errors = [version.psnr for version in versions.values()]
    return Table(
        f"{name}: ranks of {len(versions)} distortions",
        dict.fromkeys(versions, ""),
        {
            metric: {key: Score(_whole(rank)) for key, rank in of.items()}
            for metric, of in found.items()
        },
        (
            f"1 is closest to the photograph. All have {min(errors):.2f} to "
            f"{max(errors):.2f} dB PSNR.",
        ),
        drawn=False,
    )


def _whole(rank: float) -> float:
    """A rank as the whole number that it is, unless it is shared by an even number."""
    return int(rank) if rank == int(rank) else rank
