"""Tables hold what their docstring says, or cannot be made."""

import dataclasses

import numpy as np
import pytest

from codec_jax.coding import range_coder
from codec_jax.coding.tables import LARGEST_OUTLIER, Tables, from_pmfs, quantized_pmf

GOOD = {
    "precision": np.array([2, 16]),
    "escape": np.array([True, False]),
    "offset": np.array([-5, 7]),
    "cdf": np.array([[0, 1, 4, 4], [0, 1, 2, 65536]]),
}


def test_sizes_and_symbols_of_rows():
    tables = Tables(**GOOD)
    np.testing.assert_array_equal(tables.size, [2, 3])
    # -5 and the escape; 7, 8, 9.
    np.testing.assert_array_equal(tables.lowest, [-5 - LARGEST_OUTLIER, 7])
    np.testing.assert_array_equal(tables.highest, [-5 + LARGEST_OUTLIER, 9])


def test_the_four_arrays_are_all_there_is_to_store(tmp_path):
    tables = Tables(**GOOD)
    np.savez(tmp_path / "tables.npz", **dataclasses.asdict(tables))
    with np.load(tmp_path / "tables.npz") as stored:
        again = Tables(**stored)
    for field in dataclasses.fields(Tables):
        np.testing.assert_array_equal(
            vars(again)[field.name], vars(tables)[field.name], strict=True
        )


def test_tables_do_not_change():
    given = GOOD["cdf"].copy()
    tables = Tables(**GOOD | {"cdf": given})
    given[0, 1] = 3
    assert tables.cdf[0, 1] == 1
    with pytest.raises(ValueError, match="read-only"):
        tables.cdf[0, 1] = 3
    with pytest.raises(dataclasses.FrozenInstanceError):
        tables.cdf = given


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("precision", [2, 17], "precision, row 1: expected 1 to 16, found 17"),
        ("precision", [0, 16], "precision, row 0"),
        ("precision", [2.0, 16.0], "expected integers with 1 axes, found float64"),
        ("precision", [2], r"2 rows, but .* have \[1, 2, 2\]"),
        ("precision", [[2, 16]], "with 1 axes"),
        ("escape", [1, 0], "vector of bool, found int64"),
        ("offset", [-(2**29) - 1, 0], "offset, row 0"),
        ("offset", [0, 2**63 - 1], "offset, row 1"),
        ("cdf", [[0, 1, 4, 4], [0, 1, 2, 65535]], "row 1 .* ends at"),
        ("cdf", [[1, 2, 4, 4], [0, 1, 2, 65536]], "row 0 .* starts at 0"),
        ("cdf", [[0, 2, 2, 4], [0, 1, 2, 65536]], "row 0 of precision 2: .*strictly"),
        ("cdf", [[0, 3, 2, 4], [0, 1, 2, 65536]], "row 0 .* increases strictly"),
        ("cdf", [[0, 4, 5, 4], [0, 1, 2, 65536]], "row 0 .* stays there"),
        ("cdf", [[0, 1, 4, 4], [0, 1, 2, 2**32]], "cdf, row 1: .*found 4294967296"),
        ("cdf", [[0, 1, 4, 4], [0, -1, 2, 65536]], "cdf, row 1"),
        ("cdf", [[0.0, 4.0], [0.0, 65536.0]], "expected integers with 2 axes"),
        ("cdf", np.zeros((0, 2), int), "cdf: expected shape"),
        ("cdf", np.zeros((2, 1), int), "cdf: expected shape"),
        ("cdf", np.zeros(3, int), "2 axes"),
    ],
)
def test_anything_else_is_an_error(field, value, message):
    with pytest.raises(ValueError, match=message):
        Tables(**GOOD | {field: np.array(value)})


@pytest.mark.parametrize("precision", [1, 8, 16])
@pytest.mark.parametrize("symbols", [1, 2, 40, 256])
def test_counts_are_positive_and_complete(symbols, precision):
    rng = np.random.default_rng(symbols)
    pmf = rng.random(symbols) ** 20
    if symbols > 2**precision:
        with pytest.raises(ValueError, match=f"expected 1 to {2**precision} symbols"):
            quantized_pmf(pmf, precision)
        return
    counts = quantized_pmf(pmf, precision)
    assert counts.min() >= 1
    assert counts.sum() == 2**precision


def test_exact_counts_stay():
    pmf = np.array([1, 5, 2, 8]) / 16
    np.testing.assert_array_equal(quantized_pmf(pmf, 4), [1, 5, 2, 8])


def test_no_other_counts_are_much_better():
    # All ways to share 16 among 4 symbols.
    rng = np.random.default_rng(0)
    ways = np.array(
        [(a, b, c, 16 - a - b - c)
         for a in range(1, 14) for b in range(1, 15 - a) for c in range(1, 16 - a - b)]
    )  # fmt: skip
    for _ in range(200):
        pmf = rng.dirichlet([0.5] * 4)
        bits = -(pmf * np.log2(ways / 16)).sum(axis=1)
        found = -(pmf * np.log2(quantized_pmf(pmf, 4) / 16)).sum()
        assert found <= bits.min() + 0.01


def test_rows_of_a_model_and_what_they_leave_to_the_escape():
    tables = from_pmfs([[0.25, 0.5], [0.5, 0.25, 0.25]], [-1, 3], precision=4)
    np.testing.assert_array_equal(tables.cdf, [[0, 4, 12, 16, 16], [0, 7, 11, 15, 16]])
    np.testing.assert_array_equal(tables.offset, [-1, 3])
    assert tables.escape.all()
    scaled = from_pmfs([[2, 1, 1]], [0], precision=4, escape=False)
    np.testing.assert_array_equal(scaled.cdf, [[0, 8, 12, 16]])
    assert not scaled.escape.any()


@pytest.mark.parametrize(
    ("pmfs", "offsets", "precision", "message"),
    [
        ([], [], 8, "0 rows"),
        ([[1.0]], [0, 1], 8, "1 rows of probabilities, 2 offsets"),
        ([[0.5, 0.5], [0.5, -0.1]], [0, 0], 8, "row 1: .*non-negative"),
        ([[np.nan]], [0], 8, "row 0: .*finite"),
        ([[0.5, 0.5]], [0], 17, "precision: expected 1 to 16, found 17"),
        ([[0.5, 0.5]], [0], 1, "row 0: expected 1 to 2 symbols, found 3"),
    ],
)
def test_what_is_no_probability_is_an_error(pmfs, offsets, precision, message):
    with pytest.raises(ValueError, match=message):
        from_pmfs(pmfs, offsets, precision)


@pytest.mark.parametrize(("pmf", "message"), [([0.0, 0.0], "sum"), ([[1.0]], "vector")])
def test_a_sum_of_zero_is_an_error(pmf, message):
    with pytest.raises(ValueError, match=message):
        quantized_pmf(np.array(pmf), 8)


@pytest.mark.tensorflow
def test_counts_cost_no_more_than_those_of_tensorflow_compression():
    ops = pytest.importorskip("tensorflow_compression_ops")
    rng = np.random.default_rng(1)
    for precision in (8, 12, 16):
        pmf = rng.dirichlet(np.full(150, 0.3)).astype(np.float32)
        theirs = np.diff(ops.pmf_to_quantized_cdf(pmf, precision).numpy())
        ours = quantized_pmf(pmf, precision)
        bits = [-(pmf * np.log2(c / 2**precision)).sum() for c in (ours, theirs)]
        assert bits[0] <= bits[1] + 1e-6


def test_least_bits():
    """No symbols take less: the most probable ones of tables of all kinds, coded."""
    rng = np.random.default_rng(0)
    pmfs = [rng.dirichlet(np.full(n, 0.3)) for n in (1, 2, 3, 20)]
    pmfs += [[1 - 2.0**-k, 2.0**-k] for k in (1, 4, 8, 12, 15)]
    tables = from_pmfs(pmfs, [0] * len(pmfs), 16)
    assert (tables.least_bits >= 0).all()
    best = np.diff(tables.cdf).argmax(axis=1)
    for count in (1, 100, 10_000):
        rows = rng.integers(0, len(best), count)
        data = range_coder.encode(best[rows], rows, tables, "numba")
        assert 8 * (len(data) + 8) >= tables.least_bits[rows].sum()
    # Close to what they take: a bound of nothing would hold as well.
    assert tables.least_bits[-5] > 0.4
    p = np.diff(tables.cdf).max(axis=1) / 2**16
    assert (tables.least_bits >= -0.4 * np.log2(p)).all()
