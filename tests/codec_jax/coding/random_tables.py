"""Tables of every precision and shape, and symbols that reach all of their corners."""

import numpy as np

from codec_jax.coding.tables import Tables


def random_tables(
    rng: np.random.Generator, count: int, most: int, most_precision: int = 16
) -> Tables:
    """`count` rows of up to `most` symbols, one to `most_precision` bits."""
    precision = rng.integers(1, most_precision + 1, count)
    rows = []
    for bits in precision:
        top = 1 << int(bits)
        u = rng.random(rng.integers(0, min(top, most)))
        # Equal intervals, narrow ones at either end, or narrow ones at both.
        u = (u, u**6, 1 - u**6, np.where(u < 0.5, u**6, 1 - u**6))[rng.integers(4)]
        cuts = np.unique((1 + u * (top - 1)).astype(int))
        rows.append([0, *cuts[cuts < top], top])
    cdf = np.array(
        [row + [row[-1]] * (most + 1 - len(row)) for row in rows], dtype=np.int32
    )
    return Tables(
        precision=precision,
        escape=rng.random(count) < 0.5,
        offset=rng.integers(-(2**29), 2**29 + 1, count) >> rng.integers(0, 30, count),
        cdf=cdf,
    )


def random_symbols(
    rng: np.random.Generator, tables: Tables, rows: np.ndarray
) -> np.ndarray:
    """For half of the rows as the tables expect them, for half any; outliers to 2^20."""
    sizes = tables.size[rows]
    u = (rng.random(rows.shape) * (1 << tables.precision[rows])).astype(int)
    expected = np.sum(tables.cdf[rows] <= u[..., None], axis=-1) - 1
    anything = (rng.random(rows.shape) * sizes).astype(int)
    values = np.where(rng.random(rows.shape) < 0.5, expected, anything)
    distance = np.exp2(rng.uniform(0, 20, rows.shape)).astype(int)
    distance = np.where(rng.random(rows.shape) < 0.1, 2**20, distance)
    above = rng.random(rows.shape) < 0.5
    outlier = np.where(above, sizes - 2 + distance, -distance)
    escapes = tables.escape[rows] & (values == sizes - 1)
    return np.where(escapes, outlier, values) + tables.offset[rows]
