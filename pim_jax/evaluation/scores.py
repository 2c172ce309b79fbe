"""How well distances agree with people: pure functions of scores, in NumPy.

Nothing here knows a metric, an image or a file. Protocols: BAPPS, two-alternative forced
choice (2AFC) and just-noticeable differences (JND): Zhang, Isola, Efros, Shechtman & Wang
2018, https://arxiv.org/abs/1801.03924, and its published scripts; CLIC 2021 perceptual
task; rank flips: Ghildyal & Liu 2022 (ST-LPIPS), https://arxiv.org/abs/2207.13686.

Distances may have any shape with one value per item, such as (n, 1, 1, 1): they are
flattened first. (The published JND script does not do this; on such input it sorts along
an axis of length one, and its score becomes the label of the first pair.)
"""

from collections.abc import Callable, Hashable, Sequence

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike

Statistic = Callable[..., float]


def flat_distances(
    distances: ArrayLike, name: str = "distances", count: int | None = None
) -> np.ndarray:
    """Distances as a flat float64 array.

    Args:
      distances: any shape with one value per item.
      name: what to call them in an error.
      count: how many there must be, if known.

    Raises:
      ValueError: none, a wrong number, or NaN among them. A NaN compares false with
        everything, so it would silently count as a wrong answer.
    """
    flat = np.asarray(distances, np.float64).reshape(-1)
    if not flat.size:
        raise ValueError(f"{name}: expected at least one value, found none")
    if count is not None and flat.size != count:
        raise ValueError(f"{name}: expected {count} values, found {flat.size}")
    missing = int(np.isnan(flat).sum())
    if missing:
        raise ValueError(f"{name}: {missing} of {flat.size} values are NaN")
    return flat


def _flat_shares(shares: ArrayLike, name: str, count: int | None = None) -> np.ndarray:
    """Fractions of raters as a flat float64 array; ValueError outside [0, 1]."""
    flat = flat_distances(shares, name, count)
    if flat.min() < 0 or flat.max() > 1:
        raise ValueError(
            f"{name} must lie in [0, 1], found {flat.min():g} to {flat.max():g}"
        )
    return flat


def two_afc_credits(
    distance_0: ArrayLike, distance_1: ArrayLike, judge: ArrayLike
) -> np.ndarray:
    """Share of raters who agree with the metric, for each triplet.

    1 - judge where image 0 is closer to the reference, judge where image 1 is, and 0.5
    for equal distances. Labels are not rounded to a majority.

    Args:
      distance_0, distance_1: distances of image 0 and of image 1 from the reference, n
        values each.
      judge: share of raters who preferred image 1, n values in [0, 1].

    Returns: (n,) float64 in [0, 1].

    Raises:
      ValueError: different counts, NaN, or labels outside [0, 1].
    """
    first = flat_distances(distance_0, "distance_0")
    second = flat_distances(distance_1, "distance_1", first.size)
    share = _flat_shares(judge, "judge", first.size)
    return np.select([first < second, second < first], [1.0 - share, share], 0.5)


def two_afc(distance_0: ArrayLike, distance_1: ArrayLike, judge: ArrayLike) -> float:
    """The 2AFC score of one subset, in [0, 1]: the mean of `two_afc_credits`."""
    return float(two_afc_credits(distance_0, distance_1, judge).mean())


def human_score(judge: ArrayLike) -> float:
    """Expected 2AFC score of a rater who votes as the recorded raters did.

    The mean of p^2 + (1 - p)^2. With five votes per triplet it is biased upwards: the
    rater's own vote is among them.
    """
    share = _flat_shares(judge, "judge")
    return float(np.mean(share**2 + (1 - share) ** 2))


def upper_limit(judge: ArrayLike) -> float:
    """The best 2AFC score any metric can reach: the mean of max(p, 1 - p)."""
    share = _flat_shares(judge, "judge")
    return float(np.mean(np.maximum(share, 1 - share)))


def agreeing_votes(
    distance_a: ArrayLike, distance_b: ArrayLike, votes_b: ArrayLike, votes: ArrayLike
) -> np.ndarray:
    """How many raters agree with the metric, for each comparison of two images.

    Args:
      distance_a, distance_b: distances of a and of b from the reference, n values each.
      votes_b: raters who found b closer, n numbers.
      votes: raters in all, n numbers.

    Returns: (n,) float64; half of the votes for equal distances.

    Raises:
      ValueError: different counts, NaN, or more votes for b than votes.
    """
    all_votes = flat_distances(votes, "votes")
    for_b = flat_distances(votes_b, "votes_b", all_votes.size)
    if all_votes.min() <= 0:
        raise ValueError(f"votes must be above 0, found {all_votes.min():g}")
    return all_votes * two_afc_credits(distance_a, distance_b, for_b / all_votes)


def raters_agree(votes_b: ArrayLike, votes: ArrayLike) -> float:
    """Chance that two different raters of one comparison agree, in [0, 1].

    Over all pairs of raters of the same comparison; unlike `human_score` not biased
    upwards by comparing raters with themselves. NaN where no comparison has two votes.
    """
    all_votes = flat_distances(votes, "votes")
    for_b = flat_distances(votes_b, "votes_b", all_votes.size)
    for_a = all_votes - for_b
    pairs = np.sum(all_votes * (all_votes - 1))
    agree = np.sum(for_b * (for_b - 1) + for_a * (for_a - 1))
    return float(agree / pairs) if pairs else float("nan")


def jnd_average_precision(distances: ArrayLike, same: ArrayLike) -> float:
    """Average precision of "small distance means indistinguishable", in [0, 1].

    Pairs are sorted by distance (stable). With fractional labels TP = cumsum(same), FP =
    cumsum(1 - same), precision = TP / (TP + FP), recall = TP / sum(same); the area is
    VOC's with all points: the sum of recall steps times the largest precision at that
    recall or beyond.

    Args:
      distances: n distances.
      same: share of raters who took the two images for identical, n values in [0, 1].

    Raises:
      ValueError: different counts, NaN, labels outside [0, 1] or all of them 0, for which
        recall is not defined.
    """
    flat = flat_distances(distances)
    share = _flat_shares(same, "same", flat.size)
    if not share.sum() > 0:
        raise ValueError("same: recall needs a label above 0, found only zeros")
    share = share[np.argsort(flat, kind="stable")]
    true_positives = np.cumsum(share)
    # TP + FP is the number of pairs so far: every pair adds same + (1 - same).
    precision = true_positives / np.arange(1, share.size + 1)
    recall_steps = share / share.sum()
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(recall_steps * envelope))


def bootstrap_samples(
    statistic: Statistic,
    arrays: Sequence[ArrayLike],
    resamples: int = 1000,
    seed: int = 0,
) -> np.ndarray:
    """The statistic on `resamples` data sets drawn with replacement, (resamples,).

    The arrays are resampled together along their first axis. The draws depend only on
    seed and length, so two metrics scored on the same items see the same resamples and
    their difference can be bootstrapped too. Samples of several subsets (different seeds)
    may be averaged: that is the stratified bootstrap of the mean over subsets.
    `scipy.stats.bootstrap` offers neither, and refuses single items.

    Args:
      statistic: called with the resampled arrays.
      arrays: arrays of one length.
      resamples: how many, at least 1.
      seed: of NumPy's generator.
    """
    columns = [np.asarray(array) for array in arrays]
    generator = np.random.default_rng(seed)
    count = len(columns[0])
    values = np.empty(resamples)
    for i in range(resamples):
        chosen = generator.integers(count, size=count)
        values[i] = statistic(*(column[chosen] for column in columns))
    return values


def interval(samples: ArrayLike, confidence: float = 0.95) -> tuple[float, float]:
    """The central percentile interval of bootstrap samples; NaN samples are left out."""
    tail = 50 * (1 - confidence)
    low, high = np.nanpercentile(np.asarray(samples), [tail, 100 - tail])
    return float(low), float(high)


def spearman(strength: ArrayLike, distances: ArrayLike) -> float:
    """Spearman's rank correlation in [-1, 1]; 0 where one of the two is constant.

    A metric that sees no difference at all has no rank order: SciPy answers NaN, here it
    counts as no correlation.
    """
    first = flat_distances(strength, "strength")
    second = flat_distances(distances, "distances", first.size)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(scipy.stats.spearmanr(first, second).statistic)


def rank_flips(
    distance_0: ArrayLike,
    distance_1: ArrayLike,
    shifted_0: ArrayLike,
    shifted_1: ArrayLike,
) -> np.ndarray:
    """Whether a shift changes which of two images is closer, (n,) bool.

    A preference is the sign of distance_1 - distance_0, so that going to or from a tie is
    a change.
    """
    before_0 = flat_distances(distance_0, "distance_0")
    count = before_0.size
    before_1 = flat_distances(distance_1, "distance_1", count)
    after_0 = flat_distances(shifted_0, "shifted_0", count)
    after_1 = flat_distances(shifted_1, "shifted_1", count)
    # Compared rather than subtracted: two infinite distances are a tie.
    before = np.greater(before_1, before_0) * 1 - np.less(before_1, before_0) * 1
    after = np.greater(after_1, after_0) * 1 - np.less(after_1, after_0) * 1
    return before != after


def rank_flip_rate(
    distance_0: ArrayLike,
    distance_1: ArrayLike,
    shifted_0: ArrayLike,
    shifted_1: ArrayLike,
) -> float:
    """The share of triplets whose preference a shift changes, in [0, 1]."""
    return float(rank_flips(distance_0, distance_1, shifted_0, shifted_1).mean())


def retrieval_credits(distances: ArrayLike, targets: ArrayLike) -> np.ndarray:
    """Whether each query's nearest candidate is its target, (queries,) in [0, 1].

    Candidates that tie for nearest share the credit.

    Args:
      distances: (queries, candidates).
      targets: (queries,) integer index of the right candidate.

    Raises:
      ValueError: not two-dimensional, counts differ, NaN, or an index out of range.
    """
    table = np.asarray(distances, np.float64)
    index = np.asarray(targets).reshape(-1)
    if table.ndim != 2 or len(index) != len(table):
        raise ValueError(
            "expected distances (queries, candidates) and one target per query, found "
            f"{table.shape} and {index.shape}"
        )
    flat_distances(table)
    if index.min() < 0 or index.max() >= table.shape[1]:
        raise ValueError(
            f"targets must lie in [0, {table.shape[1]}), found {index.min()} to "
            f"{index.max()}"
        )
    nearest = table == table.min(axis=1, keepdims=True)
    hit = nearest[np.arange(len(table)), index]
    return hit / nearest.sum(axis=1)


def retrieval_accuracy(distances: ArrayLike, targets: ArrayLike) -> float:
    """The share of queries whose target is nearest: the mean of `retrieval_credits`."""
    return float(retrieval_credits(distances, targets).mean())


def clic_credits(
    keys: Sequence[Hashable],
    distance_a: ArrayLike,
    distance_b: ArrayLike,
    labels: Sequence[str] | np.ndarray,
) -> np.ndarray:
    """Whether the metric agrees with the oracle, for each distinct triplet of CLIC 2021.

    As in the published scorer, labels are compared as strings, and of equal keys only the
    last counts. The answer is "1" where B is strictly closer, otherwise "0".

    Args:
      keys: n triplets, for example (original, a, b) file names.
      distance_a, distance_b: n distances of A and B from the original.
      labels: n strings, "0" where the rater preferred A, "1" for B.

    Returns: (distinct triplets,) float64 of 0 and 1.

    Raises:
      ValueError: counts differ, NaN, or another label.
    """
    first = flat_distances(distance_a, "distance_a", len(keys))
    second = flat_distances(distance_b, "distance_b", len(keys))
    answers = [str(label).strip() for label in labels]
    if len(answers) != len(keys):
        raise ValueError(f"labels: expected {len(keys)} values, found {len(answers)}")
    unknown = sorted(set(answers) - {"0", "1"})
    if unknown:
        raise ValueError(f'labels must be "0" or "1", found {unknown[:3]}')
    last = {key: i for i, key in enumerate(keys)}
    chosen = np.fromiter(last.values(), int)
    predicted = (second < first)[chosen]
    return (predicted == (np.asarray(answers) == "1")[chosen]).astype(np.float64)


def clic_accuracy(
    keys: Sequence[Hashable],
    distance_a: ArrayLike,
    distance_b: ArrayLike,
    labels: Sequence[str] | np.ndarray,
) -> float:
    """The CLIC 2021 accuracy in [0, 1]: the mean of `clic_credits`."""
    return float(clic_credits(keys, distance_a, distance_b, labels).mean())
