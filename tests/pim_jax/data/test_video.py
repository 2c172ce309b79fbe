import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from absl import logging

from pim_jax.data import clip_folder, clips, frame_runs, video


@pytest.fixture(scope="module")
def videos(tmp_path_factory, write_clip, moving):
    """A folder of five clips, one of them in a subfolder."""
    folder = tmp_path_factory.mktemp("videos")
    (folder / "more").mkdir()
    for seed, name in enumerate(["a", "b", "c", "d", "more/e"]):
        write_clip(folder / f"{name}.mkv", moving(seed, 6 + seed))
    return folder


@pytest.fixture(scope="module")
def prepared(videos, tmp_path_factory):
    return video.prepare(videos, tmp_path_factory.mktemp("out"), run_length=4)


@pytest.fixture
def log(caplog):
    logging.use_absl_handler()
    caplog.set_level("INFO", logger="absl")
    logging.get_absl_logger().addHandler(caplog.handler)
    yield caplog
    logging.get_absl_logger().removeHandler(caplog.handler)


def content(prepared):
    return json.loads((prepared / "metadata.json").read_text())


def names(prepared, split):
    return {extent[0] for extent in content(prepared)["runs"][split]}


def digests(prepared):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in prepared.iterdir()
    }


def test_examples_are_the_frames_of_the_clips(videos, prepared):
    builder = tfds.builder_from_directory(str(prepared))
    for split, extents in content(prepared)["runs"].items():
        source = builder.as_data_source(split)
        assert len(source) == len(extents)
        for example, (name, height, width, times) in zip(source, extents, strict=True):
            run = next(
                run
                for run in clips.read_runs(videos / name, clips.Sampling(run_length=4))
                if abs(run.times[0] - times[0]) < 1e-3
            )
            assert run.frames.shape == (len(times), height, width, 3)
            np.testing.assert_array_equal(example["frames"], run.frames)


def test_works_without_tensorflow(videos, tmp_path):
    program = f"""
import sys
from pathlib import Path
from pim_jax.data import frame_runs, video
prepared = video.prepare({str(videos)!r}, {str(tmp_path)!r}, run_length=3)
runs = frame_runs.open_runs(prepared, "train")
assert runs.read(0, 0, 2).shape == (2, 48, 64, 3)
assert "tensorflow" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_preparing_twice_gives_identical_bytes(videos, prepared, tmp_path):
    elsewhere = shutil.copytree(videos, tmp_path / "moved")
    # A process of its own: some libraries order things at random, once per process.
    command = [sys.executable, "-m", "pim_jax.data.video", "--run_length=4"]
    command += [f"--video_dir={elsewhere}", f"--out={tmp_path / 'out'}"]
    subprocess.run(command, check=True)
    again = tmp_path / "out" / prepared.relative_to(prepared.parents[2])
    assert digests(again) == digests(prepared)


def test_second_call_reuses(videos, prepared, monkeypatch):
    monkeypatch.setattr(clips, "read_runs", None)
    monkeypatch.setattr(clips, "check_decodes", None)
    out = prepared.parents[2]
    assert video.prepare(videos, out, run_length=4) == prepared


def test_other_settings_or_clips_are_prepared_anew(
    videos, tmp_path, write_clip, moving
):
    mine = shutil.copytree(videos, tmp_path / "videos")
    out = tmp_path / "out"
    found = [video.prepare(mine, out), video.prepare(mine, out, short_side=24)]
    write_clip(mine / "new.mkv", moving(9, 5))
    found.append(video.prepare(mine, out))
    write_clip(mine / "new.mkv", moving(10, 5))
    found.append(video.prepare(mine, out))
    assert len(set(found)) == 4
    assert "new.mkv" in names(found[2], "train") | names(found[2], "validation")


def change_middle(path):
    """Changes one bit far from both ends; the size stays."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_change_in_the_middle_of_a_file_is_noticed(
    tmp_path, write_clip, moving, monkeypatch
):
    folder, out = tmp_path / "videos", tmp_path / "out"
    folder.mkdir()
    # Uncompressed, so that any byte is a pixel, and longer than the two ends.
    path = write_clip(folder / "a.avi", moving(0, 50), codec="rawvideo")
    assert path.stat().st_size > 300_000
    old = path.stat()
    first = video.prepare(folder, out)
    assert video.prepare(folder, out) == first
    change_middle(path)
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert path.stat().st_size == old.st_size
    assert path.stat().st_mtime_ns == old.st_mtime_ns
    assert video.prepare(folder, out) != first


def test_an_unchanged_file_is_read_once(tmp_path, monkeypatch):
    monkeypatch.setattr(clip_folder, "_SETTLED_SECONDS", -1.0)
    (tmp_path / "a.mp4").write_bytes(b"some" * 1000)
    kept = tmp_path / "out" / clip_folder.DIGESTS

    def found():
        with clip_folder.Digests(kept) as known:
            return clip_folder.find_clips(tmp_path, ["a.mp4"], known)[0].digest

    digest = found()
    assert digest == hashlib.sha256(b"some" * 1000).hexdigest()
    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "file_digest", None)
        assert found() == digest
    change_middle(tmp_path / "a.mp4")
    assert found() != digest
    for damaged in ("", "[1]", '{"a": 3}'):
        kept.write_text(damaged)
        assert found() != digest


def test_what_has_just_been_changed_is_read_again(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"some")
    kept = tmp_path / "out" / clip_folder.DIGESTS
    with clip_folder.Digests(kept) as known:
        known.of([path])
    assert not kept.exists()


def test_two_runs_that_prepare_the_same_at_once(videos, tmp_path, monkeypatch):
    """The second finds the folder of the first where it wants to put its own."""
    generate = video.FramePairs._generate_examples
    out = tmp_path / "out"

    def overtaken(self, split):
        yield from generate(self, split)
        if not overtaking:
            overtaking.append(True)
            others.append(video.prepare(videos, out, run_length=3))

    overtaking, others = [], []
    monkeypatch.setattr(video.FramePairs, "_generate_examples", overtaken)
    prepared = video.prepare(videos, out, run_length=3)
    assert [prepared] == others
    assert frame_runs.open_runs(prepared, "train").read(0, 0, 2).shape[0] == 2
    assert [path.name for path in prepared.parent.iterdir()] == [prepared.name]


def test_a_failure_that_no_other_run_made_good_is_told(videos, tmp_path, monkeypatch):
    def fails(self, split):
        raise OSError("disk full")
        yield

    monkeypatch.setattr(video.FramePairs, "_generate_examples", fails)
    with pytest.raises(OSError, match="disk full"):
        video.prepare(videos, tmp_path)


def test_what_a_clip_is_like_is_told(tmp_path, write_clip, moving, log):
    folder = tmp_path / "videos"
    folder.mkdir()
    for seed, name in enumerate(["a", "b"]):
        write_clip(
            folder / f"{name}.mkv",
            moving(seed, 4),
            codec="mpeg2video",
            pix_fmt="yuv420p",
            options={"flags": "+ildct+ilme"},
        )
    write_clip(folder / "c.mkv", moving(3, 4))
    for _ in range(2):  # The second time from the prepared data.
        video.prepare(folder, tmp_path / "out", validation_fraction=0)
        told = "2 clips are interlaced, and were deinterlaced: a.mkv, b.mkv"
        assert told in log.text
        log.clear()


def test_split_is_by_clip(videos, prepared):
    train, validation = names(prepared, "train"), names(prepared, "validation")
    assert not train & validation
    assert train | validation == {"a.mkv", "b.mkv", "c.mkv", "d.mkv", "more/e.mkv"}
    assert len(validation) >= 1


def fake_clips(n, start=0):
    numbers = range(start, start + n)
    digests = [hashlib.sha256(str(i).encode()).hexdigest() for i in numbers]
    return [
        clip_folder.Clip(f"{i}.mp4", Path(f"{i}.mp4"), digest, digest)
        for i, digest in zip(numbers, digests, strict=True)
    ]


def test_split_follows_the_fraction_and_no_clip_changes_sides():
    few = clip_folder.split_clips(fake_clips(300), 0.2)
    many = clip_folder.split_clips(fake_clips(1000), 0.2)
    assert 0.15 < len(many["validation"]) / 1000 < 0.25
    assert set(few["train"]) <= set(many["train"])
    assert set(few["validation"]) <= set(many["validation"])


@pytest.mark.parametrize("n", [2, 3, 10])
@pytest.mark.parametrize("fraction", [0.001, 0.1, 0.999])
def test_both_sides_get_a_clip(n, fraction):
    for start in range(20):
        split = clip_folder.split_clips(fake_clips(n, start), fraction)
        assert split["train"]
        assert split["validation"]


def test_copies_of_a_clip_stay_together():
    for start in range(20):
        found = fake_clips(3, start)
        found += [dataclasses.replace(clip, name="copy") for clip in found]
        split = clip_folder.split_clips(found, 0.3)
        sides = [{c.fingerprint for c in split[name]} for name in split]
        assert len(sides) == 2
        assert not sides[0] & sides[1]


def test_one_clip_or_no_fraction_gives_no_validation():
    assert list(clip_folder.split_clips(fake_clips(1), 0.5)) == ["train"]
    assert list(clip_folder.split_clips(fake_clips(9), 0)) == ["train"]


def test_packaged_clips_train_on_one_and_validate_on_the_other(tmp_path):
    prepared = video.prepare(
        clip_folder.packaged_clips(),
        tmp_path,
        names=clip_folder.PACKAGED_CLIPS,
        short_side=96,
    )
    assert names(prepared, "train") == {"bikes.mp4"}
    assert names(prepared, "validation") == {"carphone_pristine.mp4"}
    assert len(frame_runs.open_runs(prepared, "train").pairs(64)) > 100
    assert len(frame_runs.open_runs(prepared, "validation").pairs(64)) > 30


def test_validation_folder(videos, tmp_path, write_clip, moving):
    held_out = tmp_path / "held-out"
    held_out.mkdir()
    write_clip(held_out / "z.mkv", moving(20, 5))
    prepared = video.prepare(videos, tmp_path / "out", validation_dir=held_out)
    assert names(prepared, "validation") == {"z.mkv"}
    assert len(names(prepared, "train")) == 5
    shutil.copy(videos / "a.mkv", held_out / "copy.mkv")
    with pytest.raises(ValueError, match=r"a\.mkv and copy\.mkv"):
        video.prepare(videos, tmp_path / "out", validation_dir=held_out)


def test_undecodable_clips_are_named_counted_and_skipped(videos, tmp_path, log):
    mine = shutil.copytree(videos, tmp_path / "videos")
    (mine / "broken.mp4").write_bytes(b"this is no video" * 100)
    (mine / "empty.webm").write_bytes(b"")
    prepared = video.prepare(mine, tmp_path / "out")
    assert set(content(prepared)["skipped"]) == {"broken.mp4", "empty.webm"}
    assert len(names(prepared, "train") | names(prepared, "validation")) == 5
    for _ in range(2):  # The second time from the prepared data.
        assert "clip broken.mp4 skipped: decoding failed" in log.text
        assert "2 clips do not decode" in log.text
        log.clear()
        video.prepare(mine, tmp_path / "out")


def test_damaged_and_still_clips_are_named(
    tmp_path, write_clip, write_damaged_clip, moving, texture, log
):
    folder = tmp_path / "videos"
    folder.mkdir()
    write_clip(folder / "good.mkv", moving(0, 6))
    write_clip(folder / "still.mkv", [texture(0, 0, (48, 64))] * 5)
    write_damaged_clip(folder / "cut.avi", 1)
    prepared = video.prepare(folder, tmp_path / "out", validation_fraction=0)
    assert names(prepared, "train") == {"good.mkv", "cut.avi"}
    assert "clip still.mkv gave no pairs" in log.text
    assert "clip cut.avi used up to a damaged place" in log.text


def test_nothing_decodes(tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"none of the 1 files .* broken\.mp4"):
        video.prepare(tmp_path, tmp_path / "out")


def test_nothing_moves(tmp_path, write_clip, texture):
    folder = tmp_path / "videos"
    folder.mkdir()
    write_clip(folder / "still.mkv", [texture(0, 0, (48, 64))] * 5)
    with pytest.raises(ValueError, match=r"none of the 1 clips .* still\.mkv"):
        video.prepare(folder, tmp_path / "out")
    # Nothing half done is left to be taken for a prepared dataset.
    assert not list((tmp_path / "out").rglob(f"*{video.FramePairs.VERSION}*"))


def test_missing_folders_and_clips(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        video.prepare(tmp_path / "nowhere", tmp_path)
    (tmp_path / "notes.txt").write_text("FFmpeg would show this as a video.")
    (tmp_path / ".hidden.mp4").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="holds no video files"):
        video.prepare(tmp_path, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match=r"lacks the clips missing\.mp4"):
        video.prepare(tmp_path, tmp_path / "out", names=["missing.mp4"])


def test_wrong_input_of_the_command_is_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        video.main([f"--video_dir={tmp_path / 'nowhere'}", f"--out={tmp_path}"])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("pim_jax.data.video: error: the video folder")


@pytest.mark.parametrize(
    "option",
    [{"validation_fraction": 1.0}, {"validation_fraction": -0.1}, {"run_length": 1}],
)
def test_bad_options(videos, tmp_path, option):
    with pytest.raises(ValueError, match=next(iter(option))):
        video.prepare(videos, tmp_path, **option)


def test_progress_shows_clips_and_frames(videos, tmp_path, capsys):
    video.prepare(videos, tmp_path, validation_fraction=0)
    assert "5/5 clips, 40 frames" in capsys.readouterr().out
