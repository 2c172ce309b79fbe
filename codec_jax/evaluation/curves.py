"""Rate-distortion curves as files: published text files in; JSON, CSV and a picture out."""

import csv
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.figure
import numpy as np

from codec_jax.evaluation.bjontegaard import Curve, decibel
from pim_jax.evaluation import pictures

# What a header calls a measure -> what we call it.
_MEASURES = {"PSNR": "psnr", "MS-SSIM": "ms-ssim"}
_TITLE = re.compile(r'#.*data for "(?P<name>.+)" on')
_COLUMN = re.compile(r"#\s*The second column contains (?P<measure>[\w-]+)/sRGB/R'G'B'")


class Published(NamedTuple):
    """A curve from the literature.

    Attributes:
      name: the codec, as the file calls it.
      measure: 'psnr' or 'ms-ssim', over RGB.
      curve: both in dB.
    """

    name: str
    measure: str
    curve: Curve


def read_published(folder: str | Path) -> list[Published]:
    """All text files below a folder, in the format of tensorflow-compression's results.

    Their comments name codec and measure; each line has a rate in bits per pixel and a
    quality, with a comma between.

    Raises:
      FileNotFoundError: no such folder, or no .txt file in it.
      ValueError: a file in another format; the message names it.
    """
    folder = Path(folder)
    paths = sorted(folder.rglob("*.txt"))
    if not paths:
        raise FileNotFoundError(f"no .txt file with a curve in {folder}")
    return [_read_curve(path) for path in paths]


def _read_curve(path: Path) -> Published:
    text = path.read_text(encoding="utf-8-sig")
    title, column = _TITLE.search(text), _COLUMN.search(text)
    if not title or not column or column["measure"] not in _MEASURES:
        raise ValueError(
            f"{path}: expected comments that name a codec and PSNR or MS-SSIM over RGB"
        )
    try:
        points = np.loadtxt(text.splitlines(), delimiter=",", ndmin=2)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if points.shape[1:] != (2,):
        raise ValueError(f"{path}: expected two columns, found {points.shape[1:]}")
    bpp, quality = points.T
    measure = _MEASURES[column["measure"]]
    return Published(
        title["name"],
        measure,
        Curve(bpp, quality if measure == "psnr" else decibel(quality)),
    )


def write_compressai(
    path: str | Path,
    name: str,
    description: str,
    results: Mapping[str, Sequence[float]],
) -> None:
    """Writes the curve of one codec in CompressAI's result format, for its plot command.

    Args:
      path: of the JSON file.
      name: of the codec.
      description: of how it was run.
      results: lists with one value for each setting: 'bpp', 'psnr-rgb', 'ms-ssim-rgb',
        'encoding_time' and 'decoding_time' in seconds, and others. JSON has no infinity:
        it becomes null.
    """
    lists = {
        key: [float(v) if math.isfinite(v) else None for v in values]
        for key, values in results.items()
    }
    content = {"name": name, "description": description, "results": lists}
    Path(path).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_csv(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows that have the same keys, at least one, as CSV with a header."""
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def figure(
    curves: Mapping[str, Mapping[str, Curve]], published: Sequence[Published] = ()
) -> matplotlib.figure.Figure:
    """Rate-distortion curves: one panel for each measure, in dB over bits per pixel.

    Args:
      curves: measure -> codec -> curve; at least one measure.
      published: drawn thin and broken into the panel of their measure, as far as the
        measured curves go.
    """
    drawn = matplotlib.figure.Figure(
        figsize=(9 * len(curves), 6.5), layout="constrained"
    )
    for axis, (measure, several) in zip(
        drawn.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True
    ):
        known = [found for found in published if found.measure == measure]
        for number, found in enumerate(known):
            style = {**pictures.line_style(number, 1), "linewidth": 0.8, "alpha": 0.7}
            axis.plot(*found.curve, label=found.name, **style)
        for number, (name, curve) in enumerate(several.items()):
            axis.plot(*curve, label=name, **pictures.marker_style(number))
        _limit(axis, list(several.values()))
        axis.set_xlabel("bits per pixel")
        axis.set_ylabel(f"{measure.upper()} (dB)")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    return drawn


def _limit(axis: Any, measured: Sequence[Curve]) -> None:
    """Shows what was measured, whatever else is drawn."""
    bpp = np.concatenate([curve.bpp for curve in measured])
    quality = np.concatenate([curve.quality for curve in measured])
    quality = quality[np.isfinite(quality)]
    axis.set_xlim(0, 1.05 * bpp.max())
    if quality.size:
        axis.set_ylim(quality.min() - 1, quality.max() + 1)
