"""Toy coders trained and compared, beside published figures: what `eval.py` runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np

from codec_jax.toy import pictures, task
from codec_jax.toy.sources import sawbridge_optimum
from codec_jax.toy.task import Score
from pim_jax.evaluation import tables
from pim_jax.evaluation.outputs import Output
from pim_jax.training import loop

Progress = Callable[[str], None]

LAGRANGIAN = "R + lambda D"
# Of the banana, at a price of 8 for the sum of squared errors: slide 13 of Ballé's talk at
# DCC 2023, after Ballé et al. 2021, https://arxiv.org/abs/2007.03034.
PUBLISHED = {"ltc": 6.87, "ecvq": 5.95, "ntc": 5.97}
_PUBLISHED_AT = ("banana", 8.0, "sum")


def toy(
    config: ml_collections.ConfigDict, progress: Progress, output: Output | None = None
) -> list[tables.Table]:
    """Trains every coder with every seed, where that is not done yet, and scores them.

    A run's folder is OUT/CODER-SEED. Beside the tables, for a source in the plane, it
    writes OUT/cells.png, with the coders of the first seed.

    Raises:
      ValueError: no seeds, or as `task.make`.
      InterruptedError: SIGTERM came; the same command goes on.
    """
    if not config.seeds:
        raise ValueError("config.seeds is empty, expected at least one seed")
    output = output or Output(config.out, config.evaluation)
    out = output.folder
    scores: dict[str, list[Score]] = {name: [] for name in config.coders}
    drawn: dict[str, tuple[Any, Any]] = {}
    for name, settings in config.coders.items():
        for seed in config.seeds:
            training = settings.copy_and_resolve_references()
            training.seed = seed
            progress(f"{name}, seed {seed}")
            params = _trained(training, out / f"{name}-{seed}")
            # The seed of the samples is the published code's.
            key = jax.random.key(82913749)
            scores[name].append(task.score(training, params, key, config.samples))
            drawn.setdefault(name, (task.coder_of(training), params))
    first = next(iter(config.coders.values()))
    source = task.source_of(first)
    if source.dimensions == 2:
        output.figure(pictures.figure(drawn, source), "cells.png", dpi=150)
    return [table(first, scores, config.samples)]


def _trained(config: ml_collections.ConfigDict, workdir: Path) -> Any:
    """The parameters at the end of a run, which is carried out if need be."""
    state = loop.train(task.make(config), config, workdir)
    if int(state.step) < config.steps:
        raise InterruptedError(f"stopped while training {workdir}")
    return state.ema_params


def table(
    config: ml_collections.ConfigDict, scores: dict[str, list[Score]], samples: int
) -> tables.Table:
    """Means over seeds, and what there is to compare them with.

    Args:
      config: of a training: its source, price and distortion are those of all.
      scores: coder -> one for each seed.
      samples: how many vectors each was scored on.
    """
    rows = {name: _row(several) for name, several in scores.items()}
    columns = {"R": "bits", "D": "", LAGRANGIAN: "", "standard deviation": ""}
    notes = [
        f"lambda = {config.lmbda:g}. R: bits for a vector. D: {config.distortion} of the "
        "squared errors over a vector's components.",
        f"Hard decisions on {samples} fresh samples, or a few more to fill a group; R is "
        "-log2 of the symbols' probability.",
        f"Seeds: {len(next(iter(scores.values())))}. Means; below, least and largest.",
    ]
    if (config.source, config.lmbda, config.distortion) == _PUBLISHED_AT:
        columns["published"] = ""
        notes.append(
            "published: R + lambda D of slide 13, DCC 2023; not measured here."
        )
        for name in rows.keys() & PUBLISHED.keys():
            rows[name]["published"] = tables.Score(PUBLISHED[name])
    if (config.source, config.distortion) == ("sawbridge", "mean"):
        rate, distortion = sawbridge_optimum(config.lmbda)
        rows["optimum"] = _row(
            [Score(rate, distortion, rate + config.lmbda * distortion)]
        )
        notes.append("optimum: of any coder, Wagner & Ballé 2021.")
    return tables.Table(f"Coders of the source {config.source}", columns, rows, notes)


def _row(scores: list[Score]) -> dict[str, tables.Score]:
    row = {}
    for column, values in zip(
        ("R", "D", LAGRANGIAN), zip(*scores, strict=True), strict=True
    ):
        several = len(scores) > 1
        row[column] = tables.Score(
            float(np.mean(values)),
            float(min(values)) if several else None,
            float(max(values)) if several else None,
        )
    if len(scores) > 1:
        deviation = np.std([score.lagrangian for score in scores], ddof=1)
        row["standard deviation"] = tables.Score(float(deviation))
    return row
