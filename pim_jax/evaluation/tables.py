"""Tables of scores with intervals: on the screen, as JSON, as CSV and as a picture."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.figure
import numpy as np
import rich.console
import rich.text

from pim_jax.evaluation import grids

DIFFERENCE = "minus "  # begins the name of a measure that is a difference
_PANELS = 4  # of a table's picture, side by side


class Score(NamedTuple):
    """A value, and its 95 % interval where there is one; a count is an `int`."""

    value: float
    low: float | None = None
    high: float | None = None


class Table(NamedTuple):
    """Scores of several metrics, which go down the screen, measures across.

    Attributes:
      title: what was scored, on what.
      columns: measure -> unit. "%" says that the scores are fractions and are shown times
        100; in files they stay fractions.
      rows: metric -> measure -> score; a row may lack measures.
      notes: what a reader must know.
      drawn: there is a picture of it, `chart`.
    """

    title: str
    columns: Mapping[str, str]
    rows: Mapping[str, Mapping[str, Score]]
    notes: Sequence[str] = ()
    drawn: bool = True


def number(value: float, unit: str = "") -> str:
    """A value for a reader: a count as it is, anything else with some digits.

    Small values keep three digits that count, instead of becoming 0.000.
    """
    if isinstance(value, int | np.integer):
        return str(value)
    if unit == "%":
        return f"{value * 100:.2f}"
    return f"{value:#.3g}" if 0 < abs(value) < 0.1 else f"{value:.3f}"


def _shown(score: Score | None, unit: str) -> str:
    """A score for the screen: value, and the interval below it."""
    if score is None:
        return "-"
    text = number(score.value, unit)
    if score.low is not None and score.high is not None:
        factor, digits = (100, 1) if unit == "%" else (1, 2)
        low, high = score.low * factor, score.high * factor
        text += f"\n{low:.{digits}f}..{high:.{digits}f}"
    return text


def show(table: Table, console: rich.console.Console | None = None) -> None:
    """Prints a table with its notes below, metrics down; see `grids.show`."""
    console = console or rich.console.Console()
    columns = [grids.Column("", list(table.rows))]
    for measure, unit in table.columns.items():
        cells = [_shown(row.get(measure), unit) for row in table.rows.values()]
        title = f"{measure} {unit}".rstrip()
        columns.append(grids.Column(title, cells, right=True, dim=True))

    def line(text: str, style: str) -> None:
        console.print(
            rich.text.Text(text, style=style), soft_wrap=not console.is_terminal
        )

    line(table.title, "bold")
    grids.show(console, columns)
    for note in table.notes:
        line(note, "dim")


def _finite(value: float | None) -> float | None:
    """JSON has no NaN."""
    return value if value is not None and math.isfinite(value) else None


def as_json(table: Table) -> dict[str, Any]:
    """A table as nested dictionaries: results -> metric -> measure -> value, low, high."""
    return {
        "title": table.title,
        "units": dict(table.columns),
        "fractions": "scores with unit % are stored as fractions",
        "notes": list(table.notes),
        "results": {
            metric: {
                measure: {k: _finite(v) for k, v in score._asdict().items()}
                for measure, score in scores.items()
            }
            for metric, scores in table.rows.items()
        },
    }


def content(tables: Sequence[Table], about: Mapping[str, Any]) -> str:
    """What the JSON file of `save` holds, as text that ends with a line break."""
    whole = {**about, "tables": [as_json(table) for table in tables]}
    return json.dumps(whole, indent=2) + "\n"


def save(
    tables: Sequence[Table], folder: str | Path, name: str, about: Mapping[str, Any]
) -> list[Path]:
    """Writes FOLDER/NAME.json, .csv and, of tables that are drawn, .png.

    Args:
      tables: what to write, all into the same three files.
      folder: made if it does not exist.
      name: stem of the file names.
      about: what was run (configuration, versions), for the JSON file.

    Returns: the paths of the files.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{ending}" for ending in ("json", "csv", "png")]
    paths[0].write_text(content(tables, about), encoding="utf-8")
    _write_csv(tables, paths[1])
    pictured = [table for table in tables if table.drawn]
    if not pictured:
        return paths[:2]
    chart(pictured).savefig(paths[2], dpi=120)
    return paths


def _write_csv(tables: Sequence[Table], path: Path) -> None:
    """One row per score."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["table", "metric", "measure", "value", "low", "high"])
        for table in tables:
            for metric, scores in table.rows.items():
                for measure, score in scores.items():
                    writer.writerow([table.title, metric, measure, *score])


def chart(tables: Sequence[Table]) -> matplotlib.figure.Figure:
    """Scores as dots with their intervals: metrics down, one panel for each measure.

    Names stand beside their dots, so that any number of metrics can be told apart, which
    colours in a legend cannot do. Panels of shares, or of correlations, have one range.
    """
    heights = [
        math.ceil(len(table.columns) / _PANELS) * (1.3 + 0.24 * len(table.rows)) + 0.5
        for table in tables
    ]
    across = min(max(len(table.columns) for table in tables), _PANELS)
    figure = matplotlib.figure.Figure(
        figsize=(2.2 + 2.5 * across, sum(heights)), layout="constrained"
    )
    parts = figure.subfigures(len(tables), squeeze=False, height_ratios=heights)
    for part, table in zip(parts[:, 0], tables, strict=True):
        _draw_table(part, table)
    return figure


def _draw_table(part: Any, table: Table) -> None:
    """The panels of one table, at most `_PANELS` in a line."""
    part.suptitle(table.title, fontsize=10)
    lines = math.ceil(len(table.columns) / _PANELS)
    across = min(len(table.columns), _PANELS)
    grid = part.subplots(lines, across, squeeze=False, sharey=True)
    for axis in grid.ravel()[len(table.columns) :]:
        axis.axis("off")
    first: dict[str, Any] = {}
    for axis, (measure, unit) in zip(grid.flat, table.columns.items(), strict=False):
        # Differences are far smaller than what they are differences of.
        one_scale = _comparable(table, unit) and not measure.startswith(DIFFERENCE)
        if one_scale and first.setdefault(unit, axis) is not axis:
            axis.sharex(first[unit])
        _draw_panel(axis, table, measure, unit)


def _comparable(table: Table, unit: str) -> bool:
    """Whether measures of this unit are shares or correlations, which have one scale."""
    measures = [measure for measure, of in table.columns.items() if of == unit]
    values = [row[m].value for row in table.rows.values() for m in measures if m in row]
    return unit == "%" or (unit == "" and all(abs(value) <= 1 for value in values))


def _draw_panel(axis: Any, table: Table, measure: str, unit: str) -> None:
    """Dots of one measure, the first metric on top."""
    factor = 100 if unit == "%" else 1
    for place, scores in enumerate(table.rows.values()):
        score = scores.get(measure)
        if score is None:
            continue
        if not math.isfinite(score.value):
            middle = (0.5, place)
            axis.annotate(
                f"{score.value}", middle, xycoords=("axes fraction", "data"), fontsize=8
            )
            continue
        axis.plot(factor * score.value, place, "o", color="C0", markersize=4)
        if score.low is not None and score.high is not None:
            limits = [factor * score.low, factor * score.high]
            axis.plot(limits, [place, place], color="C0", linewidth=1)
    axis.set_yticks(range(len(table.rows)), list(table.rows), fontsize=8)
    axis.set_ylim(len(table.rows) - 0.5, -0.5)
    axis.set_title(f"{measure} {unit}".rstrip(), fontsize=9)
    axis.tick_params(axis="x", labelsize=8)
    axis.grid(alpha=0.3)
