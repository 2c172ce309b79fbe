"""Error and cost of the distance of mixtures: ours, and Monte Carlo as published.

    python -m tests.benchmarks.distance_table --out=runs/distance.json
    python -m tests.benchmarks.distance_table --out=FILE --metric=runs/pim --pairs=8

For pairs of frames of the packaged clips, 0.1 s apart. The reference is the mean of our
estimate over many independent draws of the noise at every position, which is unbiased and
far more precise than as many samples of the published kind; that Monte Carlo agrees with
it is part of the table. docs/distance.md has results.
"""

import argparse
import functools
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import rich
from rich.table import Table

import pim_jax
from pim_jax import distributions, metric
from pim_jax.data import frame_pairs, frame_runs, video
from pim_jax.pim.distance import PimMetric, Representation, untrained
from pim_jax.pim.model import ModelConfig

Compare = Callable[[Representation, Representation, jax.Array], jax.Array]


class Row(NamedTuple):
    """One way to compute the distance, over pairs and repeated calls.

    Attributes:
      name: of the row.
      error: mean over pairs of |mean of the calls - reference| / reference; for our
        fixed noise that of the one call.
      error_bars: mean over pairs of the standard error of that mean, relative.
      spread: mean over pairs of the standard deviation of one call, relative.
      negative: share of calls below zero.
      seconds: median time of a call for all pairs together, representations given.
      calls: how many.
    """

    name: str
    error: float
    error_bars: float
    spread: float
    negative: float
    seconds: float
    calls: int


def fixed_noise(points: int) -> Compare:
    """Ours, with at least `points` positions a level; the default is `POINTS`."""

    def compare(a: Representation, b: Representation, key: jax.Array) -> jax.Array:
        del key
        return metric.compare(a, b, points)

    return compare


def fresh_noise(a: Representation, b: Representation, key: jax.Array) -> jax.Array:
    """The mean over maps and levels of the estimate with noise drawn anew; unbiased."""
    levels = []
    for i, (p, q) in enumerate(zip(a, b, strict=True)):
        shape = (*p.loc.shape[:3], p.loc.shape[-1])
        noise = jax.random.normal(jax.random.fold_in(key, i), shape)
        kl = distributions.symmetrised_kl(p, q, noise)
        levels.append(jnp.mean(kl.difference, axis=(1, 2)))
    return jnp.mean(jnp.stack(levels), axis=0)


def monte_carlo(samples: int, at_once: int = 16) -> Compare:
    """The published estimate, with bounded memory."""

    def compare(a: Representation, b: Representation, key: jax.Array) -> jax.Array:
        together = min(samples, at_once)
        parts = samples // together

        def part(index: jax.Array) -> jax.Array:
            key_part = jax.random.fold_in(key, index)
            return metric.compare_sampled(a, b, key=key_part, samples=together)

        return jnp.mean(jax.lax.map(part, jnp.arange(parts)), axis=0)

    return compare


def repeated(
    compare: Compare, a: Any, b: Any, calls: int, seed: int = 0
) -> tuple[np.ndarray, float]:
    """Values (calls, pairs) with keys of their own, and the median seconds of a call."""
    compiled = jax.jit(compare)
    keys = jax.random.split(jax.random.key(seed), calls)
    jax.block_until_ready(compiled(a, b, keys[0]))
    values, seconds = [], []
    for key in keys:
        start = time.perf_counter()
        values.append(np.asarray(compiled(a, b, key), np.float64))
        seconds.append(time.perf_counter() - start)
    return np.stack(values), float(np.median(seconds))


def row(name: str, values: np.ndarray, seconds: float, reference: np.ndarray) -> Row:
    """The line of the table for values (calls, pairs)."""
    calls = len(values)
    spread = (
        values.std(axis=0, ddof=1) if calls > 1 else np.full(len(reference), np.nan)
    )
    error = np.abs(values.mean(axis=0) - reference) / reference
    return Row(
        name,
        float(error.mean()),
        float((spread / reference).mean() / math.sqrt(calls)),
        float((spread / reference).mean()),
        float((values < 0).mean()),
        seconds,
        calls,
    )


def measure(
    chosen: PimMetric, x: np.ndarray, y: np.ndarray, reference_calls: int, most: int
) -> dict[str, Any]:
    """The rows, the reference and its relative standard error.

    Args:
      chosen: with several components.
      x, y: uint8 (pairs, h, w, 3).
      reference_calls: independent draws of the noise for the reference.
      most: samples of the last Monte Carlo row.
    """
    represent = jax.jit(lambda m, image: m.represent(image))
    a, b = (represent(chosen, image.astype(np.float32) / 255) for image in (x, y))
    values, seconds = repeated(fresh_noise, a, b, reference_calls, seed=1)
    reference = values.mean(axis=0)
    rows = [
        row("one pair of points a position, fresh noise", values, seconds, reference)
    ]
    for points in (1, 1024, metric.POINTS, 16 * metric.POINTS):
        found = repeated(fixed_noise(points), a, b, 3)
        name = "ours, default" if points == metric.POINTS else "ours"
        rows.append(row(f"{name}: {points} pairs of points a level", *found, reference))
    for samples, calls in ((1, 100), (16, 20), (256, 4), (most, 1)):
        found = repeated(monte_carlo(samples), a, b, calls, seed=2)
        rows.append(row(f"Monte Carlo, {samples} samples", *found, reference))
    return {
        "metric": chosen.name,
        "pairs": len(x),
        "size": x.shape[1:3],
        "reference": reference.tolist(),
        "reference_error": float(
            (values.std(axis=0, ddof=1) / reference).mean() / math.sqrt(len(values))
        ),
        "rows": [line._asdict() for line in rows],
    }


def table(result: dict[str, Any]) -> Table:
    """The result for the screen."""
    title = (
        f"{result['metric']}, {result['pairs']} pairs, distances "
        f"{min(result['reference']):.3g} .. {max(result['reference']):.3g}, "
        f"reference known to {result['reference_error']:.2%}"
    )
    shown = Table(
        "", "error", "± (s.e.)", "spread of a call", "negative", "ms", title=title
    )
    for line in result["rows"]:
        shown.add_row(
            line["name"],
            f"{line['error']:.2%}",
            f"{line['error_bars']:.2%}",
            f"{line['spread']:.2%}",
            f"{line['negative']:.0%}",
            f"{1e3 * line['seconds']:.0f}",
        )
    return shown


@functools.cache
def _pairs(count: int, crop: int, prepared_dir: str) -> tuple[np.ndarray, np.ndarray]:
    prepared = video.prepare(
        video.packaged_clips(), prepared_dir, names=video.PACKAGED_CLIPS
    )
    runs = frame_runs.open_runs(prepared, "validation")
    return frame_pairs.validation_pairs(runs, count, crop=crop)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Error and cost of the distance.")
    parser.add_argument("--out", required=True, type=Path, help="JSON file to write")
    parser.add_argument(
        "--metric",
        default="",
        help="folder of a mixture model; default: untrained PIM-5",
    )
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--crop", type=int, default=64, help="pixels")
    parser.add_argument("--reference", type=int, default=200, help="draws of noise")
    parser.add_argument("--samples", type=int, default=4000, help="of the last row")
    parser.add_argument("--prepared_dir", default="runs/data")
    given = parser.parse_args()
    chosen: Any = pim_jax.load(given.metric) if given.metric else None
    chosen = chosen or untrained(ModelConfig())
    x, y = _pairs(given.pairs, given.crop, given.prepared_dir)
    result = measure(chosen, x, y, given.reference, given.samples)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=2) + "\n")
    rich.print(table(result))


if __name__ == "__main__":
    main()
