"""Metrics against human judgements: the tables of BAPPS and CLIC 2021."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from pim_jax import evaluate
from pim_jax.data import clic
from pim_jax.data.bapps_folder import (
    JND_VALIDATION,
    TWO_AFC_VALIDATION,
    Example,
    Source,
)
from pim_jax.distances import source_distances
from pim_jax.metric import Metric
from pim_jax.tables import Score, Table

HUMAN, LIMIT = "human score", "upper limit"

Progress = Callable[[str], None]


def _quiet(text: str) -> None:
    """No progress."""


class _First:
    """The first examples of a source."""

    def __init__(self, source: Source, count: int):
        self._source, self._count = source, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Example:
        return self._source[index]


def _limited(sources: Mapping[str, Source], limit: int) -> dict[str, Source]:
    """At most `limit` examples of each subset; 0 for all."""
    if limit <= 0:
        return dict(sources)
    return {k: _First(s, min(limit, len(s))) for k, s in sources.items()}


def _size_note(sources: Mapping[str, Source], limit: int) -> str:
    sizes = ", ".join(f"{name} {len(source)}" for name, source in sources.items())
    cut = f" (only the first {limit} of each)" if limit > 0 else ""
    return f"64x64; judgements: {sizes}{cut}."


def _mean_note(sources: Mapping[str, Source], official: tuple[str, ...]) -> str:
    if set(sources) == set(official):
        return f"mean: unweighted mean of the {len(official)} subsets."
    missing = sorted(set(official) - set(sources))
    other = sorted(set(sources) - set(official))
    return (
        f"mean: unweighted mean of the {len(sources)} subsets present; not the official "
        f"set (missing {missing}, additional {other})."
    )


def _precision_or_nan(distances: np.ndarray, same: np.ndarray) -> float:
    """Average precision; NaN for a resample in which nobody took a pair for identical."""
    return evaluate.jnd_average_precision(distances, same) if same.any() else np.nan


def _with_mean(
    statistic: evaluate.Statistic,
    subsets: Mapping[str, list[np.ndarray]],
    resamples: int,
    seed: int,
    mean: str = "mean",
) -> dict[str, Score]:
    """A statistic of each subset and their unweighted mean, with bootstrap intervals.

    The mean's interval is stratified: each resample draws anew within every subset.
    """
    scores, samples = {}, []
    for k, (name, arrays) in enumerate(subsets.items()):
        samples.append(
            evaluate.bootstrap_samples(statistic, arrays, resamples, seed + k)
        )
        value = float(statistic(*arrays))
        scores[name] = Score(value, *evaluate.interval(samples[-1]))
    average = float(np.mean([score.value for score in scores.values()]))
    scores[mean] = Score(average, *evaluate.interval(np.mean(samples, axis=0)))
    return scores


def two_afc_table(
    metrics: Mapping[str, Metric],
    sources: Mapping[str, Source],
    *,
    batch_size: int = 16,
    resamples: int = 1000,
    seed: int = 0,
    limit: int = 0,
    progress: Progress = _quiet,
) -> Table:
    """BAPPS 2AFC: score of each subset, their mean, human score and upper limit.

    Args:
      metrics: name -> metric.
      sources: subset -> examples with `reference`, `image_0`, `image_1`, `judge`.
      batch_size: triplets in one batch.
      resamples: of the bootstrap.
      seed: of the bootstrap.
      limit: use only the first so many triplets of each subset; 0 for all.
      progress: called with a line of text before each subset.

    Raises:
      ValueError: NaN distances or labels outside [0, 1].
    """
    sources = _limited(sources, limit)
    judges = {
        name: np.array([source[i]["judge"] for i in range(len(source))])
        for name, source in sources.items()
    }
    pairs = [("reference", "image_0"), ("reference", "image_1")]
    rows = {}
    for metric_name, metric in metrics.items():
        credits = {}
        for name, source in sources.items():
            progress(f"{metric_name}: 2AFC {name}, {len(source)} triplets")
            first, second = source_distances(metric, source, pairs, batch_size)
            credits[name] = [evaluate.two_afc_credits(first, second, judges[name])]
        rows[metric_name] = _with_mean(np.mean, credits, resamples, seed)
    labels = {name: [judge] for name, judge in judges.items()}
    rows[HUMAN] = _with_mean(evaluate.human_score, labels, resamples, seed)
    rows[LIMIT] = _with_mean(evaluate.upper_limit, labels, resamples, seed)
    return Table(
        "BAPPS 2AFC",
        dict.fromkeys([*sources, "mean"], "%"),
        rows,
        (_size_note(sources, limit), _mean_note(sources, TWO_AFC_VALIDATION)),
    )


def jnd_table(
    metrics: Mapping[str, Metric],
    sources: Mapping[str, Source],
    *,
    batch_size: int = 16,
    resamples: int = 1000,
    seed: int = 0,
    limit: int = 0,
    progress: Progress = _quiet,
) -> Table:
    """BAPPS JND: average precision of each subset and their mean (mAP).

    Arguments and errors as for `two_afc_table`; examples have `image_0`, `image_1` and
    `same`.
    """
    sources = _limited(sources, limit)
    rows = {}
    for metric_name, metric in metrics.items():
        columns = {}
        for name, source in sources.items():
            progress(f"{metric_name}: JND {name}, {len(source)} pairs")
            (distance,) = source_distances(
                metric, source, [("image_0", "image_1")], batch_size
            )
            same = np.array([source[i]["same"] for i in range(len(source))])
            evaluate.jnd_average_precision(distance, same)  # refuses bad values
            columns[name] = [distance, same]
        rows[metric_name] = _with_mean(
            _precision_or_nan, columns, resamples, seed, "mAP"
        )
    return Table(
        "BAPPS JND",
        dict.fromkeys([*sources, "mAP"], "%"),
        rows,
        (
            _size_note(sources, limit),
            _mean_note(sources, JND_VALIDATION).replace("mean:", "mAP:", 1),
        ),
    )


def clic_table(
    metrics: Mapping[str, Metric],
    oracle: clic.Oracle,
    *,
    batch_size: int = 1,
    resamples: int = 1000,
    seed: int = 0,
    limit: int = 0,
    progress: Progress = _quiet,
) -> Table:
    """CLIC 2021 perceptual task: accuracy over the distinct triplets of the oracle.

    Arguments as for `two_afc_table`; images keep their size.
    """
    (source,) = _limited({"": oracle}, limit).values()
    rows_used = oracle.rows[: len(source)]
    keys = [row[:3] for row in rows_used]
    labels = [row.label for row in rows_used]
    pairs = [("reference", "image_0"), ("reference", "image_1")]
    rows = {}
    for name, metric in metrics.items():
        progress(f"{name}: CLIC 2021, {len(source)} rows")
        first, second = source_distances(metric, source, pairs, batch_size)
        credits = evaluate.clic_credits(keys, first, second, labels)
        samples = evaluate.bootstrap_samples(np.mean, [credits], resamples, seed)
        score = Score(float(credits.mean()), *evaluate.interval(samples))
        rows[name] = {"accuracy": score}
    return Table(
        "CLIC 2021 perceptual task",
        {"accuracy": "%"},
        rows,
        (
            f"{len(source)} rows, {len(set(keys))} distinct triplets; of equal triplets "
            "the last label counts.",
        ),
    )


def clic_oracle(oracle: str | Path, images: str | Path) -> clic.Oracle:
    """The rows of an oracle file with the images of a folder."""
    return clic.Oracle(clic.read_oracle(oracle), images)
