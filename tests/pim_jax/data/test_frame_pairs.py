import itertools
import threading

import numpy as np
import pytest

from pim_jax.data.frame_pairs import (
    Augmentation,
    batches,
    validation_pairs,
    whole_frames,
)
from pim_jax.data.frame_runs import Extent, FrameRuns

PLAIN = Augmentation(flip=False)


def coded_runs(lengths, size=(40, 50), clip_of=lambda run: f"clip{run}"):
    """Runs whose pixels say where they are from: (row, column, 8 * run + frame)."""
    rows, columns = np.indices(size, np.uint8)

    def read(run, first, number):
        frames = [
            np.stack([rows, columns, np.full_like(rows, 8 * run + frame)], -1)
            for frame in range(first, first + number)
        ]
        return np.stack(frames)

    extents = [
        Extent(clip_of(run), *size, [frame / 10 for frame in range(length)])
        for run, length in enumerate(lengths)
    ]
    return FrameRuns(extents, read)


def take(n, runs, **options):
    found = batches(runs, **{"crop": 16, "batch_size": 6, "seed": 0, **options})
    taken = list(itertools.islice(found, n))
    found.close()
    return taken


def assert_same(a, b):
    for one, two in zip(a, b, strict=True):
        np.testing.assert_array_equal(one["x"], two["x"])
        np.testing.assert_array_equal(one["y"], two["y"])


def test_batches_are_crops_of_neighbouring_frames_at_the_same_place():
    for batch in take(20, coded_runs([4, 2, 8])):
        x, y = batch["x"], batch["y"]
        assert x.shape == y.shape == (6, 16, 16, 3)
        assert x.dtype == y.dtype == np.uint8
        np.testing.assert_array_equal(x[..., :2], y[..., :2])
        np.testing.assert_array_equal(x[..., 2] + 1, y[..., 2])
        np.testing.assert_array_equal(x[:, 1:, :, 0], x[:, :-1, :, 0] + 1)


def test_crops_cover_the_frame_and_are_flipped_half_of_the_time():
    x = np.concatenate([batch["x"] for batch in take(200, coded_runs([8, 8]))])
    flipped = x[:, 0, 0, 1] > x[:, 0, 1, 1]
    assert 0.45 < flipped.mean() < 0.55
    assert set(x[:, 0, 0, 0]) == set(range(40 - 16 + 1))
    assert set(x[:, 0, :, 1].min(1)) == set(range(50 - 16 + 1))
    unflipped = take(9, coded_runs([8, 8]), augmentation=PLAIN)
    assert all(
        (batch["x"][:, 0, 0, 1] < batch["x"][:, 0, 1, 1]).all() for batch in unflipped
    )


def test_every_epoch_visits_all_pairs_in_another_order():
    runs = coded_runs([4, 4, 8, 3])  # 15 pairs
    taken = take(9, runs, batch_size=5)
    order = np.concatenate([batch["x"][:, 0, 0, 2] for batch in taken]).reshape(3, 15)
    everything = {8 * r + f for r, n in enumerate([4, 4, 8, 3]) for f in range(n - 1)}
    assert all(set(epoch) == everything for epoch in order)
    assert len({tuple(epoch) for epoch in order}) == 3


def test_batch_depends_on_seed_and_step_only():
    runs = coded_runs([4, 4, 8, 3])
    taken = take(12, runs)
    assert_same(taken, take(12, runs))
    for start in (1, 5, 11):
        assert_same(taken[start:], take(12 - start, runs, start_step=start))
    other = take(12, runs, seed=1)
    assert all((a["x"] != b["x"]).any() for a, b in zip(taken, other, strict=True))


@pytest.mark.parametrize("process_count", [2, 3])
def test_processes_share_the_global_batch(process_count):
    runs = coded_runs([4, 4, 8, 3])
    shares = [
        take(5, runs, process_index=index, process_count=process_count)
        for index in range(process_count)
    ]
    joined = [
        {name: np.concatenate([share[name] for share in step]) for name in "xy"}
        for step in zip(*shares, strict=True)
    ]
    assert_same(joined, take(5, runs))


def test_fewer_pairs_than_rows_recur_with_other_crops():
    (batch,) = take(1, coded_runs([3]), batch_size=32)
    assert sorted(np.bincount(batch["x"][:, 0, 0, 2])) == [16, 16]
    assert len(np.unique(batch["x"][:, 0, 0, :2], axis=0)) > 20


def test_threads_end_with_the_iterator():
    found = batches(coded_runs([8]), crop=16, batch_size=2, seed=0)
    next(found)
    assert any("batches" in thread.name for thread in threading.enumerate())
    found.close()
    assert not any("batches" in thread.name for thread in threading.enumerate())


def test_jitter_moves_each_frame_a_little():
    how = Augmentation(flip=False, jitter_px=2)
    shifts = []
    for batch in take(60, coded_runs([8, 8]), augmentation=how):
        x, y = (batch[name][:, 0, 0, :2].astype(int) for name in "xy")
        shifts.append(x - y)
    shifts = np.concatenate(shifts)
    assert np.abs(shifts).max() == 4  # two for each frame
    assert np.abs(shifts.mean()) < 0.3


def test_brightness_multiplies_each_frame():
    how = Augmentation(flip=False, brightness=0.2)
    plain = take(20, coded_runs([8, 8]), augmentation=PLAIN)
    varied = take(20, coded_runs([8, 8]), augmentation=how)
    factors = np.array(
        [
            [b[name].mean((1, 2, 3)) / a[name].mean((1, 2, 3)) for name in "xy"]
            for a, b in zip(plain, varied, strict=True)
        ]
    )
    assert factors.min() > 0.78
    assert factors.max() < 1.22
    assert np.ptp(factors) > 0.3
    assert np.abs(factors[:, 0] - factors[:, 1]).max() > 0.1


def test_scale_resizes_the_window():
    how = Augmentation(flip=False, scale=(0.5, 2.0))
    extents = []
    for batch in take(60, coded_runs([8, 8]), augmentation=how):
        assert batch["x"].shape == (6, 16, 16, 3)
        np.testing.assert_array_equal(batch["x"][..., :2], batch["y"][..., :2])
        extents.append(np.ptp(batch["x"][..., 0].astype(int), axis=(1, 2)))
    extents = np.concatenate(extents)
    assert extents.min() < 11
    assert extents.max() > 26


@pytest.mark.parametrize(
    "options",
    [
        {"scale": (0.0, 1.0)},
        {"scale": (2.0, 1.0)},
        {"jitter_px": -1},
        {"brightness": 1.0},
    ],
)
def test_bad_augmentation(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Augmentation(**options)


def test_validation_pairs_are_spread_over_clips_and_places():
    # Two runs each of three clips, the first with far more pairs.
    runs = coded_runs([8, 8, 3, 3, 3, 3], clip_of=lambda run: f"clip{run // 2}")
    x, y = validation_pairs(runs, 6, crop=16, seed=3)
    assert x.shape == y.shape == (6, 16, 16, 3)
    np.testing.assert_array_equal(x[..., :2], y[..., :2])  # the same place in both
    assert len({tuple(corner) for corner in x[:, 0, 0, :2]}) > 3
    np.testing.assert_array_equal(x[..., 2] + 1, y[..., 2])
    run = x[:, 0, 0, 2] // 8
    assert set(run) == set(range(6))
    assert set(run[:3] // 2) == set(run[3:] // 2) == {0, 1, 2}
    np.testing.assert_array_equal(validation_pairs(runs, 6, crop=16, seed=3)[0], x)
    assert (validation_pairs(runs, 6, crop=16, seed=4)[0] != x).any()


def test_more_validation_pairs_than_there_are_take_other_crops():
    x, y = validation_pairs(coded_runs([4]), 30, crop=16)
    where = [tuple(pixel) for pixel in x[:, 0, 0]]
    assert len(set(where[:3])) == 3
    assert len(set(where)) > 25
    np.testing.assert_array_equal(x[..., 2] + 1, y[..., 2])


def test_whole_frames_come_from_different_clips():
    frames = whole_frames(coded_runs([8, 8, 8]), 3)
    assert {frame[0, 0, 2] // 8 for frame in frames} == {0, 1, 2}
    assert frames[0].shape == (40, 50, 3)
    assert len(whole_frames(coded_runs([3]), 9)) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 5, "process_count": 2}, "multiple of the number of processes"),
        ({"batch_size": 0}, "positive multiple"),
        ({"process_index": 1}, r"process_index must be in 0\.\.0"),
        ({"crop": 41}, "the shorter side is at most 40"),
    ],
)
def test_bad_options(options, message):
    # At once, not when the first batch is asked for.
    with pytest.raises(ValueError, match=message):
        batches(coded_runs([4]), **{"batch_size": 4, "seed": 0, "crop": 16, **options})
