"""Speed of the range coder: our engine beside tensorflow-compression's ops.

    python -m tests.benchmarks.range_coder_speed --out=runs/range_coder.json

A latent of 32x48x192 symbols (an image of 512x768 pixels) with 64 tables of Gaussians,
one row for each symbol, as a hyperprior chooses them. One thread codes one stream. The
engines take turns; `ratio` is ours by theirs, so below 1 ours is faster. `range_coder` is
the whole call, which checks symbols and rows as well.
"""

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rich
import scipy.stats
from rich.table import Table

from codec_jax.coding import numba_engine, range_coder, tensorflow_engine
from codec_jax.coding.tables import Tables, from_pmfs
from pim_jax.evaluation.tables import Score
from pim_jax.evaluation.tables import Table as Results
from tests.benchmarks import result_files, timing

ROWS = 64
SHAPE = (32, 48, 192)


class Latent(NamedTuple):
    """What is coded.

    Attributes:
      symbols: int32 (h, w, c).
      rows: the table of each, with the same shape.
      tables: of zero-mean Gaussians.
    """

    symbols: np.ndarray
    rows: np.ndarray
    tables: Tables


def latent(shape: tuple[int, ...], seed: int = 0) -> Latent:
    """Rounded Gaussians with scales from 0.11 to 64; four in a thousand are outliers."""
    scales = np.geomspace(0.11, 64, ROWS)
    pmfs, offsets = [], []
    for scale in scales:
        normal = scipy.stats.norm(scale=scale)
        most = int(np.ceil(normal.isf(2**-9)))
        x = np.arange(-most, most + 1)
        pmfs.append(normal.cdf(x + 0.5) - normal.cdf(x - 0.5))
        offsets.append(-most)
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, ROWS, shape).astype(np.int32)
    symbols = np.rint(rng.normal(size=shape) * scales[rows]).astype(np.int32)
    return Latent(symbols, rows, from_pmfs(pmfs, offsets, precision=16))


def calls(given: Latent) -> dict[str, timing.Call]:
    """Every engine alone, and the whole call with it, in both directions."""
    symbols, rows, tables = given
    values = (symbols - tables.offset[rows]).ravel()
    flat = rows.ravel()
    data = numba_engine.encode(values, flat, tables)
    found: dict[str, timing.Call] = {
        "encode, numba": lambda: numba_engine.encode(values, flat, tables),
        "decode, numba": lambda: numba_engine.decode(data, flat, tables),
        "range_coder.encode, numba": lambda: range_coder.encode(
            symbols, rows, tables, "numba"
        ),
        "range_coder.decode, numba": lambda: range_coder.decode(
            data, rows, tables, "numba"
        ),
    }
    if tensorflow_engine.is_installed():
        found |= {
            "encode, tensorflow": lambda: tensorflow_engine.encode(
                values, flat, tables
            ),
            "decode, tensorflow": lambda: tensorflow_engine.decode(data, flat, tables),
            "range_coder.encode, tensorflow": lambda: range_coder.encode(
                symbols, rows, tables, "tensorflow"
            ),
            "range_coder.decode, tensorflow": lambda: range_coder.decode(
                data, rows, tables, "tensorflow"
            ),
        }
    return found


def run(shape: tuple[int, ...], seconds: float) -> dict[str, Any]:
    """Times all calls, and the ratios of ours by theirs."""
    given = latent(shape)
    taken = timing.in_turn(calls(given), seconds)
    ratios = {
        name.removesuffix(", numba"): timing.ratio(
            found, taken[name.replace("numba", "tensorflow")]
        )._asdict()
        for name, found in taken.items()
        if name.endswith("numba") and name.replace("numba", "tensorflow") in taken
    }
    result: dict[str, Any] = {
        "symbols": given.symbols.size,
        "bytes": len(range_coder.encode(*given, engine="numba")),
        "seconds": {
            name: timing.summary(found)._asdict() for name, found in taken.items()
        },
        "ratios": ratios,
    }
    return result_files.with_tables(result, result_table(result))


def result_table(result: dict[str, Any]) -> Results:
    """Calls down; our engine, tensorflow-compression's and their ratio across."""
    engines = {"numba": "ours", "tensorflow": "tensorflow-compression"}
    rows: dict[str, dict[str, Score]] = {}
    for name, taken in result["seconds"].items():
        call, _, engine = name.partition(", ")
        rows.setdefault(call, {})[engines[engine]] = result_files.score(taken)
    for call, ratio in result["ratios"].items():
        rows[call]["ratio"] = result_files.score(ratio)
    units = {**dict.fromkeys(engines.values(), "s"), "ratio": ""}
    return Results(f"{result['symbols']} symbols", units, rows)


def table(result: dict[str, Any]) -> Table:
    """The result for the screen."""
    title = f"{result['symbols']} symbols, {result['bytes']} bytes"
    shown = Table("", "median", "quartiles", "rounds", title=title)
    for name, line in result["seconds"].items():
        quartiles = f"{1e3 * line['lower']:.1f} .. {1e3 * line['upper']:.1f}"
        shown.add_row(
            name, f"{1e3 * line['median']:.1f} ms", quartiles, str(line["repetitions"])
        )
    for name, line in result["ratios"].items():
        quartiles = f"{line['lower']:.2f} .. {line['upper']:.2f}"
        shown.add_row(
            f"{name}, ratio",
            f"{line['median']:.2f}",
            quartiles,
            str(line["repetitions"]),
        )
    return shown


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Speed of the range coder.")
    parser.add_argument("--out", required=True, type=Path, help="JSON file to write")
    parser.add_argument("--seconds", type=float, default=20, help="of timing, about")
    given = parser.parse_args()
    result = run(SHAPE, given.seconds)
    result_files.write(given.out, result)
    rich.print(table(result))


if __name__ == "__main__":
    main()
