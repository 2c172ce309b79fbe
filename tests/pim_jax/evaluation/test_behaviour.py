import jax
import numpy as np
import pytest
import skimage.data

from pim_jax.data.distortions import DISTORTIONS
from pim_jax.evaluation import behaviour, held_out
from pim_jax.metrics import METRICS
from pim_jax.pim.distance import untrained
from pim_jax.pim.model import ModelConfig

TINY = ModelConfig(filters=(3,), z_dim=2, mixtures=1, num_scales=1, steerable_order=0)
PHOTO = skimage.data.chelsea()


def frames(count, size=32, step=0):
    """Crops at different places; with a step the window moves, as in a video."""
    places = [(40 + 13 * i % 200, 30 + 29 * i % 300) for i in range(count)]
    return np.stack(
        [PHOTO[i : i + size, j + step : j + step + size] for i, j in places]
    )


def test_squared_error_ranks_by_strength():
    found = behaviour.strength_distances(METRICS["psnr"](), frames(3))
    assert set(found) == set(DISTORTIONS)
    for name, distortion in DISTORTIONS.items():
        assert found[name].shape == (3, len(distortion.strengths))
        correlations = behaviour._within(found[name], distortion.strengths)
        assert correlations.mean() > 0.9
    # One frame: pooled and within are the same.
    only = found["noise"][:1]
    strengths = DISTORTIONS["noise"].strengths
    assert behaviour._pooled(only, strengths) == behaviour._within(only, strengths)[0]


def test_a_constant_metric_never_flips_and_the_shift_is_real():
    metric = METRICS["psnr"]()
    constant = metric.replace(function=lambda p, a, b: 0 * a[:, 0, 0, 0])
    assert not behaviour.shift_flips(constant, frames(2), (1, 2)).any()
    # A metric that looks only at column 0 of image b sees column n after the shift.
    column = metric.replace(function=lambda p, a, b: b[:, :, 0].mean((1, 2)))
    flips = behaviour.shift_flips(column, frames(4), (1, 3), seed=2)
    assert flips.shape == (2, 4, 5)
    assert flips.any()


def test_retrieval_finds_the_identical_crop_and_leaves_out_the_query():
    x = frames(6)
    metric = METRICS["psnr"]()
    table = behaviour.retrieval_table(metric, x, x, 6)
    assert np.argmin(table, axis=1).tolist() == list(range(6))
    # Overlapping pairs: candidate i is query i + 1.
    y = np.roll(x, -1, axis=0)
    table = behaviour.retrieval_table(metric, x, y, 3)
    assert table.shape == (3, 6)
    assert np.isinf(table[[0, 1, 2], [5, 0, 1]]).all()
    assert np.isfinite(table).sum() == 15


def test_run_gives_three_tables_with_every_metric():
    x, y = frames(8), frames(8, step=2)
    pim = untrained(TINY, seed=3)
    params = held_out.initial_params(TINY, 3)
    metrics = {"psnr": METRICS["psnr"](), "pim": pim}
    settings = behaviour.Settings(frames=2, queries=4, others=5, resamples=20)
    steps = []
    tables = behaviour.run(
        metrics,
        x,
        y,
        {"pim": held_out.bound_of(params, TINY, 4)},
        settings,
        steps.append,
    )
    within, pooled, rest = tables
    for table in tables:
        assert list(table.rows) == list(metrics)
        for row in table.rows.values():
            for name, score in row.items():
                assert name in table.columns
                assert np.isfinite(score).all()
                assert score.low <= score.value + 1e-9 <= score.high + 2e-9
    assert within.rows["psnr"]["mean"].value > 0.9
    assert set(pooled.columns) == set(DISTORTIONS)
    assert set(rest.rows["pim"]) - set(rest.rows["psnr"]) == {
        "IXYZ, mean",
        "IXYZ, per_location",
    }
    assert "among 5 others; chance is 16.7 %" in " ".join(rest.notes)
    assert "pim: IXYZ of 8 pairs" in steps


def test_bad_frames_are_refused():
    metrics = {"psnr": METRICS["psnr"]()}
    with pytest.raises(ValueError, match="at least two pairs"):
        behaviour.run(metrics, frames(1), frames(1), {})
    with pytest.raises(ValueError, match="at least two pairs"):
        behaviour.run(metrics, frames(4), frames(3), {})


def test_held_out_ixyz_is_bounded_and_repeatable():
    x, y = frames(9), frames(9, step=1)
    params = held_out.initial_params(TINY, 0)
    values = held_out.held_out_ixyz(params, TINY, x, y, batch_size=4)
    # Two batches of four, one pair left out.
    assert {name: len(v) for name, v in values.items()} == {
        "mean": 8,
        "per_location": 8,
    }
    again = held_out.held_out_ixyz(params, TINY, x, y, batch_size=4)
    jax.tree.map(np.testing.assert_array_equal, values, again)
    # No log q exceeds its mode, log p(z|x,y) is on average z/2 below it, and log p_hat is
    # at most log K below log p(z|x,y).
    assert max(v.mean() for v in values.values()) < np.log(4) + TINY.z_dim
    equal = jax.tree.map(np.array_equal, params, held_out.initial_params(TINY, 0))
    assert all(jax.tree.leaves(equal))
