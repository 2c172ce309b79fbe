"""From the config of an evaluation of codecs to its tables: what `eval.py` can run."""

from collections.abc import Callable, Mapping, Sequence

import ml_collections
import numpy as np

from codec_jax import loading
from codec_jax.evaluation import bjontegaard, complexity, curves, measurements
from codec_jax.evaluation.bjontegaard import Curve
from codec_jax.evaluation.classical import CLASSICAL
from codec_jax.evaluation.measurements import Coder, Measurement
from codec_jax.evaluation.photograph import photograph
from codec_jax.models.architectures import NAMED
from codec_jax.toy.evaluation import toy
from pim_jax.data import images, readable
from pim_jax.evaluation.named import names_in
from pim_jax.evaluation.outputs import Output
from pim_jax.evaluation.runners import Evaluation, check_counts, output_of
from pim_jax.evaluation.tables import Score, Table

Progress = Callable[[str], None]

# Measures that Bjøntegaard differences are made of -> what brings them to dB.
_IN_DECIBEL: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "psnr": np.asarray,
    "ms-ssim": bjontegaard.decibel,
}
# In CompressAI's files these are called otherwise.
_COMPRESSAI = {"psnr": "psnr-rgb", "ms-ssim": "ms-ssim-rgb"}


def codecs_named(names: Sequence[str]) -> list[Coder]:
    """Classical codecs by their names, learned ones by name or folder.

    A folder is called by the codec's own name, or by all of it where that is taken.

    Raises:
      ValueError, FileNotFoundError: neither a classical codec nor one that
        `codec_jax.load` knows.
    """
    found: list[Coder] = []
    for name in names:
        if name in CLASSICAL:
            codec = CLASSICAL[name]
            found.append(Coder(name, codec.qualities, codec.compress, codec.decompress))
        else:
            learned = _learned(name)
            taken = learned.name in {coder.name for coder in found}
            found.append(learned._replace(name=name) if taken else learned)
    return found


def _learned(name: str) -> Coder:
    try:
        codec = loading.load(name)
    except (ValueError, FileNotFoundError) as error:
        raise type(error)(
            f"{error}; classical codecs: {', '.join(CLASSICAL)}"
        ) from error
    return Coder(
        codec.name,
        tuple(codec.rates),
        lambda image, rate: codec.compress(image, rate=rate),
        codec.decompress,
    )


def kodak(
    config: ml_collections.ConfigDict, progress: Progress, output: Output | None = None
) -> list[Table]:
    """Rates, qualities and times of codecs on a folder of images, and BD figures.

    Beside the tables it writes, to `config.out`: points.csv, every image with every
    setting; curves/CODEC.json, in CompressAI's format; rate_distortion.png.
    """
    if not config.images_dir:
        raise ValueError("config.images_dir must name a folder of images, found none")
    check_counts(config, limit=0)
    output = output_of(config, output)
    scores = measurements.scores_named(config.metrics)
    published = curves.read_published(config.curves_dir) if config.curves_dir else []
    names = names_in(config.codec, "codec")
    if config.anchor and config.anchor not in names:
        names = [config.anchor, *names]
    points: list[Measurement] = []
    coders = codecs_named(names)
    # A file of weights is called by the codec's name.
    anchor = coders[names.index(config.anchor)].name if config.anchor else ""
    listed = images.list_images(config.images_dir)[: config.limit or None]
    paths = [*readable.shapes(listed, f"images in {config.images_dir}")]
    skipped = len(listed) - len(paths)

    def tables() -> list[Table]:
        averages, measured = averaged(points), decibel_curves(points)
        shown = [points_table(averages, len(paths), config.out, skipped)]
        if anchor and measured and len(averages) > 1:
            limits = (config.lowest_bpp, config.highest_bpp or np.inf)
            shown.append(bd_table(measured, anchor, limits))
        return shown

    for coder in coders:
        chosen = measurements.spread(coder.settings, config.qualities)
        coder = coder._replace(settings=chosen)
        points += measurements.measure(coder, paths, scores, progress)
        # What is measured is written, whatever becomes of the next codec.
        write(output, points)
        output.so_far(tables())
    write_figure(output, points, published)
    return tables()


Averages = dict[str, dict[float, dict[str, float]]]


def _grouped(
    points: Sequence[Measurement],
) -> dict[str, dict[float, list[Measurement]]]:
    """Codec -> setting -> measurements, one for each image."""
    groups: dict[str, dict[float, list[Measurement]]] = {}
    for point in points:
        settings = groups.setdefault(point.codec, {})
        settings.setdefault(point.setting, []).append(point)
    return groups


def averaged(points: Sequence[Measurement]) -> Averages:
    """Means over images: codec -> setting -> bpp, scores by name, seconds.

    PSNR is averaged in dB; see `bjontegaard.rate_points`.
    """
    return {
        codec: {
            setting: {
                "bpp": float(np.mean([p.bpp for p in group])),
                **{
                    key: float(np.mean([p.scores[key] for p in group]))
                    for key in group[0].scores
                },
                "encode": float(np.mean([p.encode_seconds for p in group])),
                "decode": float(np.mean([p.decode_seconds for p in group])),
            }
            for setting, group in settings.items()
        }
        for codec, settings in _grouped(points).items()
    }


def decibel_curves(points: Sequence[Measurement]) -> dict[str, dict[str, Curve]]:
    """Measure -> codec -> curve, for those measures that were scored and have dB.

    MS-SSIM is brought to dB after averaging, as published curves of it are.
    """
    return {
        measure: {
            codec: _curve([*settings.values()], measure)
            for codec, settings in _grouped(points).items()
        }
        for measure in _IN_DECIBEL
        if measure in points[0].scores
    }


def _curve(settings: Sequence[Sequence[Measurement]], measure: str) -> Curve:
    curve = bjontegaard.rate_points(
        [[point.bpp for point in group] for group in settings],
        [[point.scores[measure] for point in group] for group in settings],
    )
    return Curve(curve.bpp, _IN_DECIBEL[measure](curve.quality))


def write(output: Output, points: Sequence[Measurement]) -> None:
    """Writes points.csv and curves/CODEC.json, as `kodak` describes."""
    curves.write_csv(output.path("points.csv"), [_flat(point) for point in points])
    for codec, settings in averaged(points).items():
        results = {
            _COMPRESSAI.get(key, key): [values[key] for values in settings.values()]
            for key in ("bpp", *points[0].scores)
        }
        for key in ("encode", "decode"):
            seconds = [values[key] for values in settings.values()]
            results[key.removesuffix("e") + "ing_time"] = seconds
        ladder = ", ".join(f"{setting:g}" for setting in settings)
        # A codec may be called by a path.
        path = output.path(f"curves/{codec.replace('/', '-')}.json")
        curves.write_compressai(path, codec, f"real files, settings {ladder}", results)


def write_figure(
    output: Output,
    points: Sequence[Measurement],
    published: Sequence[curves.Published],
) -> None:
    """Writes rate_distortion.png, if something in dB was measured."""
    measured = decibel_curves(points)
    if measured:
        output.figure(curves.figure(measured, published), "rate_distortion.png")


def _flat(point: Measurement) -> dict[str, object]:
    """A measurement as a row of the CSV file."""
    row = point._asdict()
    scores = row.pop("scores")
    return {**row, **scores}


def points_table(
    averages: Averages, count: int, folder: str, skipped: int = 0
) -> Table:
    """Means over the images, a row for each codec and setting.

    Args:
      averages: of `averaged`.
      count: of images.
      folder: where the files are.
      skipped: how many images could not be read.
    """
    rows = {
        f"{codec} {setting:g}": {key: Score(value) for key, value in values.items()}
        for codec, settings in averages.items()
        for setting, values in settings.items()
    }
    units = {"psnr": "dB", "encode": "s", "decode": "s"}
    columns = {key: units.get(key, "") for key in next(iter(rows.values()))}
    return Table(
        f"Rate and distortion, means over {count} images",
        columns,
        rows,
        notes=(
            "bpp: of whole files. Qualities: of decoded 8-bit RGB; PSNR averaged in dB.",
            "Metrics other than psnr, ssim and ms-ssim are distances.",
            f"Every image: {folder}/points.csv; curves: {folder}/rate_distortion.png, "
            f"{folder}/curves/",
            *readable.note({"images": skipped}),
        ),
        drawn=False,
    )


def bd_table(
    measured: Mapping[str, Mapping[str, Curve]],
    anchor: str,
    limits: tuple[float, float],
) -> Table:
    """Bjøntegaard differences to the anchor: method, BD-rate, BD-PSNR, same for MS-SSIM.

    Args:
      measured: measure -> codec -> curve in dB.
      anchor: the codec that the others are compared with.
      limits: only points with rates in this range, in bits per pixel, are used.
    """
    columns: dict[str, str] = {}
    rows: dict[str, dict[str, Score]] = {}
    notes = [
        f"Anchor: {anchor}. Interpolation: {bjontegaard.INTERPOLATION}, logarithm of rate. "
        f"Points from {limits[0]:g} to {limits[1]:g} bpp; ranges in common:"
    ]
    for measure, several in measured.items():
        rate, quality = f"BD-rate ({measure})", f"BD-{measure.upper()}"
        columns |= {rate: "%", quality: "dB"}
        first = bjontegaard.within(several[anchor], *limits)
        for codec, curve in several.items():
            if codec == anchor:
                continue
            row = rows.setdefault(codec, {})
            try:
                second = bjontegaard.within(curve, *limits)
                row[rate] = Score(bjontegaard.bd_rate(first, second) / 100)
                row[quality] = Score(bjontegaard.bd_psnr(first, second))
                notes.append(f"{codec}, {measure}: {_ranges(first, second)}")
            except ValueError as error:
                notes.append(f"{codec}, {measure}: {error}")
    title = f"Bjøntegaard differences to {anchor}"
    return Table(title, columns, rows, notes, drawn=False)


def _ranges(anchor: Curve, curve: Curve) -> str:
    low, high = bjontegaard.common_qualities(anchor, curve)
    cheap, dear = bjontegaard.common_rates(anchor, curve)
    return f"{low:.2f} to {high:.2f} dB, {cheap:.3f} to {dear:.3f} bpp"


def complexities(
    config: ml_collections.ConfigDict, progress: Progress, output: Output | None = None
) -> list[Table]:
    """Parameters and multiply-accumulates of the architectures in `config.models`.

    With published curves also complexity.png in `config.out`.
    """
    names = names_in(config.models, "models")
    unknown = [name for name in names if name not in NAMED]
    if unknown:
        raise ValueError(f"config.models must be among {[*NAMED]}, found {unknown}")
    progress("tracing")
    models = {name: NAMED[name] for name in names}
    if not config.curves_dir:
        return [complexity.table(models)]
    published = curves.read_published(config.curves_dir)
    found = complexity.table(models, complexity.bd_rates(published))
    output = output_of(config, output)
    output.figure(complexity.picture(found), "complexity.png")
    return [found]


EVALUATIONS: dict[str, Evaluation] = {
    "kodak": kodak,
    "photograph": photograph,
    "complexity": complexities,
    "toy": toy,
}
