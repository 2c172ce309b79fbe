"""Both engines against each other, against a slow coder, and against hostile bytes."""

import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import jax.numpy as jnp
import numba
import numpy as np
import pytest

from codec_jax.coding import numba_engine, range_coder, tensorflow_engine
from codec_jax.coding.tables import LARGEST_OUTLIER, Tables, from_pmfs
from tests.codec_jax.coding import reference_coder
from tests.codec_jax.coding.engines import ENGINES
from tests.codec_jax.coding.random_tables import random_symbols, random_tables

ROOT = Path(__file__).resolve().parents[3]


def tables_of(*rows, precision, escape=True, offset=0):
    width = max(map(len, rows))
    return Tables(
        precision=np.full(len(rows), precision),
        escape=np.full(len(rows), escape),
        offset=np.full(len(rows), offset),
        cdf=np.array([row + [row[-1]] * (width - len(row)) for row in rows]),
    )


FAIR = tables_of([0, 1, 2], precision=1, escape=False)
SMALL = tables_of([0, 3, 12, 15, 16], [0, 1, 16], precision=4, offset=-1)
ALL_OUTLIERS = tables_of([0, 256], precision=8)
THIRDS = tables_of([0, 5, 10, 16], precision=4, escape=False)
# The interval of each contains the border between two words.
WAITING = list(map(int, "111111111102220111201210201022222212022210122121102102121211"))


def straddling(rng, count):
    """Symbols whose interval always contains the border between two words: carries wait."""
    tables = random_tables(rng, 40, 6)
    tables = Tables(tables.precision, np.zeros(40, bool), tables.offset, tables.cdf)
    interval, symbols, rows = reference_coder.Interval(), [], []
    longest = waiting = 0
    for row in rng.integers(0, 40, count).tolist():
        cdf, precision = (
            reference_coder.row_of(tables, row),
            int(tables.precision[row]),
        )
        border = -(-(interval.low + 1) // 2**32) * 2**32
        ends = [interval.ends(a, b, precision) for a, b in itertools.pairwise(cdf)]
        # Where the border is outside, the widest.
        inside = [k for k, (low, high) in enumerate(ends) if low < border < high]
        k = (inside or [int(np.argmax(np.diff(cdf)))])[0]
        before = interval.shifts
        interval.narrow(cdf[k], cdf[k + 1], precision)
        waiting = waiting + interval.shifts - before if inside else 0
        longest = max(longest, waiting)
        symbols.append(k + tables.offset[row])
        rows.append(row)
    return tables, np.array(rows), np.array(symbols), longest


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_bytes_as_the_slow_coder(engine):
    rng = np.random.default_rng(0)
    tables = random_tables(rng, 400, 30)
    for length in (*range(8), *rng.integers(8, 80, 40)):
        rows = rng.integers(0, 400, length)
        symbols = random_symbols(rng, tables, rows)
        data = range_coder.encode(symbols, rows, tables, engine)
        assert data == reference_coder.encode(symbols, rows, tables)
        found = range_coder.decode(data, rows, tables, engine)
        np.testing.assert_array_equal(found, symbols)
        assert found.dtype == np.int32


@pytest.mark.parametrize("engine", ENGINES)
def test_carries_over_several_words(engine):
    longest = 0
    for seed in range(20):
        tables, rows, symbols, waiting = straddling(np.random.default_rng(seed), 400)
        data = range_coder.encode(symbols, rows, tables, engine)
        assert data == reference_coder.encode(symbols, rows, tables)
        found = range_coder.decode(data, rows, tables, engine)
        np.testing.assert_array_equal(found, symbols)
        longest = max(longest, waiting)
    assert longest >= 3


@pytest.mark.parametrize("engine", ENGINES)
def test_an_interval_that_begins_where_the_carry_comes(engine):
    # The first row as THIRDS, the second with one count for each of 2^16 symbols.
    cdf = np.full((2, 2**16 + 1), 16)
    cdf[0, :4], cdf[1] = THIRDS.cdf[0], np.arange(2**16 + 1)
    tables = Tables(np.array([4, 16]), np.zeros(2, bool), np.zeros(2, int), cdf)
    interval, found = reference_coder.Interval(), 0
    for count, symbol in enumerate(WAITING, 1):
        interval.narrow(*reference_coder.row_of(THIRDS, 0)[symbol : symbol + 2], 4)
        border = -(-(interval.low + 1) // 2**32) * 2**32
        exact = -(-(border - interval.low) * 2**16 // interval.size)
        if exact < 2**16 and interval.ends(exact, exact + 1, 16)[0] == border:
            symbols, rows = [*WAITING[:count], exact], [0] * count + [1]
            data = range_coder.encode(symbols, rows, tables, engine)
            assert data == reference_coder.encode(symbols, rows, tables)
            found += 1
    assert found >= 3


@pytest.mark.parametrize("engine", ENGINES)
def test_one_symbol_and_none(engine):
    assert range_coder.encode([], [], SMALL, engine) == b""
    assert range_coder.decode(b"", np.zeros((2, 0), int), SMALL, engine).shape == (2, 0)
    for row, symbol in itertools.product((0, 1), range(-40, 40)):
        data = range_coder.encode([symbol], [row], SMALL, engine)
        assert data == reference_coder.encode([symbol], [row], SMALL)
        assert range_coder.decode(data, [row], SMALL, engine) == [symbol]


@pytest.mark.parametrize("engine", ENGINES)
def test_certain_symbols_take_no_bytes(engine):
    tables = tables_of([0, 2**16], precision=16, escape=False, offset=3)
    rows = np.zeros((5, 4), int)
    assert range_coder.encode(rows + 3, rows, tables, engine) == b""
    np.testing.assert_array_equal(
        range_coder.decode(b"", rows, tables, engine), rows + 3
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_the_farthest_outliers_in_the_rarest_escapes(engine):
    # As many bits as symbols can take: 16 and 60.
    tables = tables_of([0, 2**16 - 1, 2**16], precision=16, offset=-(2**29))
    rows = np.zeros(1000, int)
    symbols = np.where(np.arange(1000) % 2, tables.lowest[0], tables.highest[0])
    data = range_coder.encode(symbols, rows, tables, engine)
    assert len(data) == pytest.approx(1000 * 76 / 8, abs=2)
    np.testing.assert_array_equal(
        range_coder.decode(data, rows, tables, engine), symbols
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_the_size_is_that_of_the_probabilities(engine):
    rng = np.random.default_rng(3)
    pmf = rng.dirichlet(np.full(20, 0.5))
    tables = from_pmfs([pmf], [0], 16, escape=False)
    rows = np.zeros(20_000, int)
    symbols = rng.choice(20, 20_000, p=pmf)
    counts = np.diff(tables.cdf[0])
    ideal = -np.log2(counts[symbols] / 2**16).sum() / 8
    size = len(range_coder.encode(symbols, rows, tables, engine))
    assert ideal - 1 < size < 1.0005 * ideal + 2


# Written by tensorflow-compression-ops 2.17.0: they have to be readable forever.
GOLDEN = {
    "bits": (FAIR, [0] * 24, [1, 0, 1, 1, 0, 0, 1, 0] * 3, "b2b2b2"),
    "zeros before the end stay": (FAIR, [0] * 48, [1] + [0] * 47, "800000000000"),
    "outliers": (
        SMALL,
        [0, 1, 0, 0, 1, 1, 0, 1],
        [0, -1, 1, 2, -2, 1000, 2**20, -(2**20)],
        "3867c509aaa5502f75fd205b2c7e7f",
    ),
    "only outliers": (
        ALL_OUTLIERS,
        [0] * 5,
        [0, -1, 1, 2**30 - 2, 1 - 2**30],
        "b400000007ffffffe00000007fffffff",
    ),
    "rare symbols": (
        tables_of([0, 1, 2**15, 2**16 - 1, 2**16], precision=16, escape=False),
        [0] * 12,
        [0, 3, 1, 2, 3, 0, 2, 1, 3, 3, 0, 0],
        "0000ffff7fff40012fffdffff0000000",
    ),
    # After 60 symbols it is open whether the second byte is 5c or 5d.
    "a carry may come": (THIRDS, [0] * 60, WAITING, "745d"),
    "the carry comes": (THIRDS, [0] * 61, [*WAITING, 2], "745d00000000000000000002"),
    "no carry comes": (
        THIRDS,
        [0] * 62,
        [*WAITING, 0, 0],
        "745cffffffffffffffffffff91",
    ),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", GOLDEN)
def test_bytes_of_tensorflow_compression(name, engine):
    tables, rows, symbols, data = GOLDEN[name]
    assert range_coder.encode(symbols, rows, tables, engine).hex() == data
    found = range_coder.decode(bytes.fromhex(data), rows, tables, engine)
    np.testing.assert_array_equal(found, symbols)


def test_shapes_types_and_jax_arrays():
    rows = np.array([[0, 1], [1, 0]], np.uint8)
    symbols = np.array([[-1, 5], [900, 1]], np.int16)
    data = range_coder.encode(symbols, rows, SMALL, "numba")
    for kind in (np.int64, jnp.asarray, np.asfortranarray, np.ndarray.tolist):
        same = range_coder.encode(kind(symbols), kind(rows), SMALL, "numba")
        assert same == data
        found = range_coder.decode(data, kind(rows), SMALL, "numba")
        np.testing.assert_array_equal(found, symbols)
    assert range_coder.encode(symbols.ravel(), rows.ravel(), SMALL, "numba") == data
    one = range_coder.encode(-1, 0, SMALL, "numba")
    assert range_coder.decode(one, 0, SMALL, "numba").shape == ()


@pytest.mark.parametrize(
    ("symbols", "rows", "tables", "message"),
    [
        ([0.0], [0], FAIR, "symbols: expected integers, found float64"),
        ([0], [0.0], FAIR, "rows: expected integers, found float64"),
        ([True], [0], FAIR, "symbols: expected integers, found bool"),
        ([0, 1], [0], FAIR, r"symbols have shape \(2,\), rows \(1,\)"),
        ([0], [1], FAIR, "there is no row 1 among 1 tables"),
        ([0, 0], [0, -1], FAIR, "there is no row -1 among 1 tables"),
        ([[0, 2]], [[0, 0]], FAIR, r"symbol 2 at \(0, 1\) is outside row 0.* 0 to 1"),
        ([-1], [0], FAIR, "symbol -1 at "),
        (np.array([2**64 - 1], np.uint64), [0], FAIR, "symbol 18446744073709551615 "),
        ([LARGEST_OUTLIER], [0], ALL_OUTLIERS, f"-{LARGEST_OUTLIER} to 1073741822"),
        ([-(2**30)], [0], ALL_OUTLIERS, "symbol -1073741824"),
    ],
)
def test_what_cannot_be_coded_is_an_error(symbols, rows, tables, message):
    with pytest.raises(ValueError, match=message):
        range_coder.encode(symbols, rows, tables, "numba")


def test_an_engine_that_is_not_there_is_an_error(monkeypatch):
    monkeypatch.setattr(tensorflow_engine, "_PACKAGES", ("not_a_package",))
    with pytest.raises(ValueError, match="needs tensorflow-compression-ops"):
        range_coder.encode([0], [0], FAIR, "tensorflow")
    with pytest.raises(ValueError, match="expected 'tensorflow' or 'numba'"):
        range_coder.decode(b"", [0], FAIR, "rust")
    # The default is the other.
    assert range_coder.decode(b"", [0], FAIR) == [0]


@pytest.mark.parametrize("data", ["text", 7, None, [1, 2], np.zeros(3, np.uint8)])
def test_what_is_not_bytes_is_an_error(data):
    with pytest.raises(ValueError, match="expected bytes, found"):
        range_coder.decode(data, [0], FAIR, "numba")


@pytest.mark.parametrize("engine", ENGINES)
def test_an_outlier_without_end_is_an_error(engine):
    # The C++ code looks for the end of the zeros forever.
    for data in (b"", bytes(3), bytes(1000)):
        with pytest.raises(ValueError, match="symbol 0 of 2 is an outlier"):
            range_coder.decode(data, [0, 0], ALL_OUTLIERS, engine)
    too_far = b"\0\0\0\x02" + bytes(8)
    with pytest.raises(ValueError, match="more than 30 bits"):
        range_coder.decode(too_far, [0], ALL_OUTLIERS, engine)
    enough = b"\0\0\0\x04" + bytes(3) + b"\x01"
    with pytest.raises(ValueError, match="do not end"):
        range_coder.decode(enough, [0], ALL_OUTLIERS, engine)


def damaged(rng, data):
    """Cut, longer, with zeros, with other bits, or altogether other bytes."""
    cut = int(rng.integers(0, len(data) + 1))
    return (
        data[:cut],
        data[:-1],
        data + bytes(int(rng.integers(1, 6))),
        data + bytes(int(rng.integers(1, 6))) + b"\1",
        data + rng.bytes(int(rng.integers(1, 6))),
        data[:cut] + rng.bytes(1) + data[cut + 1 :],
        data[:cut] + bytes(len(data) - cut),
        data[:cut] + b"\xff" * (len(data) - cut),
        rng.bytes(int(rng.integers(0, 2 * len(data) + 4))),
    )[rng.integers(9)]


def outcome(decode, data, *given):
    """The symbols, or None for damaged bytes. No other error is let through."""
    try:
        return decode(data, *given).tolist()
    except (ValueError, reference_coder.Damaged):
        return None


@pytest.mark.parametrize("engine", ENGINES)
def test_hostile_bytes_are_what_encode_writes_or_an_error(engine):
    rng = np.random.default_rng(5)
    tables = random_tables(rng, 50, 20, most_precision=6)
    accepted = 0
    trials = 3000 if engine == "numba" else 400
    for _ in range(trials):
        rows = rng.integers(0, 50, rng.integers(0, 12))
        symbols = random_symbols(rng, tables, rows)
        data = damaged(rng, range_coder.encode(symbols, rows, tables, "numba"))
        found = outcome(range_coder.decode, data, rows, tables, engine)
        assert found == outcome(reference_coder.decode, data, rows, tables)
        accepted += found is not None
    # Short streams are often those of other symbols. Both outcomes have to be frequent.
    assert 0.1 * trials < accepted < 0.9 * trials


def test_hostile_bytes_take_bounded_time():
    rng = np.random.default_rng(6)
    tables = random_tables(rng, 50, 20)
    rows = rng.integers(0, 50, 200_000)
    outcome(range_coder.decode, b"", rows, tables, "numba")
    start = time.perf_counter()
    for data in (b"", rng.bytes(10), rng.bytes(10**6), bytes(10**6), b"\xff" * 10**6):
        assert outcome(range_coder.decode, data, rows, tables, "numba") is None
    assert time.perf_counter() - start < 5


def test_compiles_where_no_folder_can_be_written(monkeypatch):
    plain = numba.njit

    def refuses(*args, **options):
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return plain(*args, **options)

    monkeypatch.setattr(numba, "njit", refuses)

    def twice(x):
        return 2 * x

    compiled = numba_engine._compiled(twice)
    assert compiled(4) == 8


def decoded_alike(data, rows, tables):
    """Our decoder accepts the bytes that tensorflow-compression's ops decode and write.

    By these ops alone. Returns whether it does; None where they might never return.
    """
    ops = tensorflow_engine._ops()
    ours = None
    try:
        ours = numba_engine.decode(data, rows, tables)
    except ValueError as error:
        if "outlier" in str(error):
            return None
    handle = ops.create_range_decoder(data, tensorflow_engine._lookup(tables))
    handle, values = ops.entropy_decode_index(handle, rows, rows.shape, np.int32)
    same = tensorflow_engine.encode(values.numpy(), rows, tables) == data
    assert same == (ours is not None)
    if same:
        np.testing.assert_array_equal(ours, values)
        # Their own check has no false alarms, but misses some.
        assert ops.entropy_decode_finalize(handle)
    return same


@pytest.mark.tensorflow
def test_both_engines_over_a_hundred_thousand_random_tables():
    pytest.importorskip("tensorflow_compression_ops")
    rng = np.random.default_rng(7)
    checked = 0
    # (streams, tables of each, most symbols of a table)
    for streams, count, most in ((40, 2500, 24), (10, 100, 3000)):
        for _ in range(streams):
            tables = random_tables(rng, count, most)
            rows = np.tile(rng.permutation(count), 3)
            values = random_symbols(rng, tables, rows) - tables.offset[rows]
            given = rows.astype(np.int32), tables
            values = values.astype(np.int32)
            data = tensorflow_engine.encode(values, *given)
            assert numba_engine.encode(values, *given) == data
            np.testing.assert_array_equal(numba_engine.decode(data, *given), values)
            np.testing.assert_array_equal(
                tensorflow_engine.decode(data, *given), values
            )
            checked += count
            for wrong in (data[:-1], data[: len(data) // 2], data + b"\1"):
                decoded_alike(wrong, *given)
    assert checked >= 10**5


@pytest.mark.tensorflow
def test_damaged_bytes_are_refused_where_tensorflow_writes_others():
    pytest.importorskip("tensorflow_compression_ops")
    rng = np.random.default_rng(8)
    tables = random_tables(rng, 50, 20, most_precision=6)
    refused = accepted = 0
    for _ in range(400):
        rows = rng.integers(0, 50, rng.integers(1, 12)).astype(np.int32)
        symbols = random_symbols(rng, tables, rows)
        data = damaged(rng, range_coder.encode(symbols, rows, tables, "numba"))
        same = decoded_alike(data, rows, tables)
        accepted, refused = accepted + (same is True), refused + (same is False)
    assert min(accepted, refused) > 40


@pytest.mark.tensorflow
def test_the_default_is_tensorflow_where_it_is_installed(monkeypatch):
    pytest.importorskip("tensorflow_compression_ops")
    called = []
    for name in ("encode", "decode"):
        plain = vars(tensorflow_engine)[name]
        monkeypatch.setattr(
            tensorflow_engine,
            name,
            lambda *given, plain=plain: called.append(plain) or plain(*given),
        )
    data = range_coder.encode([0, 1, 1], [0, 0, 0], FAIR)
    range_coder.decode(data, [0, 0, 0], FAIR)
    assert len(called) == 2


@pytest.mark.tensorflow
def test_one_engine_decodes(monkeypatch):
    """Whole files do without ours; damaged ones are named by ours, in bounded time."""
    pytest.importorskip("tensorflow_compression_ops")
    monkeypatch.setattr(tensorflow_engine, "_CHUNK", 1000)
    rng = np.random.default_rng(9)
    tables = random_tables(rng, 50, 20)
    rows = rng.integers(0, 50, 10_000)
    symbols = random_symbols(rng, tables, rows)
    data = range_coder.encode(symbols, rows, tables, "tensorflow")
    start = time.perf_counter()
    for wrong in (b"", data + b"\1", rng.bytes(10**5), bytes(10**6)):
        with pytest.raises(ValueError, match="they are damaged or truncated"):
            range_coder.decode(wrong, rows, tables, "tensorflow")
    assert time.perf_counter() - start < 20

    def refuses(*given):
        raise AssertionError("both engines decode")

    monkeypatch.setattr(numba_engine, "decode", refuses)
    found = range_coder.decode(data, rows, tables, "tensorflow")
    np.testing.assert_array_equal(found, symbols)


def test_the_engine_of_a_block_and_of_a_process(monkeypatch):
    called = []
    for engine in (numba_engine, tensorflow_engine):
        monkeypatch.setattr(
            engine,
            "encode",
            lambda *given, engine=engine: called.append(engine) or b"",
        )
    monkeypatch.setattr(tensorflow_engine, "is_installed", lambda: True)
    for name in ("", "tensorflow", "ours"):
        monkeypatch.setenv(range_coder.VARIABLE, name)
        range_coder.encode([0], [0], FAIR)
    with range_coder.using("tensorflow"), range_coder.using(None):
        range_coder.encode([0], [0], FAIR)
        range_coder.encode([0], [0], FAIR, "numba")
    tf, ours = tensorflow_engine, numba_engine
    assert called == [tf, tf, ours, tf, ours]
    monkeypatch.setenv(range_coder.VARIABLE, "numba")
    with pytest.raises(ValueError, match=r"CODEC_JAX_CODER: expected .*'ours'"):
        range_coder.encode([0], [0], FAIR)
    monkeypatch.setattr(tensorflow_engine, "is_installed", lambda: False)
    with (
        pytest.raises(ValueError, match="needs tensorflow-compression-ops"),
        range_coder.using("tensorflow"),
    ):
        pass


@pytest.mark.tensorflow
def test_tensorflow_is_loaded_without_a_word():
    """JAX first, whose own log level must not be taken for the user's wish."""
    pytest.importorskip("tensorflow_compression_ops")
    program = (
        "import jax, os, sys\n"
        "from codec_jax.coding import tensorflow_engine\n"
        "before = os.environ.get('TF_CPP_MIN_LOG_LEVEL')\n"
        "tensorflow_engine._ops()\n"
        "assert os.environ.get('TF_CPP_MIN_LOG_LEVEL') == before\n"
        "print('still heard', file=sys.stderr)\n"
    )
    unset = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=unset | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("", "still heard\n")
