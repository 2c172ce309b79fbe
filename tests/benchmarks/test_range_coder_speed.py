"""The benchmark of the range coder runs, on a latent like that of a codec."""

import importlib.util

import numpy as np

from codec_jax.coding import range_coder
from tests.benchmarks import range_coder_speed


def test_times_every_engine_that_is_there():
    result = range_coder_speed.run((2, 3, 64), seconds=0)
    engines = 1 + bool(importlib.util.find_spec("tensorflow_compression_ops"))
    assert len(result["seconds"]) == 4 * engines
    assert len(result["ratios"]) == 4 * (engines - 1)
    assert range_coder_speed.table(result).row_count == 8 * engines - 4
    (table,) = result["tables"]
    assert len(table["results"]) == 4


def test_the_latent_fits_its_tables():
    symbols, rows, tables = range_coder_speed.latent((10, 20, 64))
    data = range_coder.encode(symbols, rows, tables, "numba")
    np.testing.assert_array_equal(
        range_coder.decode(data, rows, tables, "numba"), symbols
    )
    values = symbols - tables.offset[rows]
    outliers = np.mean((values < 0) | (values >= tables.size[rows] - 1))
    assert 0.001 < outliers < 0.01
    # The entropy of the Gaussians, where they are wide enough for it, and the escapes.
    scales = np.geomspace(0.11, 64, range_coder_speed.ROWS)
    bits = 0.5 * np.log2(2 * np.pi * np.e * scales[rows] ** 2 + 1)
    assert abs(8 * len(data) / bits.sum() - 1) < 0.05
