"""How a metric behaves on natural frames: a table that needs no human data.

- Does distance grow with the strength of a distortion? (rank correlation)
- Does a shift of 1 to 3 pixels change which of two images is closer? (rank flips, after
  Ghildyal & Liu 2022, https://arxiv.org/abs/2207.13686)
- Is the next frame of a video the nearest among others? (retrieval)
- How much of what two frames share does the representation hold? (IXYZ bound, only for
  weights that come with a joint encoder)
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from pim_jax.data.distortions import DISTORTIONS
from pim_jax.evaluation import scores as evaluate
from pim_jax.evaluation.distances import pair_distances
from pim_jax.evaluation.kept import Kept
from pim_jax.evaluation.tables import Score, Table
from pim_jax.metric import Metric

# Pairs (x, y) of frames, uint8 (n, h, w, 3) each, to the bound of each pair in nats, with
# each of the objective's reductions.
Bound = Callable[[np.ndarray, np.ndarray], Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
      frames: frames that are distorted and shifted.
      shifts: in pixels.
      queries: frames whose next frame is searched.
      others: wrong candidates for each query.
      batch_size: images in one call of a compiled function.
      resamples: bootstrap resamples for the intervals.
      seed: of distortions, of the choice of triplets, and of the bootstrap.
    """

    frames: int = 32
    shifts: tuple[int, ...] = (1, 2, 3)
    queries: int = 101
    others: int = 100
    batch_size: int = 16
    resamples: int = 1000
    seed: int = 0


def strength_distances(
    metric: Metric | Kept, frames: np.ndarray, batch_size: int = 16, seed: int = 0
) -> dict[str, np.ndarray]:
    """Distances between frames and their distorted versions.

    Args:
      metric: the metric.
      frames: (n, h, w, 3) uint8.
      batch_size: images in one call of a compiled function.
      seed: frame i is distorted with seed + i.

    Returns: for each of `DISTORTIONS`, (n, strengths) float64.
    """
    table = np.empty((len(frames), sum(len(d.strengths) for d in DISTORTIONS.values())))
    for i, frame in enumerate(frames):
        versions = [
            distortion.apply(frame, strength, seed + i)
            for distortion in DISTORTIONS.values()
            for strength in distortion.strengths
        ]
        pairs = np.array([(0, k + 1) for k in range(len(versions))])
        table[i] = pair_distances(
            metric, np.stack([frame, *versions]), pairs, batch_size
        )
    ends = np.cumsum([len(d.strengths) for d in DISTORTIONS.values()])[:-1]
    return dict(zip(DISTORTIONS, np.split(table, ends, axis=1), strict=True))


def _within(distances: np.ndarray, strengths: tuple[float, ...]) -> np.ndarray:
    """The rank correlation within each frame, (n,)."""
    return np.array([evaluate.spearman([*strengths], row) for row in distances])


def _pooled(distances: np.ndarray, strengths: tuple[float, ...]) -> float:
    """The rank correlation over all frames and strengths together."""
    return evaluate.spearman(np.tile(strengths, len(distances)), distances)


def shift_flips(
    metric: Metric | Kept,
    frames: np.ndarray,
    shifts: tuple[int, ...] = (1, 2, 3),
    batch_size: int = 16,
    seed: int = 0,
) -> np.ndarray:
    """Whether a horizontal shift of the distorted images changes a preference.

    A triplet is a frame and two different distortions of it at the same step of strength,
    one triplet per frame and step. Both distorted images are shifted by n pixels against
    the frame; all images are cropped to the same width, so that no padding appears.

    Args:
      metric: the metric.
      frames: (n, h, w, 3) uint8, wide enough to lose max(shifts) columns.
      shifts: in pixels, all above 0.
      batch_size: images in one call of a compiled function.
      seed: of the distortions and of which two are compared.

    Returns: (shifts, n, steps) bool.
    """
    steps = min(len(d.strengths) for d in DISTORTIONS.values())
    width = frames.shape[2] - max(shifts)
    offsets = (0, *shifts)
    flips = np.empty((len(shifts), len(frames), steps), bool)
    for i, frame in enumerate(frames):
        generator = np.random.default_rng([seed, i])
        versions = []
        for step in range(steps):
            for name in generator.choice(list(DISTORTIONS), size=2, replace=False):
                distortion = DISTORTIONS[name]
                versions.append(
                    distortion.apply(frame, distortion.strengths[step], seed + i)
                )
        shifted = [v[:, n : n + width] for n in offsets for v in versions]
        pixels = np.stack([frame[:, :width], *shifted])
        pairs = np.array([(0, k + 1) for k in range(len(shifted))])
        distance = pair_distances(metric, pixels, pairs, batch_size)
        first, second = np.moveaxis(distance.reshape(len(offsets), steps, 2), 2, 0)
        for k in range(len(shifts)):
            flips[k, i] = evaluate.rank_flips(
                first[0], second[0], first[k + 1], second[k + 1]
            )
    return flips


def retrieval_table(
    metric: Metric | Kept,
    x: np.ndarray,
    y: np.ndarray,
    queries: int,
    batch_size: int = 16,
) -> np.ndarray:
    """Distances from the first frames of pairs to all second frames.

    The target of query i is candidate i. A wrong candidate that is the very same picture
    as the query (the pairs of one video overlap) is put at infinite distance.

    Args:
      metric: the metric.
      x, y: (m, h, w, 3) uint8.
      queries: how many of the m are searched; the first ones.
      batch_size: images, or pairs, in one call of a compiled function.

    Returns: (queries, m) float64.
    """
    rows, columns = np.indices((queries, len(y)))
    pairs = np.stack([rows.ravel(), queries + columns.ravel()], axis=1)
    pixels = np.concatenate([x[:queries], y])
    table = pair_distances(metric, pixels, pairs, batch_size).reshape(queries, len(y))
    for i in range(queries):
        same = (y == x[i]).all(axis=(1, 2, 3))
        same[i] = False
        table[i, same] = np.inf
    return table


def _mean_score(values: np.ndarray, settings: Settings) -> Score:
    """The mean over the first axis and its bootstrap interval."""
    per_item = values.reshape(len(values), -1).mean(axis=1)
    samples = evaluate.bootstrap_samples(
        np.mean, [per_item], settings.resamples, settings.seed
    )
    return Score(float(per_item.mean()), *evaluate.interval(samples))


def _correlations(
    metric: Metric | Kept, frames: np.ndarray, settings: Settings
) -> tuple[dict[str, Score], dict[str, Score]]:
    """Rank correlations with strength: within frames, and pooled over frames."""
    distances = strength_distances(metric, frames, settings.batch_size, settings.seed)
    within, pooled = {}, {}
    for name, distortion in DISTORTIONS.items():
        within[name] = _within(distances[name], distortion.strengths)
        samples = evaluate.bootstrap_samples(
            lambda d, s=distortion.strengths: _pooled(d, s),
            [distances[name]],
            settings.resamples,
            settings.seed,
        )
        value = _pooled(distances[name], distortion.strengths)
        pooled[name] = Score(value, *evaluate.interval(samples))
    scores = {name: _mean_score(v, settings) for name, v in within.items()}
    scores["mean"] = _mean_score(np.stack(list(within.values()), axis=1), settings)
    return scores, pooled


def run(
    metrics: Mapping[str, Metric | Kept],
    x: np.ndarray,
    y: np.ndarray,
    bounds: Mapping[str, Bound],
    settings: Settings = Settings(),
    progress: Callable[[str], None] = lambda text: None,
    done: Callable[[list[Table]], None] = lambda tables: None,
) -> list[Table]:
    """The behaviour tables of several metrics.

    Args:
      metrics: name -> metric.
      x, y: pairs of frames close in time that the metrics have not been trained on, uint8
        (n, h, w, 3) each.
      bounds: name -> IXYZ of each pair, for those of the metrics that have one.
      settings: how much is measured.
      progress: called with a line of text before each step.
      done: called after each metric with the tables so far.

    Returns: three tables: correlation within frames, correlation pooled over frames, and
      the rest. Intervals are bootstrapped over frames.

    Raises:
      ValueError: fewer than two pairs, shapes that differ, or NaN distances.
    """
    _check_pairs(x, y)
    frames = x[: settings.frames]
    candidates = min(settings.others + 1, len(y))
    within: dict[str, dict[str, Score]] = {}
    pooled: dict[str, dict[str, Score]] = {}
    rest: dict[str, dict[str, Score]] = {}

    def tables() -> list[Table]:
        size = f"{len(frames)} frames of {x.shape[1]}x{x.shape[2]}"
        return _tables(within, pooled, rest, size, settings, candidates, bounds)

    for name, metric in metrics.items():
        progress(f"{name}: {len(frames)} frames, distortions")
        within[name], pooled[name] = _correlations(metric, frames, settings)
        progress(f"{name}: {len(frames)} frames, shifts")
        rest[name] = _flip_rates(metric, frames, settings)
        progress(f"{name}: retrieval among {candidates} next frames")
        rest[name]["retrieval"] = _retrieval(
            metric, x[:candidates], y[:candidates], settings
        )
        if name in bounds:
            progress(f"{name}: IXYZ of {len(x)} pairs")
            rest[name] |= _bound_scores(bounds[name](x, y), settings)
        done(tables())
    return tables()


def _check_pairs(x: np.ndarray, y: np.ndarray) -> None:
    if x.shape != y.shape or x.ndim != 4 or len(x) < 2:
        raise ValueError(
            "expected at least two pairs of frames (n, h, w, 3), found "
            f"{x.shape} and {y.shape}"
        )


def _tables(
    within: Mapping[str, Mapping[str, Score]],
    pooled: Mapping[str, Mapping[str, Score]],
    rest: Mapping[str, Mapping[str, Score]],
    size: str,
    settings: Settings,
    candidates: int,
    bounds: Mapping[str, Bound],
) -> list[Table]:
    """The three tables of `run`; `size` says how many frames of what size there are."""
    measures = dict.fromkeys(DISTORTIONS, "")
    units = {_flip_name(n): "%" for n in settings.shifts} | {"retrieval": "%"}
    measured = dict.fromkeys(measure for row in rest.values() for measure in row)
    units |= {name: "nats" for name in measured if name not in units}
    return [
        Table(
            f"Rank correlation of distance with strength, {size}",
            measures | {"mean": ""},
            dict(within),
            ("Spearman's, within each frame, averaged over frames; 1 is best.",),
        ),
        Table(
            f"The same, pooled over frames, {size}",
            measures,
            dict(pooled),
            (
                "High only where distances are comparable between frames; since frames "
                "share strengths, the ties keep it just below 1.",
            ),
        ),
        Table(
            f"Shifts, retrieval and bound, {size}",
            units,
            dict(rest),
            _rest_notes(candidates, bounds),
        ),
    ]


def _flip_name(shift: int) -> str:
    return f"flips, {shift} px"


def _bound_name(reduction: str) -> str:
    return f"IXYZ, {reduction}"


def _bound_scores(
    bounds: Mapping[str, np.ndarray], settings: Settings
) -> dict[str, Score]:
    """The mean IXYZ by each reduction."""
    return {
        _bound_name(reduction): _mean_score(values, settings)
        for reduction, values in bounds.items()
    }


def _flip_rates(
    metric: Metric | Kept, frames: np.ndarray, settings: Settings
) -> dict[str, Score]:
    """Rank-flip rate at each shift; frames, not triplets, are resampled."""
    flips = shift_flips(
        metric, frames, settings.shifts, settings.batch_size, settings.seed
    )
    return {
        _flip_name(n): _mean_score(flip, settings)
        for n, flip in zip(settings.shifts, flips, strict=True)
    }


def _retrieval(
    metric: Metric | Kept, x: np.ndarray, y: np.ndarray, settings: Settings
) -> Score:
    """Share of queries whose next frame is the nearest."""
    queries = min(settings.queries, len(x))
    table = retrieval_table(metric, x, y, queries, settings.batch_size)
    credits = evaluate.retrieval_credits(table, np.arange(queries))
    return _mean_score(credits, settings)


def _rest_notes(candidates: int, bounds: Mapping[str, Bound]) -> tuple[str, ...]:
    notes = (
        "flips: preferences that a shift of so many pixels changes; 0 is best.",
        f"retrieval: the next frame is nearest among {candidates - 1} others; chance is "
        f"{100 / candidates:.1f} %.",
    )
    if not bounds:
        return notes
    return (
        *notes,
        "IXYZ: bound on what both frames and z share, by the objective's reductions; "
        "higher is better.",
    )
