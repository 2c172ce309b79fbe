"""From the config of an evaluation to its tables: what `eval.py` can run."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_collections
import numpy as np

from pim_jax.data import (
    clic,
    comparisons,
    frame_pairs,
    frame_runs,
    images,
    photographs,
)
from pim_jax.data.bapps_folder import PATCH, Source
from pim_jax.evaluation import (
    behaviour,
    held_out,
    judgements,
    kept,
    pictures,
    ranking,
    realism_checks,
    recovery,
)
from pim_jax.evaluation import colour as colour_discrimination
from pim_jax.evaluation.named import (
    by_name,
    initial_seed,
    load_metrics,
    names_in,
    with_untrained,
)
from pim_jax.evaluation.outputs import Output
from pim_jax.evaluation.tables import Table
from pim_jax.metric import Metric
from pim_jax.pim.distance import PimMetric, untrained
from pim_jax.pim.model import ModelConfig
from pim_jax.training import page

Progress = Callable[[str], None]


def output_of(config: ml_collections.ConfigDict, output: Output | None) -> Output:
    """Where an evaluation writes: to `config.out`, if nobody wants to hear what."""
    return output or Output(config.out, config.evaluation)


def check_counts(config: ml_collections.ConfigDict, **least: int) -> None:
    """ValueError if a number of the config is below its least value: before any work."""
    for key, value in least.items():
        if config[key] < value:
            raise ValueError(
                f"config.{key} must be at least {value}, found {config[key]}"
            )


def check_sizes(metrics: Mapping[str, Metric], side: int) -> None:
    """ValueError if images of this side are too small for a metric: before any work."""
    for name, metric in metrics.items():
        if side < metric.minimum_size:
            raise ValueError(
                f"{name} needs images of at least {metric.minimum_size} pixels, and here "
                f"they have {side}; leave it out of config.metric"
            )


def bapps(
    config: ml_collections.ConfigDict, progress: Progress, output: Output | None = None
) -> list[Table]:
    """BAPPS 2AFC and JND, as `config.parts` says."""
    from pim_jax.data import bapps as bapps_dataset

    check_counts(config, batch_size=1, resamples=1, limit=0)
    output = output_of(config, output)
    parts = names_in(config.parts, "parts")
    makers = {
        "2afc": (bapps_dataset.two_afc, judgements.two_afc_table),
        "jnd": (bapps_dataset.jnd, judgements.jnd_table),
    }
    unknown = [part for part in parts if part not in makers]
    if unknown:
        raise ValueError(f"config.parts must be among {[*makers]}, found {unknown}")
    plain = by_name(config.metric)
    check_sizes(plain, PATCH)
    # All parts first: one that is not there is no reason to stop after hours.
    sources = {part: makers[part][0](config.data_dir) for part in parts}
    metrics = kept.keep(plain, output.folder)
    examined = {
        part: judgements.examined(source, config.limit, progress)
        for part, source in sources.items()
    }
    tables: list[Table] = []
    for part in parts:
        tables.append(
            makers[part][1](
                metrics,
                examined[part],
                batch_size=config.batch_size,
                resamples=config.resamples,
                seed=config.seed,
                limit=config.limit,
                progress=progress,
                done=lambda table: output.so_far([*tables, table]),
            )
        )
    return tables


def clic2021(
    config: ml_collections.ConfigDict, progress: Progress, output: Output | None = None
) -> list[Table]:
    """CLIC 2021 perceptual task."""
    check_counts(config, batch_size=1, resamples=1, limit=0)
    output = output_of(config, output)
    for key in ("oracle", "data_dir"):
        if not config[key]:
            raise ValueError(f"config.{key} must be set: CLIC 2021 is not downloaded")
    plain = by_name(config.metric)
    oracle = judgements.clic_oracle(config.oracle, config.data_dir)
    table = judgements.clic_table(
        kept.keep(plain, output.folder),
        oracle,
        batch_size=config.batch_size,
        resamples=config.resamples,
        seed=config.seed,
        limit=config.limit,
        progress=progress,
        done=lambda table: output.so_far([table]),
    )
    return [table]


class _Judgements(NamedTuple):
    """Everything that a config of judgements names, opened but not yet read."""

    triplets: dict[str, Source]
    pairs: dict[str, Source]
    oracle: clic.Oracle | None
    rows: list[comparisons.Comparison]
    folder: Path


def judgement_tables(
    config: ml_collections.ConfigDict, progress: Progress, output: Output | None = None
) -> list[Table]:
    """All judgements at hand: BAPPS with CLIC beside it, rank flips, votes in a file."""
    check_counts(config, batch_size=1, resamples=1, limit=0)
    output = output_of(config, output)
    plain = by_name(config.metric)
    # All of it before the first distance, for some is used only after hours.
    found = _judgements(config)
    if found.rows:
        judgements.check_baseline(config.baseline, plain)
    if found.triplets:
        check_sizes(plain, PATCH - max(config.shifts, default=0))
    metrics = kept.keep(plain, output.folder)
    tables: list[Table] = []
    common: dict[str, Any] = {
        "resamples": config.resamples,
        "seed": config.seed,
        "progress": progress,
        "done": lambda table: output.so_far([*tables, table]),
    }
    some = {**common, "limit": config.limit}
    small = {**some, "batch_size": config.batch_size}
    if found.triplets:
        triplets = judgements.examined(found.triplets, config.limit, progress)
        tables.append(judgements.two_afc_table(metrics, triplets, **small))
        if found.pairs:
            tables.append(judgements.jnd_table(metrics, found.pairs, **small))
        for shift in config.shifts:
            tables.append(judgements.flips_table(metrics, triplets, shift, **small))
    if found.oracle:
        scores = judgements.clic_table(metrics, found.oracle, **some)
        if found.triplets:
            tables[0] = judgements.with_clic(tables[0], scores)
        else:
            tables.append(scores)
    if found.rows:
        tables.append(
            judgements.comparisons_table(
                metrics, found.rows, found.folder, config.baseline, **common
            )
        )
    return tables


def _judgements(config: ml_collections.ConfigDict) -> _Judgements:
    """Opens what the config names.

    Raises:
      ValueError, FileNotFoundError: nothing is named, or something is wrong with it.
    """
    if not (config.bapps_dir or config.clic_oracle or config.comparisons):
        raise ValueError(
            "set at least one of config.bapps_dir, config.clic_oracle and "
            "config.comparisons"
        )
    if config.clic_oracle and not config.clic_dir:
        raise ValueError("config.clic_dir must name the folder of CLIC's images")
    if not all(0 < shift < PATCH for shift in config.shifts):
        raise ValueError(
            f"config.shifts must be of 1 to {PATCH - 1} pixels, found {config.shifts}"
        )
    folder, rows = Path(config.comparisons).parent, []
    if config.comparisons:
        rows = comparisons.read_comparisons(config.comparisons)[: config.limit or None]
        comparisons.Versions(rows, folder)
    oracle = (
        judgements.clic_oracle(config.clic_oracle, config.clic_dir)
        if config.clic_oracle
        else None
    )
    return _Judgements(*_bapps_folder(config.bapps_dir), oracle, rows, folder)


def _bapps_folder(folder: str) -> tuple[dict[str, Source], dict[str, Source]]:
    """2AFC triplets and, where there is a part `jnd`, JND pairs; none without a folder."""
    if not folder:
        return {}, {}
    from pim_jax.data import bapps as bapps_dataset

    has_pairs = (Path(folder) / "jnd").is_dir()
    return bapps_dataset.two_afc(folder), bapps_dataset.jnd(folder) if has_pairs else {}


def behaviour_table(
    config: ml_collections.ConfigDict, progress: Progress, output: Output | None = None
) -> list[Table]:
    """The behaviour tables on held-out frames, with untrained twins if asked for."""
    check_counts(
        config, frames=1, queries=1, others=1, batch_size=1, resamples=1, bound_batch=1
    )
    output = output_of(config, output)
    if not all(0 < shift < config.data.crop for shift in config.shifts):
        raise ValueError(
            f"config.shifts must be of 1 to {config.data.crop - 1} pixels, found "
            f"{config.shifts}"
        )
    metrics = load_metrics(config.metric)
    side = config.data.crop - max(config.shifts, default=0)
    check_sizes({name: metric for name, metric, _ in metrics}, side)
    settings = behaviour.Settings(
        frames=config.frames,
        shifts=tuple(config.shifts),
        queries=config.queries,
        others=config.others,
        batch_size=config.batch_size,
        resamples=config.resamples,
        seed=config.seed,
    )
    count = max(config.frames, config.others + 1)
    x, y = held_out_pairs(config.data, count, config.seed)
    bounds: dict[str, behaviour.Bound] = {}
    for named in metrics:
        name, metric, folder = named
        if not isinstance(metric, PimMetric):
            continue
        stored = held_out.with_joint_encoder(folder) if folder else None
        if stored:
            bounds[name] = held_out.bound_of(*stored, config.bound_batch)
        if config.untrained:
            start = held_out.initial_params(metric.config, initial_seed(named))
            bounds[f"{name} untrained"] = held_out.bound_of(
                start, metric.config, config.bound_batch
            )
    compared = kept.keep(with_untrained(metrics, config.untrained), output.folder)
    return behaviour.run(compared, x, y, bounds, settings, progress, output.so_far)


def held_out_pairs(
    data: ml_collections.ConfigDict, count: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of frames close in time that training with the same settings does not see.

    Args:
      data: frames_dir ("" if the frames are not prepared yet), crop, and the settings of
        `video.prepare_from`.
      count: how many pairs.
      seed: of their choice.

    Returns: x and y, uint8 (count, crop, crop, 3) each.
    """
    prepared, split = _prepared(data)
    runs = frame_runs.open_runs(prepared, split)
    return frame_pairs.validation_pairs(runs, count, crop=data.crop, seed=seed)


def _prepared(data: ml_collections.ConfigDict) -> tuple[Path, str]:
    """The folder of frames, and which of its splits is held out."""
    if data.frames_dir:
        return Path(data.frames_dir), "validation"

    from pim_jax.data import video  # Only here, as it needs PyAV and tfds.

    if not data.validation_dir:
        return video.prepare_from(data), "validation"
    # All clips of a validation folder are held out already.
    prepared = video.prepare(
        data.validation_dir,
        data.prepared_dir,
        short_side=data.short_side,
        gap_seconds=data.gap_seconds,
        run_length=data.run_length,
        validation_fraction=0.0,
    )
    return prepared, "train"


def recover(
    config: ml_collections.ConfigDict, progress: Progress, output: Output | None = None
) -> list[Table]:
    """Reference image recovery; writes two pictures to `config.out`."""
    check_counts(config, images=0, side=1, steps=1)
    output = output_of(config, output)
    metrics = by_name(config.metric)
    check_sizes(metrics, config.side)
    settings = recovery.Settings(
        steps=config.steps,
        learning_rate=config.learning_rate,
        final_fraction=config.final_fraction,
        jpeg_quality=config.jpeg_quality,
        seed=config.seed,
        starts=tuple(names_in(config.starts, "starts")),
    )
    found = photographs.photographs(config.images_dir, config.side, config.images)
    reference = np.stack([*found.values()])

    def tables(results: pictures.Recoveries) -> list[Table]:
        return [recovery.table(begin, of, reference) for begin, of in results.items()]

    results = recovery.run(
        metrics,
        reference,
        settings,
        progress,
        lambda results: output.so_far(tables(results)),
    )
    output.figure(pictures.recovery_grid(results, reference), "pictures.png", dpi=150)
    output.figure(pictures.recovery_curves(results), "curves.png")
    return tables(results)


def rank(
    config: ml_collections.ConfigDict, progress: Progress, output: Output | None = None
) -> list[Table]:
    """One photograph under eight distortions; writes the pictures to `config.out`."""
    check_counts(config, side=1)
    output = output_of(config, output)
    if config.report:
        page.check(Path(config.report))
    plain = by_name(config.metric)
    check_sizes(plain, config.side)
    metrics = kept.keep(plain, output.folder)
    if config.image:
        name, photograph = Path(config.image).name, images.read_pixels(config.image)
    else:
        name, photograph = "coffee", photographs.PACKAGED["coffee"]()
    pixels = photographs.square(photograph, config.side)
    progress(f"eight distortions at {config.psnr:g} dB")
    versions = ranking.equally_wrong(pixels, config.psnr)
    found = ranking.ranks(
        metrics,
        pixels,
        versions,
        progress,
        lambda found: output.so_far([ranking.table(found, versions, name)]),
    )
    shown = pictures.ranking_pictures(pixels, versions, found)
    for stem, picture in zip(
        ["photograph", *versions, "ranks"], shown.values(), strict=True
    ):
        output.picture(picture, f"{stem}.png")
    if config.report:
        title = "A photograph under eight distortions, ranked by each metric"
        page.add_section(Path(config.report), "ranking", title, shown)
    return [ranking.table(found, versions, name)]


def colour(
    config: ml_collections.ConfigDict, progress: Progress, output: Output | None = None
) -> list[Table]:
    """Colour discrimination beside MacAdam's; writes a picture to `config.out`."""
    check_counts(config, side=1)
    output = output_of(config, output)

    def tables(found: Mapping[str, colour_discrimination.Found]) -> list[Table]:
        return [
            colour_discrimination.metric_table(found, config.luminance),
            colour_discrimination.space_table(config.luminance),
        ]

    metrics = with_untrained(load_metrics(config.metric), config.untrained)
    found = colour_discrimination.run(
        metrics,
        config.luminance,
        config.side,
        progress,
        lambda found: output.so_far(tables(found)),
    )
    picture = pictures.chromaticity_panels(found, config.luminance)
    output.figure(picture, "ellipses.png")
    return tables(found)


def realism(
    config: ml_collections.ConfigDict, progress: Progress, output: Output | None = None
) -> list[Table]:
    """Realism on latents and on pixels; writes a picture to `config.out`."""
    check_counts(config, side=4, points=2, batch_size=1)
    output = output_of(config, output)
    settings = realism_checks.Settings(
        images=config.images,
        texture_images=config.texture_images,
        points=config.points,
        sigmas=tuple(config.sigmas),
        batch_size=config.batch_size,
        seed=config.seed,
    )
    for key in ("images", "texture_images"):
        if config[key] < 4 or config[key] % 2:
            raise ValueError(
                f"config.{key} must be even, and at least 4, found {config[key]}"
            )
    metrics = _pim_metrics(config)
    crops = photographs.crops(
        config.images_dir, config.side, 2 * config.images, config.seed
    )
    textures = photographs.textures(config.side, 2 * config.texture_images, config.seed)
    results: dict[str, realism_checks.Results] = {}

    def tables() -> list[Table]:
        return [
            realism_checks.check_table(results, settings),
            *realism_checks.strength_tables(results),
        ]

    for name, represent in realism_checks.spaces(metrics).items():
        progress(f"{name}: latents of {len(crops)} crops, distorted in many ways")
        results[name] = realism_checks.examine(represent, crops, textures, settings)
        output.so_far(tables())
    output.figure(pictures.realism_curves(results), "curves.png")
    return tables()


def _pim_metrics(config: ml_collections.ConfigDict) -> dict[str, PimMetric]:
    """The metrics of `config.metric`, all with latents; `untrained` is a new one.

    Raises:
      ValueError: one has no latents; and as `load_metrics`.
    """
    metrics: dict[str, PimMetric] = {}
    for part in names_in(config.metric, "metric"):
        if part == "untrained":
            model = ModelConfig(filters=tuple(config.untrained_filters))
            metrics[part] = untrained(model, config.seed)
            continue
        (named,) = load_metrics(part)
        if not isinstance(named.metric, PimMetric):
            raise ValueError(
                f"realism needs metrics with latents, as PIM has; {part} has none"
            )
        metrics[part if named.name in metrics else named.name] = named.metric
    return metrics


# What is written beside the tables, and the tables so far, go to the output.
Evaluation = Callable[[ml_collections.ConfigDict, Progress, Output | None], list[Table]]

EVALUATIONS: dict[str, Evaluation] = {
    "bapps": bapps,
    "clic2021": clic2021,
    "judgements": judgement_tables,
    "behaviour": behaviour_table,
    "recovery": recover,
    "ranking": rank,
    "colour": colour,
    "realism": realism,
}
