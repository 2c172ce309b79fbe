"""`report.html`: one file with the curves, pictures, config and versions of a run."""

import base64
import html
import importlib.metadata
import io
import json
import math
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from pim_jax.io import files

FILE = "report.html"
PACKAGES = (
    "pim-jax",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "tensorflow-datasets",
)
# What the pictures of tasks show, by their names in TensorBoard.
CAPTIONS = {
    "frame_pairs": "frame_pairs: held-out frames, and below each the next of its clip",
    "activations": "activations: held-out frames, and below each the first three features "
    "of every level as red, green and blue, the coarsest level first",
    "decoded": "decoded: held-out crops, and below each what is decoded at the lowest, a "
    "middle and the highest rate",
    "cells": "cells: density of the source (blue), borders of the quantisation cells "
    "(black) and code vectors (orange), the larger the more probable",
}
_STYLE = """
body { font: 15px/1.5 sans-serif; margin: 2em auto; max-width: 1100px; padding: 0 1em; }
figure { display: inline-block; margin: 0 1em 1em 0; vertical-align: top; }
figure img { max-width: 100%; } figcaption { color: #555; }
.picture { image-rendering: pixelated; min-width: 192px; }
pre { background: #f4f4f4; overflow: auto; padding: 1em; }
td { padding: 0 1em 0 0; }
"""

Curve = list[tuple[int, float]]


def environment() -> dict[str, str]:
    """Versions and hardware, as text: what one needs to repeat a run."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    device = jax.devices()[0]
    found["devices"] = (
        f"{jax.device_count()} × {device.device_kind} ({device.platform})"
    )
    found["processes"] = str(jax.process_count())
    return found


def curves(records: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Curve]]:
    """{scalar: {'train' or 'eval': [(step, value), ...]}} from the lines of the log.

    Values that are not finite are left out.
    """
    found: dict[str, dict[str, Curve]] = {}
    for record in records:
        for name, value in record["scalars"].items():
            points = found.setdefault(name, {}).setdefault(record["kind"], [])
            if value is not None and math.isfinite(value):
                points.append((record["step"], value))
    return found


def _data_url(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _plot(by_kind: Mapping[str, Curve]) -> str:
    """One curve as the data URL of an SVG."""
    figure = Figure(figsize=(4.6, 2.7))
    # Fixed margins: finding the best ones takes longer than drawing.
    axes = figure.add_axes((0.16, 0.17, 0.81, 0.78))
    for kind, points in by_kind.items():
        # A lone point is invisible without a marker.
        marker = "o" if len(points) < 20 else None
        axes.plot(*np.array(points).reshape(-1, 2).T, marker=marker, ms=3, label=kind)
    axes.set_xlabel("step")
    axes.grid(alpha=0.3)
    if len(by_kind) > 1:
        axes.legend()
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):  # text stays text
        figure.savefig(buffer, format="svg")
    return _data_url("svg+xml", buffer.getvalue())


def _picture(image: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return _data_url("png", buffer.getvalue())


def _figure(url: str, caption: str, css_class: str = "") -> str:
    caption = html.escape(caption)
    return (
        f'<figure><img class="{css_class}" src="{url}" alt="{caption}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _summary(records: list[dict[str, Any]], steps: int | None) -> str:
    if not records:
        return "<p>Nothing was logged.</p>"
    last = records[-1]
    whole = f" of {steps}" if steps else ""
    return f"<p>{last['step']}{whole} steps in {last['seconds']:.0f} seconds.</p>"


def _final_values(by_name: Mapping[str, Mapping[str, Curve]]) -> str:
    rows = [
        f"<tr><td>{html.escape(name)}</td><td>{kind}</td><td>{points[0][1]:.5g}</td>"
        f"<td>{points[-1][1]:.5g}</td></tr>"
        for name, by_kind in by_name.items()
        for kind, points in by_kind.items()
        if points
    ]
    head = "<tr><th>scalar</th><th>kind</th><th>first</th><th>last</th></tr>"
    return f"<table>{head}{''.join(rows)}</table>"


def write(
    workdir: Path,
    records: list[dict[str, Any]],
    pictures: Mapping[str, np.ndarray],
    config: Mapping[str, Any],
) -> Path:
    """Writes `workdir/report.html`, which needs no other file and no network.

    Args:
      workdir: folder of the run.
      records: the lines of the log, see `report.read_log`.
      pictures: name -> uint8 (h, w, 3).
      config: the resolved config, as plain dictionaries.

    Returns: the path of the page.
    """
    by_name = curves(records)
    title = html.escape(f"Training run {workdir.resolve().name}")
    versions = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(text)}</td></tr>"
        for name, text in environment().items()
    )
    parts = [
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}',
        f"</title><style>{_STYLE}</style></head><body><h1>{title}</h1>",
        _summary(records, config.get("steps")),
        "<h2>Curves</h2>",
        *(_figure(_plot(by_kind), name) for name, by_kind in by_name.items()),
        "<h2>Pictures</h2>",
        *(
            _figure(_picture(image), CAPTIONS.get(name, name), "picture")
            for name, image in pictures.items()
        ),
        "<h2>Values</h2>",
        _final_values(by_name),
        "<h2>Config</h2><pre>",
        html.escape(json.dumps(config, indent=2, default=str)),
        f"</pre><h2>Environment</h2><table>{versions}</table></body></html>\n",
    ]
    path = workdir / FILE
    # Whole, whoever reads it while training goes on.
    files.replace_file(path, "".join(parts).encode())
    return path


_END = "</body></html>"


def check(path: Path) -> str:
    """The text of a page that `write` made.

    Raises: FileNotFoundError if there is no such page, ValueError if it is another one.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such page: {path}")
    text = path.read_text(encoding="utf-8")
    if _END not in text:
        raise ValueError(f"{path} is no report: it does not end with {_END}")
    return text


def add_section(
    path: Path, name: str, title: str, pictures: Mapping[str, np.ndarray]
) -> None:
    """Adds pictures to the end of a page that `write` made.

    Args:
      path: the page.
      name: of the section; one of that name is replaced.
      title: its heading.
      pictures: caption -> uint8 (h, w, 3).

    Raises: as `check`.
    """
    text, end = check(path), _END
    first, last = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, _, rest = text.partition(first)
    after = rest.partition(last)[2] or end + "\n"
    if not rest:
        before = before.partition(end)[0]
    figures = (_figure(_picture(image), text) for text, image in pictures.items())
    section = f"{first}<h2>{html.escape(title)}</h2>{''.join(figures)}{last}"
    path.write_text(before + section + after, encoding="utf-8")
