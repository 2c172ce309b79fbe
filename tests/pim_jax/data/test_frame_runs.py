import subprocess
import sys

import numpy as np
import pytest
from absl import logging

from pim_jax.data import frame_runs, video


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, write_clip, moving):
    """Six clips: five of 48x64 pixels, one of 20x30."""
    folder = tmp_path_factory.mktemp("videos")
    for seed in range(5):
        write_clip(folder / f"{seed}.mkv", moving(seed, 7))
    write_clip(folder / "small.mkv", moving(5, 7, (20, 30)))
    return video.prepare(
        folder, tmp_path_factory.mktemp("out"), run_length=4, validation_fraction=0.3
    )


@pytest.mark.parametrize("split", ["train", "validation"])
def test_cached_uncached_and_unpacked_frames_are_the_same(prepared, tmp_path, split):
    frame_runs.unpack(prepared, tmp_path)
    whole = frame_runs.open_runs(prepared, split)
    others = [
        frame_runs.open_runs(prepared, split, cache_gb=0),
        frame_runs.open_runs(prepared, split, cache_gb=5e-5),  # room for one run
        frame_runs.open_runs(tmp_path, split),
    ]
    for other in others:
        assert other.extents == whole.extents
        for run, extent in enumerate(whole.extents):
            frames = whole.read(run, 0, len(extent.times))
            assert frames.nbytes == extent.nbytes
            for first in range(len(extent.times) - 1):
                np.testing.assert_array_equal(
                    other.read(run, first, 2), frames[first : first + 2]
                )


def test_the_cache_keeps_what_fits(prepared):
    runs = frame_runs.open_runs(prepared, "train", cache_gb=5e-5)
    sizes = [extent.nbytes for extent in runs.extents]
    assert sizes[0] <= 5e4 < sizes[0] + sizes[1]
    for run in (0, 1):
        runs.read(run, 0, 2)
    # A view of the kept run comes back each time, and a fresh array otherwise.
    assert runs.read(0, 0, 2).base is runs.read(0, 0, 2).base
    assert runs.read(1, 0, 2).base is None


def test_pairs_are_neighbours_of_large_enough_frames(prepared, caplog):
    runs = frame_runs.open_runs(prepared, "train")
    lengths = [len(extent.times) for extent in runs.extents]
    assert len(runs.pairs()) == sum(lengths) - len(lengths)
    for run, first in runs.pairs():
        assert first + 1 < lengths[run]


def test_small_clips_are_left_out_by_name(tmp_path):
    extents = [
        frame_runs.Extent("large.mp4", 64, 80, [0.0, 0.1]),
        frame_runs.Extent("small.mp4", 90, 63, [0.0, 0.1]),
    ]
    runs = frame_runs.FrameRuns(extents, lambda run, first, number: np.zeros(0))
    with pytest.MonkeyPatch.context() as patch:
        warnings = []
        patch.setattr(logging, "warning", lambda *args: warnings.append(args))
        assert runs.pairs(64).tolist() == [[0, 0]]
    assert "small.mp4" in str(warnings)
    with pytest.raises(ValueError, match="no frame is as large as 65x65"):
        runs.pairs(65)


def test_unpacked_frames_need_numpy_alone(prepared, tmp_path):
    frame_runs.unpack(prepared, tmp_path)
    program = f"""
import sys
for name in ("av", "tensorflow", "tensorflow_datasets", "array_record"):
    sys.modules[name] = None  # Importing it would now fail.
from pim_jax.data import frame_pairs, frame_runs
runs = frame_runs.open_runs({str(tmp_path)!r}, "train")
batch = next(frame_pairs.batches(runs, crop=16, batch_size=2, seed=0))
assert batch["x"].shape == (2, 16, 16, 3)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_missing_datasets_and_splits(prepared, tmp_path):
    with pytest.raises(FileNotFoundError, match="no prepared frame pairs"):
        frame_runs.open_runs(tmp_path)
    with pytest.raises(ValueError, match="no split 'test', only"):
        frame_runs.open_runs(prepared, "test")


def test_an_unpacked_file_of_the_wrong_size_is_refused(prepared, tmp_path):
    frame_runs.unpack(prepared, tmp_path)
    np.save(tmp_path / "train.npy", np.zeros(5, np.uint8))
    with pytest.raises(ValueError, match="has 5 bytes, its index says"):
        frame_runs.open_runs(tmp_path)
