"""From the config of an evaluation to its tables: what `eval.py` can run."""

from collections.abc import Callable
from pathlib import Path

import ml_collections
import numpy as np
import PIL.Image

from pim_jax import (
    behaviour,
    bound,
    colour_discrimination,
    colour_pictures,
    ranking,
    ranking_pictures,
    realism_pictures,
    realism_tables,
    recovery,
    recovery_pictures,
    scoring,
)
from pim_jax.data import (
    comparisons,
    frame_pairs,
    frame_runs,
    images,
    photographs,
)
from pim_jax.metric import PimMetric, untrained
from pim_jax.model import ModelConfig
from pim_jax.named import by_name, initial_seed, load_metrics, names_in, with_untrained
from pim_jax.tables import Table
from pim_jax.training import page

Progress = Callable[[str], None]


def bapps(config: ml_collections.ConfigDict, progress: Progress) -> list[Table]:
    """BAPPS 2AFC and JND, as `config.parts` says."""
    from pim_jax.data import judgements  # Only here, as it needs tfds.

    metrics = by_name(config.metric)
    parts = [part.strip() for part in config.parts.split(",")]
    makers = {
        "2afc": (judgements.two_afc, scoring.two_afc_table),
        "jnd": (judgements.jnd, scoring.jnd_table),
    }
    unknown = [part for part in parts if part not in makers]
    if unknown:
        raise ValueError(f"config.parts must be among {[*makers]}, found {unknown}")
    tables = []
    for part in parts:
        read, make = makers[part]
        tables.append(
            make(
                metrics,
                read(config.data_dir),
                batch_size=config.batch_size,
                resamples=config.resamples,
                seed=config.seed,
                limit=config.limit,
                progress=progress,
            )
        )
    return tables


def clic2021(config: ml_collections.ConfigDict, progress: Progress) -> list[Table]:
    """CLIC 2021 perceptual task."""
    metrics = by_name(config.metric)
    for key in ("oracle", "data_dir"):
        if not config[key]:
            raise ValueError(f"config.{key} must be set: CLIC 2021 is not downloaded")
    table = scoring.clic_table(
        metrics,
        scoring.clic_oracle(config.oracle, config.data_dir),
        batch_size=config.batch_size,
        resamples=config.resamples,
        seed=config.seed,
        limit=config.limit,
        progress=progress,
    )
    return [table]


def judgement_tables(
    config: ml_collections.ConfigDict, progress: Progress
) -> list[Table]:
    """All judgements at hand: BAPPS with CLIC beside it, rank flips, votes in a file."""
    if not (config.bapps_dir or config.clic_oracle or config.comparisons):
        raise ValueError(
            "set at least one of config.bapps_dir, config.clic_oracle and "
            "config.comparisons"
        )
    metrics = by_name(config.metric)
    common = {
        "resamples": config.resamples,
        "seed": config.seed,
        "progress": progress,
    }
    some = {**common, "limit": config.limit}
    tables = []
    if config.bapps_dir:
        from pim_jax.data import judgements  # Only here, as it needs tfds.

        small = {**some, "batch_size": config.batch_size}
        triplets = judgements.two_afc(config.bapps_dir)
        tables.append(scoring.two_afc_table(metrics, triplets, **small))
        if (Path(config.bapps_dir) / "jnd").is_dir():
            pairs = judgements.jnd(config.bapps_dir)
            tables.append(scoring.jnd_table(metrics, pairs, **small))
        tables += [
            scoring.flips_table(metrics, triplets, shift, **small)
            for shift in config.shifts
        ]
    if config.clic_oracle:
        oracle = scoring.clic_oracle(config.clic_oracle, config.clic_dir)
        scores = scoring.clic_table(metrics, oracle, **some)
        if config.bapps_dir:
            tables[0] = scoring.with_clic(tables[0], scores)
        else:
            tables.append(scores)
    if config.comparisons:
        rows = comparisons.read_comparisons(config.comparisons)
        tables.append(
            scoring.comparisons_table(
                metrics,
                rows[: config.limit or None],
                Path(config.comparisons).parent,
                config.baseline,
                **common,
            )
        )
    return tables


def behaviour_table(
    config: ml_collections.ConfigDict, progress: Progress
) -> list[Table]:
    """The behaviour tables on held-out frames, with untrained twins if asked for."""
    metrics = load_metrics(config.metric)
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
        stored = bound.with_joint_encoder(folder) if folder else None
        if stored:
            bounds[name] = bound.bound_of(*stored, config.bound_batch)
        if config.untrained:
            start = bound.initial_params(metric.config, initial_seed(named))
            bounds[f"{name} untrained"] = bound.bound_of(
                start, metric.config, config.bound_batch
            )
    compared = with_untrained(metrics, config.untrained)
    return behaviour.run(compared, x, y, bounds, settings, progress)


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


def recover(config: ml_collections.ConfigDict, progress: Progress) -> list[Table]:
    """Reference image recovery; writes two pictures to `config.out`."""
    metrics = by_name(config.metric)
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
    results = recovery.run(metrics, reference, settings, progress)
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    recovery_pictures.grid(results, reference).savefig(out / "pictures.png", dpi=150)
    recovery_pictures.curves(results).savefig(out / "curves.png", dpi=120)
    return [recovery.table(begin, of, reference) for begin, of in results.items()]


def rank(config: ml_collections.ConfigDict, progress: Progress) -> list[Table]:
    """One photograph under eight distortions; writes the pictures to `config.out`."""
    metrics = by_name(config.metric)
    if config.image:
        name, photograph = Path(config.image).name, images.read_pixels(config.image)
    else:
        name, photograph = "coffee", photographs.PACKAGED["coffee"]()
    pixels = photographs.square(photograph, config.side)
    progress(f"eight distortions at {config.psnr:g} dB")
    versions = ranking.equally_wrong(pixels, config.psnr)
    found = ranking.ranks(metrics, pixels, versions, progress)
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    shown = ranking_pictures.pictures(pixels, versions, found)
    for stem, picture in zip(
        ["photograph", *versions, "ranks"], shown.values(), strict=True
    ):
        PIL.Image.fromarray(picture).save(out / f"{stem}.png")
    if config.report:
        title = "A photograph under eight distortions, ranked by each metric"
        page.add_section(Path(config.report), "ranking", title, shown)
    return [ranking.table(found, versions, name)]


def colour(config: ml_collections.ConfigDict, progress: Progress) -> list[Table]:
    """Colour discrimination beside MacAdam's; writes a picture to `config.out`."""
    metrics = with_untrained(load_metrics(config.metric), config.untrained)
    found = colour_discrimination.run(metrics, config.luminance, config.side, progress)
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    picture = colour_pictures.chromaticity_panels(found, config.luminance)
    picture.savefig(out / "ellipses.png", dpi=120)
    return [
        colour_discrimination.metric_table(found, config.luminance),
        colour_discrimination.space_table(config.luminance),
    ]


def realism(config: ml_collections.ConfigDict, progress: Progress) -> list[Table]:
    """Realism on latents and on pixels; writes a picture to `config.out`."""
    settings = realism_tables.Settings(
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
    results = {}
    for name, represent in realism_tables.spaces(metrics).items():
        progress(f"{name}: latents of {len(crops)} crops, distorted in many ways")
        results[name] = realism_tables.examine(represent, crops, textures, settings)
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    realism_pictures.curves(results).savefig(out / "curves.png", dpi=120)
    return [
        realism_tables.check_table(results, settings),
        *realism_tables.strength_tables(results),
    ]


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


Evaluation = Callable[[ml_collections.ConfigDict, Progress], list[Table]]

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
