"""Metrics that equal piq 0.8.0, by values that it gave for the pairs of natural_pairs.py.

`tests/golden/piq_metrics.py` made the file.
"""

from pathlib import Path

import jax
import natural_pairs
import numpy as np
import pytest

from pim_jax.metrics import METRICS, gmsd

GOLDEN = Path(__file__).parents[2] / "golden" / "piq_metrics.npz"
# piq gives similarities for the others.
DISTANCES = {"gmsd", "ms-gmsd"}
NAMES = ["gmsd", "ms-gmsd", "fsim", "fsimc", "vsi"]


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


def check_values(golden, name, sizes):
    metric = jax.jit(METRICS[name]())
    for height, width in sizes:
        expected = golden[f"{name}/{height}x{width}"]
        if name not in DISTANCES:
            expected = 1 - expected
        pairs = natural_pairs.unit_pairs(height, width, len(expected))
        np.testing.assert_allclose(metric(*pairs), expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_values_equal_piq(golden, name):
    check_values(golden, name, [(64, 64), (61, 47), (385, 401)])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_values_of_large_images_equal_piq(golden, name):
    check_values(golden, name, [(301, 383), (640, 719), (641, 650)])


@pytest.mark.parametrize("name", NAMES)
def test_gradients_equal_piq(golden, name):
    expected = golden[f"{name}/gradient"].astype(np.float32)
    expected *= golden[f"{name}/gradient-size"][:, None, None, None]
    expected *= 1 if name in DISTANCES else -1
    metric = METRICS[name]()
    n, height, width, _ = expected.shape
    pairs = natural_pairs.unit_pairs(height, width, n)
    found = jax.jit(jax.grad(lambda a, b: metric(a, b).sum(), argnums=1))(*pairs)
    error = np.sqrt(np.mean((found - expected) ** 2, axis=(1, 2, 3)))
    assert (error < 2e-3 * np.sqrt(np.mean(expected**2, axis=(1, 2, 3)))).all()


def test_only_luma_counts_for_gmsd():
    a = natural_pairs.unit_pairs(32, 33)[0]
    # Blue and red change, the luma does not.
    b = a + np.array([0.114, 0, -0.299], np.float32) * (np.arange(33) % 3)[:, None]
    for function in (gmsd.gmsd, gmsd.ms_gmsd):
        np.testing.assert_allclose(function(a, b), 0, atol=1e-5)


def test_too_small_images_are_refused():
    a = np.zeros((1, 16, 64, 3), np.float32)
    with pytest.raises(ValueError, match="ms-gmsd needs images of at least 17x17"):
        gmsd.ms_gmsd(a, a)
    with pytest.raises(ValueError, match="gmsd needs images of at least 3x3"):
        gmsd.gmsd(a[:, :2], a[:, :2])
    with pytest.raises(ValueError, match="one shape"):
        gmsd.gmsd(a, a[:, :, :20])
