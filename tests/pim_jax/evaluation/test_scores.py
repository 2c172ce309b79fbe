import numpy as np
import pytest
import scipy.stats

from pim_jax.evaluation import scores


def voc_average_precision(distances, same):
    """The published computation, step by step: sentinels, envelope, recall steps."""
    order = np.argsort(distances, kind="stable")
    true_positives = np.cumsum(same[order])
    false_positives = np.cumsum(1 - same[order])
    false_negatives = same.sum() - true_positives
    precision = true_positives / (true_positives + false_positives)
    recall = true_positives / (true_positives + false_negatives)
    recall = np.concatenate(([0.0], recall, [1.0]))
    precision = np.concatenate(([0.0], precision, [0.0]))
    for i in range(len(precision) - 1, 0, -1):
        precision[i - 1] = max(precision[i - 1], precision[i])
    steps = np.flatnonzero(recall[1:] != recall[:-1])
    return np.sum((recall[steps + 1] - recall[steps]) * precision[steps + 1])


def published_two_afc(d0, d1, judge):
    """The one-line formula of the published scorer."""
    return np.mean((d0 < d1) * (1 - judge) + (d1 < d0) * judge + (d0 == d1) * 0.5)


def test_two_afc_by_hand():
    # Right with 4 of 5 raters, right with 3 of 5, wrong with 5 of 5, tie.
    score = scores.two_afc([1, 2, 3, 4], [2, 1, 4, 4], [0.2, 0.6, 1.0, 1.0])
    assert score == pytest.approx((0.8 + 0.6 + 0.0 + 0.5) / 4)


def test_two_afc_equals_the_published_formula():
    rng = np.random.default_rng(0)
    d0, d1 = rng.integers(0, 6, (2, 500)).astype(float)  # with ties
    judge = rng.integers(0, 6, 500) / 5
    score = scores.two_afc(d0, d1, judge)
    assert score == pytest.approx(published_two_afc(d0, d1, judge))
    assert score <= scores.upper_limit(judge)


def test_human_score_and_upper_limit_by_hand():
    judge = [0.0, 0.2, 0.6]
    assert scores.human_score(judge) == pytest.approx((1 + 0.68 + 0.52) / 3)
    assert scores.upper_limit(judge) == pytest.approx((1 + 0.8 + 0.6) / 3)


def test_jnd_by_hand():
    # Sorted labels 1, 0, 1: precision 1, 1/2, 2/3; half of the recall each at 1 and 2/3.
    assert scores.jnd_average_precision([1, 2, 3], [1, 0, 1]) == pytest.approx(5 / 6)
    assert scores.jnd_average_precision([3, 1, 2], [0, 1, 1]) == pytest.approx(1)


def test_jnd_equals_the_published_formula_with_fractional_labels():
    rng = np.random.default_rng(0)
    for _ in range(20):
        same = rng.integers(0, 4, 300) / 3
        distances = rng.standard_normal(300) - same
        expected = voc_average_precision(distances, same)
        found = scores.jnd_average_precision(distances, same)
        assert found == pytest.approx(expected, abs=1e-12)


def test_jnd_distances_are_flattened():
    """The published script sorts (n, 1, 1, 1) along its last axis, which does nothing."""
    distances, same = np.array([3.0, 1.0, 2.0]), np.array([0.0, 1.0, 1.0])
    deep = distances.reshape(3, 1, 1, 1)
    assert scores.jnd_average_precision(deep, same) == 1.0
    assert scores.two_afc(deep, deep + 1, same[:, None]) == pytest.approx(1 / 3)


def test_ties_keep_their_order():
    same = np.array([1.0, 0.0] * 50)
    expected = voc_average_precision(np.zeros(100), same)
    assert scores.jnd_average_precision(np.zeros(100), same) == pytest.approx(expected)


def test_nan_and_other_bad_input_is_refused():
    nan = float("nan")
    with pytest.raises(ValueError, match="distance_1: 2 of 3 values are NaN"):
        scores.two_afc([1, 2, 3], [nan, nan, 1], [0, 0, 0])
    with pytest.raises(ValueError, match="distances: 1 of 2 values are NaN"):
        scores.jnd_average_precision([nan, 1], [0, 1])
    with pytest.raises(ValueError, match="1 of 2 values are NaN"):
        scores.retrieval_credits([[nan, 1.0]], [0])
    with pytest.raises(ValueError, match="judge: expected 2 values, found 3"):
        scores.two_afc([1, 2], [1, 2], [0, 0, 0])
    with pytest.raises(ValueError, match=r"judge must lie in \[0, 1\], found 0 to 5"):
        scores.human_score([0, 5])
    with pytest.raises(ValueError, match="at least one value"):
        scores.upper_limit([])
    with pytest.raises(ValueError, match="only zeros"):
        scores.jnd_average_precision([1, 2], [0, 0])
    # Infinite distances have an order.
    assert scores.two_afc([np.inf], [1.0], [1.0]) == 1.0


def test_bootstrap_equals_the_normal_interval_of_a_mean():
    values = np.random.default_rng(0).standard_normal(400)
    samples = scores.bootstrap_samples(np.mean, [values], 4000, seed=1)
    low, high = scores.interval(samples)
    error = 1.96 * values.std() / np.sqrt(400)
    assert low == pytest.approx(values.mean() - error, abs=0.1 * error)
    assert high == pytest.approx(values.mean() + error, abs=0.1 * error)
    again = scores.bootstrap_samples(np.mean, [values], 4000, seed=1)
    np.testing.assert_array_equal(samples, again)


def test_bootstrap_resamples_arrays_together():
    a = np.arange(50.0)
    samples = scores.bootstrap_samples(lambda x, y: np.mean(y - x), [a, a + 3], 20)
    np.testing.assert_allclose(samples, 3)
    one = scores.bootstrap_samples(np.mean, [np.array([2.0])], 5)
    assert scores.interval(one) == (2.0, 2.0)


def test_spearman():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 30))
    expected = scipy.stats.spearmanr(a, b).statistic
    assert scores.spearman(a, b) == pytest.approx(expected)
    assert scores.spearman([1, 2, 3], [1, 4, 9]) == pytest.approx(1)
    assert scores.spearman([1, 2, 3], [7, 7, 7]) == 0.0


def test_rank_flips_by_hand():
    flips = scores.rank_flips([1, 1, 1, 1], [2, 2, 1, 2], [3, 5, 1, 2], [4, 4, 2, 2])
    assert flips.tolist() == [False, True, True, True]  # the last two from and to a tie
    assert scores.rank_flip_rate([1, 1], [2, 2], [3, 5], [4, 4]) == 0.5
    infinite = scores.rank_flips([np.inf], [np.inf], [np.inf], [np.inf])
    assert not infinite.any()


def test_retrieval_by_hand():
    distances = [[1, 2, 3], [1, 2, 3], [0, 0, 5]]
    credits = scores.retrieval_credits(distances, [0, 1, 1])
    assert credits.tolist() == [1.0, 0.0, 0.5]
    assert scores.retrieval_accuracy(distances, [0, 1, 1]) == 0.5
    with pytest.raises(ValueError, match=r"targets must lie in \[0, 3\)"):
        scores.retrieval_accuracy(distances, [0, 1, 3])
    with pytest.raises(ValueError, match="one target per query"):
        scores.retrieval_accuracy(distances, [0, 1])


def test_clic_by_hand():
    keys = [("o", "a", "b"), ("o", "a", "c"), ("o", "a", "b"), ("p", "a", "b")]
    distance_a, distance_b = [2, 1, 2, 1], [1, 2, 1, 1]
    # The first key recurs and its last label, "0", counts: wrong. A tie answers "0".
    credits = scores.clic_credits(keys, distance_a, distance_b, ["1", "0", "0", "0"])
    assert credits.tolist() == [0.0, 1.0, 1.0]
    accuracy = scores.clic_accuracy(keys, distance_a, distance_b, ["1", "0", "1", "1"])
    assert accuracy == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match='"0" or "1"'):
        scores.clic_accuracy(keys[:1], [1], [2], ["2"])
    with pytest.raises(ValueError, match="expected 1 values, found 2"):
        scores.clic_accuracy(keys[:1], [1], [2], ["1", "0"])


def test_votes_that_agree():
    votes = scores.agreeing_votes([1, 2, 3], [2, 1, 3], [1, 1, 3], [4, 1, 4])
    assert votes.tolist() == [3, 1, 2]
    assert scores.raters_agree([2, 1], [2, 2]) == 0.5
    assert np.isnan(scores.raters_agree([1, 0], [1, 1]))
    with pytest.raises(ValueError, match="votes must be above 0"):
        scores.agreeing_votes([1], [2], [0], [0])
