"""Metrics against human judgements: BAPPS, CLIC 2021, and votes in a CSV file."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pim_jax.data import clic, readable
from pim_jax.data.bapps_folder import (
    JND_VALIDATION,
    TWO_AFC_VALIDATION,
    Example,
    Source,
)
from pim_jax.data.comparisons import Comparison, Versions
from pim_jax.data.readable import Chosen
from pim_jax.evaluation import scores as evaluate
from pim_jax.evaluation.distances import source_distances
from pim_jax.evaluation.kept import Kept
from pim_jax.evaluation.tables import DIFFERENCE, Score, Table
from pim_jax.metric import Metric

HUMAN, LIMIT = "human score", "upper limit"
RATERS = "two raters"
_PAIRS = [("reference", "image_0"), ("reference", "image_1")]

Progress = Callable[[str], None]
# Called with the table of the metrics that are finished, after each of them.
Done = Callable[[Table], None]


def _quiet(text: str) -> None:
    """No progress."""


def _unseen(table: Table) -> None:
    """Nobody looks at a table before it is complete."""


def examined(
    sources: Mapping[str, Source], limit: int = 0, progress: Progress = _quiet
) -> dict[str, Chosen]:
    """Reads every example once, and leaves out those that cannot be read.

    Args:
      sources: subset -> examples; what has been examined already stays as it is.
      limit: only the first so many of each; 0 for all.
      progress: called with a line of text before each subset.

    Raises:
      ValueError: nothing of a subset can be read.
    """
    found = {}
    for name, source in sources.items():
        if isinstance(source, Chosen):
            found[name] = source
            continue
        progress(f"{name}: reading")
        found[name] = readable.examples(source, name, limit)
    return found


def _labels(source: Chosen, key: str) -> np.ndarray:
    return np.array([label[key] for label in source.labels])


def _size_notes(sources: Mapping[str, Chosen], limit: int) -> tuple[str, ...]:
    sizes = ", ".join(f"{name} {len(source)}" for name, source in sources.items())
    cut = f" (only the first {limit} of each)" if limit > 0 else ""
    skipped = {name: len(source.skipped) for name, source in sources.items()}
    return f"64x64; judgements: {sizes}{cut}.", *readable.note(skipped)


def _mean_note(sources: Mapping[str, Chosen], official: tuple[str, ...]) -> str:
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
    metrics: Mapping[str, Metric | Kept],
    sources: Mapping[str, Source],
    *,
    batch_size: int = 16,
    resamples: int = 1000,
    seed: int = 0,
    limit: int = 0,
    progress: Progress = _quiet,
    done: Done = _unseen,
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
      done: called after each metric with the table so far.

    Raises:
      ValueError: NaN distances or labels outside [0, 1].
    """
    chosen = examined(sources, limit, progress)
    labels = {name: [_labels(source, "judge")] for name, source in chosen.items()}
    people = {
        HUMAN: _with_mean(evaluate.human_score, labels, resamples, seed),
        LIMIT: _with_mean(evaluate.upper_limit, labels, resamples, seed),
    }
    rows: dict[str, dict[str, Score]] = {}

    def table() -> Table:
        return Table(
            "BAPPS 2AFC",
            dict.fromkeys([*chosen, "mean"], "%"),
            {**rows, **people},
            (*_size_notes(chosen, limit), _mean_note(chosen, TWO_AFC_VALIDATION)),
        )

    for metric_name, metric in metrics.items():
        credits = {}
        for name, source in chosen.items():
            progress(f"{metric_name}: 2AFC {name}, {len(source)} triplets")
            first, second = source_distances(metric, source, _PAIRS, batch_size)
            credits[name] = [evaluate.two_afc_credits(first, second, *labels[name])]
        rows[metric_name] = _with_mean(np.mean, credits, resamples, seed)
        done(table())
    return table()


def jnd_table(
    metrics: Mapping[str, Metric | Kept],
    sources: Mapping[str, Source],
    *,
    batch_size: int = 16,
    resamples: int = 1000,
    seed: int = 0,
    limit: int = 0,
    progress: Progress = _quiet,
    done: Done = _unseen,
) -> Table:
    """BAPPS JND: average precision of each subset and their mean (mAP).

    Arguments and errors as for `two_afc_table`; examples have `image_0`, `image_1` and
    `same`.
    """
    chosen = examined(sources, limit, progress)
    rows: dict[str, dict[str, Score]] = {}

    def table() -> Table:
        return Table(
            "BAPPS JND",
            dict.fromkeys([*chosen, "mAP"], "%"),
            dict(rows),
            (
                *_size_notes(chosen, limit),
                _mean_note(chosen, JND_VALIDATION).replace("mean:", "mAP:", 1),
            ),
        )

    for metric_name, metric in metrics.items():
        columns = {}
        for name, source in chosen.items():
            progress(f"{metric_name}: JND {name}, {len(source)} pairs")
            (distance,) = source_distances(
                metric, source, [("image_0", "image_1")], batch_size
            )
            same = _labels(source, "same")
            evaluate.jnd_average_precision(distance, same)  # refuses bad values
            columns[name] = [distance, same]
        rows[metric_name] = _with_mean(
            _precision_or_nan, columns, resamples, seed, "mAP"
        )
        done(table())
    return table()


def clic_table(
    metrics: Mapping[str, Metric | Kept],
    oracle: clic.Oracle,
    *,
    batch_size: int = 1,
    resamples: int = 1000,
    seed: int = 0,
    limit: int = 0,
    progress: Progress = _quiet,
    done: Done = _unseen,
) -> Table:
    """CLIC 2021 perceptual task: accuracy over the distinct triplets of the oracle.

    Arguments as for `two_afc_table`; images keep their size.
    """
    used = oracle if limit <= 0 else oracle.only(oracle.rows[:limit])
    source, skipped = _readable_rows(used)
    keys = [row[:3] for row in source.rows]
    labels = [row.label for row in source.rows]
    rows: dict[str, dict[str, Score]] = {}

    def table() -> Table:
        return Table(
            "CLIC 2021 perceptual task",
            {"accuracy": "%"},
            dict(rows),
            (
                f"{len(source)} rows, {len(set(keys))} distinct triplets; of equal "
                "triplets the last label counts.",
                *readable.note({"rows": skipped}),
            ),
        )

    for name, metric in metrics.items():
        progress(f"{name}: CLIC 2021, {len(source)} rows")
        first, second = source_distances(metric, source, _PAIRS, batch_size)
        credits = evaluate.clic_credits(keys, first, second, labels)
        samples = evaluate.bootstrap_samples(np.mean, [credits], resamples, seed)
        score = Score(float(credits.mean()), *evaluate.interval(samples))
        rows[name] = {"accuracy": score}
        done(table())
    return table()


def _readable_rows(oracle: clic.Oracle) -> tuple[clic.Oracle, int]:
    """The rows whose images can be read and have one size, and how many have not."""
    fits = _fits(oracle.paths, "CLIC 2021")
    rows = [row for row, fit in zip(oracle.rows, fits, strict=True) if fit]
    return oracle.only(rows), fits.count(False)


def _fits(several: Sequence[tuple[Path, ...]], name: str) -> list[bool]:
    """Of each tuple of files, whether all can be read and their images have one size.

    Raises:
      ValueError: of none.
    """
    shapes = readable.shapes((path for paths in several for path in paths), name)
    there = [all(path in shapes for path in paths) for paths in several]
    unequal = {
        ", ".join(path.name for path in paths): "the images must have one size"
        for paths, whole in zip(several, there, strict=True)
        if whole and len({shapes[path] for path in paths}) > 1
    }
    readable.report(name, unequal, len(several))
    fits = [
        whole and len({shapes[path] for path in paths}) == 1
        for paths, whole in zip(several, there, strict=True)
    ]
    if not any(fits):
        raise ValueError(f"{name}: none of {len(several)} comparisons can be used")
    return fits


def clic_oracle(oracle: str | Path, images: str | Path) -> clic.Oracle:
    """The rows of an oracle file with the images of a folder."""
    return clic.Oracle(clic.read_oracle(oracle), images)


class _Shifted:
    """Triplets whose two versions are shifted against the reference by some pixels."""

    def __init__(self, source: Source, shift: int, largest: int):
        self._source, self._shift, self._largest = source, shift, largest

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Example:
        """Cropped to one width for all shifts, so that no padding appears."""
        example = self._source[index]
        width = example["reference"].shape[1] - self._largest
        moved = slice(self._shift, self._shift + width)
        return {
            "reference": example["reference"][:, :width],
            "image_0": example["image_0"][:, moved],
            "image_1": example["image_1"][:, moved],
        }


def flips_table(
    metrics: Mapping[str, Metric | Kept],
    sources: Mapping[str, Source],
    shift: int,
    *,
    batch_size: int = 16,
    resamples: int = 1000,
    seed: int = 0,
    limit: int = 0,
    progress: Progress = _quiet,
    done: Done = _unseen,
) -> Table:
    """BAPPS 2AFC triplets whose preference a horizontal shift changes.

    Both versions are shifted by `shift` pixels against the reference (Ghildyal & Liu
    2022). Other arguments as for `two_afc_table`.
    """
    chosen = examined(sources, limit, progress)
    rows: dict[str, dict[str, Score]] = {}

    def table() -> Table:
        return Table(
            f"BAPPS 2AFC, preferences changed by a shift of {shift} px",
            dict.fromkeys([*chosen, "mean"], "%"),
            dict(rows),
            (*_size_notes(chosen, limit), _mean_note(chosen, TWO_AFC_VALIDATION)),
        )

    for metric_name, metric in metrics.items():
        flips = {}
        for name, source in chosen.items():
            progress(f"{metric_name}: 2AFC {name}, shifted by {shift} px")
            before, after = (
                source_distances(metric, _Shifted(source, n, shift), _PAIRS, batch_size)
                for n in (0, shift)
            )
            flips[name] = [evaluate.rank_flips(*before, *after)]
        rows[metric_name] = _with_mean(np.mean, flips, resamples, seed)
        done(table())
    return table()


def with_clic(two_afc: Table, clic_scores: Table) -> Table:
    """One table of BAPPS 2AFC and CLIC accuracy, metrics down, as papers print it."""
    rows = {
        name: {**scores, "CLIC": clic_scores.rows[name]["accuracy"]}
        if name in clic_scores.rows
        else scores
        for name, scores in two_afc.rows.items()
    }
    return Table(
        f"{two_afc.title} and {clic_scores.title}",
        {**two_afc.columns, "CLIC": "%"},
        rows,
        (*two_afc.notes, *clic_scores.notes),
    )


def _of_versions(
    metric: Metric | Kept, versions: Versions, rows: list[Comparison], batch_size: int
) -> np.ndarray:
    """Distances of a and of b from the reference of every comparison, (2, rows)."""
    (distance,) = source_distances(
        metric, versions, [("reference", "image")], batch_size
    )
    of = dict(zip(versions.pairs, distance, strict=True))
    pairs = [(of[row.reference, row.a], of[row.reference, row.b]) for row in rows]
    return np.array(pairs).T


def check_baseline(baseline: str, metrics: Iterable[str]) -> None:
    """ValueError unless the baseline is one of the metrics."""
    if baseline not in metrics:
        raise ValueError(
            f"the baseline {baseline!r} is not among the metrics {[*metrics]}"
        )


def comparisons_table(
    metrics: Mapping[str, Metric | Kept],
    rows: list[Comparison],
    folder: str | Path,
    baseline: str,
    *,
    batch_size: int = 1,
    resamples: int = 1000,
    seed: int = 0,
    progress: Progress = _quiet,
    done: Done = _unseen,
) -> Table:
    """Share of votes that agree with each metric, and the difference to a baseline.

    Intervals are bootstrapped over reference pictures: votes on one picture are not
    independent of each other. Metrics see the same resamples, so that the interval of a
    difference is much narrower than those of its two sides.

    Args:
      metrics: name -> metric.
      rows: comparisons with their votes.
      folder: that their file names start from.
      baseline: the name of one of the metrics.
      batch_size: images in one batch; pictures keep their size.
      resamples, seed, progress, done: as for `two_afc_table`.

    Raises:
      ValueError: `baseline` is not among the metrics, or NaN distances.
      FileNotFoundError: an image is missing.
    """
    check_baseline(baseline, metrics)
    rows, skipped = _readable_comparisons(rows, folder)
    versions = Versions(rows, folder)
    votes = _Votes.on(rows)
    best = votes.agreement(
        np.maximum(votes.for_b, votes.total - votes.for_b), resamples, seed
    )
    people = {
        RATERS: {"agreement": Score(evaluate.raters_agree(votes.for_b, votes.total))},
        LIMIT: {"agreement": best.score(votes)},
    }
    notes = (
        f"{int(votes.total.sum())} votes on {len(rows)} pairs of {votes.pictures} "
        "pictures; intervals: bootstrap over pictures.",
        f"{RATERS}: of the same pair, where it has two votes.",
        *readable.note({"pairs": skipped}),
    )
    found: dict[str, _Agreement] = {}

    def table() -> Table:
        return Table(
            "Votes on pairs of versions",
            {"agreement": "%", f"{DIFFERENCE}{baseline}": "%"},
            {**_agreement_rows(found, votes, baseline), **people},
            notes,
        )

    for name, metric in metrics.items():
        progress(f"{name}: {len(versions)} versions of {votes.pictures} pictures")
        a, b = _of_versions(metric, versions, rows, batch_size)
        agreeing = evaluate.agreeing_votes(a, b, votes.for_b, votes.total)
        found[name] = votes.agreement(agreeing, resamples, seed)
        done(table())
    return table()


def _agreement_rows(
    found: Mapping[str, "_Agreement"], votes: "_Votes", baseline: str
) -> dict[str, dict[str, Score]]:
    """Of each metric its agreement and, once it is known, the difference to a baseline."""
    rows = {name: {"agreement": of.score(votes)} for name, of in found.items()}
    if baseline in found:
        for name, of in found.items():
            difference = of.minus(found[baseline])
            rows[name][f"{DIFFERENCE}{baseline}"] = difference.score(votes)
    return rows


class _Votes(NamedTuple):
    """Votes on pairs of versions.

    Attributes:
      for_b, total: (rows,) of each pair.
      picture: (rows,) the number of the reference picture.
      pictures: how many of them there are.
    """

    for_b: np.ndarray
    total: np.ndarray
    picture: np.ndarray
    pictures: int

    @classmethod
    def on(cls, rows: Sequence[Comparison]) -> "_Votes":
        """The votes on these comparisons."""
        names, picture = np.unique([row.reference for row in rows], return_inverse=True)
        for_b, total = (
            np.array([getattr(row, key) for row in rows])
            for key in ("votes_b", "votes")
        )
        return cls(for_b, total, picture, len(names))

    def agreement(
        self, agreeing: np.ndarray, resamples: int, seed: int
    ) -> "_Agreement":
        """Of (rows,) votes that agree; the same seed gives the same resamples."""
        drawn = evaluate.bootstrap_samples(
            lambda hit, of: hit.sum() / of.sum(),
            [np.bincount(self.picture, values) for values in (agreeing, self.total)],
            resamples,
            seed,
        )
        return _Agreement(agreeing, drawn)


class _Agreement(NamedTuple):
    """Votes that agree, (rows,), and their share in each resample of the pictures."""

    agreeing: np.ndarray
    drawn: np.ndarray

    def minus(self, other: "_Agreement") -> "_Agreement":
        """The difference, on the same resamples."""
        return _Agreement(self.agreeing - other.agreeing, self.drawn - other.drawn)

    def score(self, votes: _Votes) -> Score:
        """The share among all votes, with its interval."""
        share = float(self.agreeing.sum() / votes.total.sum())
        return Score(share, *evaluate.interval(self.drawn))


def _readable_comparisons(
    rows: list[Comparison], folder: str | Path
) -> tuple[list[Comparison], int]:
    """The rows whose images can be read and have one size, and how many have not."""
    versions = Versions(rows, folder)
    fits = _fits(versions.paths, f"images in {folder}")
    fit = dict(zip(versions.pairs, fits, strict=True))
    left = [
        row for row in rows if fit[row.reference, row.a] and fit[row.reference, row.b]
    ]
    if not left:
        raise ValueError(f"no comparison of versions in {folder} can be used")
    return left, len(rows) - len(left)
