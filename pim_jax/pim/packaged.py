"""PIM metrics whose weights lie inside the package, trained by this project.

`pim_jax/packaged/NAME` holds what `pim-jax convert --half` writes and the SHA-256 of the
weights as `sha256sum` writes it (`make ship-pim`); NAME.md beside it is a card: data,
command, seed, behaviour.
"""

import dataclasses
from pathlib import Path

from pim_jax.io import files
from pim_jax.pim import checkpoints
from pim_jax.pim.distance import PimMetric, pim_metric

SHIPPED = ("pim-1", "pim-5", "pim-1-small")
CHECKSUM = "weights.sha256"


def folder_of(name: str) -> Path:
    """Where the weights of one of SHIPPED lie."""
    return files.packaged("pim_jax", "packaged", name)


def load_pim_1(weights: str | Path | None = None) -> PimMetric:
    """PIM-1, one Gaussian at every position, in the published architecture.

    Args:
      weights: a folder to take others of the same architecture from.

    Raises:
      FileNotFoundError, ValueError: as `checkpoints.read`; the SHA-256 differs.
    """
    return _load("pim-1", weights)


def load_pim_5(weights: str | Path | None = None) -> PimMetric:
    """PIM-5, mixtures of five Gaussians; arguments as for `load_pim_1`."""
    return _load("pim-5", weights)


def load_pim_1_small(weights: str | Path | None = None) -> PimMetric:
    """PIM-1 at a quarter of its width; arguments as for `load_pim_1`."""
    return _load("pim-1-small", weights)


def _load(name: str, weights: str | Path | None) -> PimMetric:
    folder = folder_of(name)
    if weights is None:
        checksum = files.sha256(files.read_verified(folder / checkpoints.ARRAYS))
        loaded = pim_metric(*checkpoints.read(folder), name)
        return dataclasses.replace(loaded, version=checksum[:8])
    params, config = checkpoints.read(weights)
    _, expected = checkpoints.read(folder)
    if config != expected:
        raise ValueError(f"{weights}: expected {expected} for {name}, found {config}")
    return pim_metric(params, config, name)
