import itertools
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest

from pim_jax.data import clips


def runs_of(path, **options):
    return list(clips.read_runs(path, clips.Sampling(**options)))


def gaps(runs):
    return np.concatenate([np.diff(run.times) for run in runs])


@pytest.mark.parametrize(
    ("suffix", "codec", "pix_fmt"),
    [
        ("mp4", "libx264", "yuv420p"),
        ("mov", "mjpeg", "yuvj420p"),
        ("avi", "mpeg4", "yuv420p"),
        ("webm", "libvpx-vp9", "yuv420p"),
        ("mkv", "ffv1", "bgr0"),
    ],
)
def test_any_container(tmp_path, write_clip, moving, suffix, codec, pix_fmt):
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec} encoder")
    frames = moving(0, 10)
    path = write_clip(tmp_path / f"a.{suffix}", frames, codec=codec, pix_fmt=pix_fmt)
    (run,) = runs_of(path, run_length=10)
    np.testing.assert_allclose(np.diff(run.times), 0.1, atol=1e-3)
    assert run.frames.shape == (10, 48, 64, 3)
    assert run.frames.dtype == np.uint8
    assert np.abs(run.frames - np.array(frames, np.float32)).mean() < 15


def test_lossless_video_comes_through_unchanged(tmp_path, write_clip, moving):
    frames = moving(0, 5)
    (run,) = runs_of(write_clip(tmp_path / "a.mkv", frames))
    np.testing.assert_array_equal(run.frames, frames)


@pytest.mark.parametrize(
    ("fps", "gap"),
    [(50, 0.1), (30, 0.1), (25, 0.08), (20, 0.1), (10, 0.1), (8, 0.125), (5, 0.2)],
)
def test_gap_is_in_seconds_whatever_the_frame_rate(
    tmp_path, write_clip, moving, fps, gap
):
    path = write_clip(tmp_path / "a.mkv", moving(0, fps), fps=fps)
    runs = runs_of(path, gap_seconds=0.1)
    # Matroska counts in ms. The clip's last pair takes the nearest frame there is.
    np.testing.assert_allclose(gaps(runs)[:-1], gap, atol=2e-3)


def test_too_slow_a_source_gives_no_pairs(tmp_path, write_clip, moving):
    path = write_clip(tmp_path / "a.mkv", moving(0, 6), fps=3)
    assert runs_of(path, gap_seconds=0.1) == []
    assert len(runs_of(path, gap_seconds=0.2)) == 1


def test_variable_frame_rate(tmp_path, write_clip, moving):
    # Fast, then slow, then a hole of a second.
    times = [*range(0, 500, 20), *range(500, 1100, 150), *range(2200, 2600, 100)]
    path = write_clip(tmp_path / "a.mkv", moving(0, len(times)), fps=50, times_ms=times)
    runs = runs_of(path, gap_seconds=0.1, run_length=100)
    assert len(runs) == 2
    np.testing.assert_allclose(
        runs[0].times, [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 0.95], atol=1e-6
    )
    np.testing.assert_allclose(runs[1].times, [2.2, 2.3, 2.4, 2.5], atol=1e-6)


@pytest.mark.parametrize(
    ("times", "kept"),
    [
        ([0, 0.04, 0.08, 0.12, 0.16], [0, 0.08, 0.16]),  # ties go to the earlier
        ([0, 0.149, 0.151, 0.3], [0, 0.149, 0.3]),
        ([0, 0.03], [0]),  # nothing far enough
        ([0, 0, 0.1, 0.1], [0, 0.1]),  # repeated times
        ([], []),
    ],
)
def test_nearest_frames_are_sampled(times, kept):
    frames = [SimpleNamespace(time=time) for time in times]
    assert [frame.time for frame in clips.sample_times(frames, 0.1)] == kept


@pytest.mark.parametrize("fps", [10, 30])
@pytest.mark.parametrize("cut", [1, 2, 7, 18])
def test_no_pair_straddles_a_hard_cut(tmp_path, write_clip, moving, fps, cut):
    one, two = moving(1, 20), moving(2, 20)
    path = write_clip(tmp_path / "a.mkv", one[:cut] + two[cut:], fps=fps)
    runs = runs_of(path, gap_seconds=1 / fps, run_length=50)
    shots = [one[:cut], two[cut:]]
    found = [run.frames.tolist() for run in runs]
    assert found == [np.array(shot).tolist() for shot in shots if len(shot) > 1]


def test_fast_motion_is_no_cut(tmp_path, write_clip, moving):
    path = write_clip(tmp_path / "a.mkv", moving(0, 20, speed=6))
    (run,) = runs_of(path, run_length=50)
    assert len(run.times) == 20


def test_still_clips_give_no_pairs(tmp_path, write_clip, texture):
    path = write_clip(tmp_path / "a.mkv", [texture(0, 0, (48, 64))] * 10)
    assert runs_of(path) == []


def test_pairs_without_change_are_dropped_and_others_kept(tmp_path, write_clip, moving):
    doubled = [frame for frame in moving(0, 6) for _ in range(2)]
    runs = runs_of(write_clip(tmp_path / "a.mkv", doubled))
    pairs = [pair for run in runs for pair in itertools.pairwise(run.frames)]
    assert len(pairs) == 5
    assert all((x != y).any() for x, y in pairs)


def test_runs_are_short_and_share_no_frame(tmp_path, write_clip, moving):
    path = write_clip(tmp_path / "a.mkv", moving(0, 11))
    runs = runs_of(path, run_length=4)
    assert [len(run.times) for run in runs] == [4, 4, 3]
    assert len(set(np.concatenate([run.times for run in runs]))) == 11


@pytest.mark.parametrize(
    ("size", "short_side", "expected"),
    [
        ((96, 160), 48, (48, 80)),
        ((160, 96), 48, (80, 48)),
        ((95, 127), 48, (48, 64)),  # odd sizes
        ((48, 64), 256, (48, 64)),  # never enlarged
    ],
)
def test_short_side(tmp_path, write_clip, moving, size, short_side, expected):
    path = write_clip(tmp_path / "a.mkv", moving(0, 3, size))
    (run,) = runs_of(path, short_side=short_side)
    assert run.frames.shape[1:3] == expected


def test_downscaling_is_antialiased(tmp_path, write_clip):
    # Stripes of one pixel: sampling would give black and white, averaging gives grey.
    stripes = np.zeros((96, 96, 3), np.uint8)
    stripes[:, ::2] = 255
    changed = stripes.copy()
    changed[:20, :20] = 0
    path = write_clip(tmp_path / "a.mkv", [stripes, changed])
    (run,) = runs_of(path, short_side=31)
    grey = run.frames[0][20:28, 20:28]
    assert grey.min() > 110
    assert grey.max() < 145


@pytest.mark.skipif(
    not hasattr(av.video.stream.VideoStream, "set_display_rotation"),
    reason="this PyAV cannot write rotated videos",
)
@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_rotation_is_applied(tmp_path, write_clip, moving, rotation):
    frames = moving(0, 4)
    path = write_clip(
        tmp_path / "a.mp4",
        frames,
        codec="libx264",
        pix_fmt="yuv444p",
        rotation=rotation,
    )
    (run,) = runs_of(path)
    upright = np.rot90(np.array(frames), rotation // 90, axes=(1, 2))
    assert run.frames.shape == upright.shape
    assert np.abs(run.frames - upright.astype(np.float32)).mean() < 15


def test_pixels_become_square(tmp_path, write_clip, moving):
    path = write_clip(
        tmp_path / "a.mp4",
        moving(0, 3),
        codec="libx264",
        pix_fmt="yuv420p",
        pixel_aspect=Fraction(3, 2),
    )
    (run,) = runs_of(path)
    assert run.frames.shape[1:3] == (48, 96)


def test_absurd_pixel_aspects_are_ignored(tmp_path, write_clip, moving):
    path = write_clip(
        tmp_path / "a.mp4",
        moving(0, 3),
        codec="libx264",
        pix_fmt="yuv420p",
        pixel_aspect=Fraction(50, 1),
    )
    (run,) = runs_of(path)
    assert run.frames.shape[1:3] == (48, 64)


@pytest.mark.parametrize("content", [b"", b"no video " * 1000])
def test_undecodable_files(tmp_path, content):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(clips.UndecodableError, match="decoding failed"):
        clips.check_decodes(path)


def test_what_comes_before_damage_is_kept(tmp_path, write_damaged_clip):
    path = write_damaged_clip(tmp_path / "a.avi", 0)
    found = clips.read_runs(path, clips.Sampling())
    assert [len(next(found).times) for _ in range(2)] == [8, 6]
    with pytest.raises(clips.UndecodableError, match="Invalid data"):
        list(found)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        runs_of(tmp_path / "a.mp4")


def test_every_frame_is_reported_once(tmp_path, write_clip, moving):
    path = write_clip(tmp_path / "a.mkv", moving(0, 9))
    counted = []
    list(clips.read_runs(path, clips.Sampling(), lambda: counted.append(1)))
    assert len(counted) == 9


@pytest.mark.parametrize(
    "option", [{"short_side": 0}, {"gap_seconds": 0}, {"run_length": 1}]
)
def test_bad_options(option):
    with pytest.raises(ValueError, match=next(iter(option))):
        clips.Sampling(**option)


def test_packaged_clip_is_cut_at_its_five_cuts(sample_clips):
    # Read off the clip by eye: the first frames of the shots, at 25 frames a second.
    cuts = np.array([30, 76, 137, 187, 242]) / 25
    runs = runs_of(sample_clips / "bikes.mp4", short_side=64)
    starts = np.array([run.times[0] for run in runs])
    for cut in cuts:
        assert np.abs(starts - cut).min() < 1e-3
        assert not any(run.times[0] < cut <= run.times[-1] for run in runs)
