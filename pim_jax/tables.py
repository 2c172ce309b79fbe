"""Tables of scores with intervals: on the screen, as JSON, as CSV and as a bar chart."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.figure
import rich.console
import rich.table


class Score(NamedTuple):
    """A value, and its 95 % interval where there is one."""

    value: float
    low: float | None = None
    high: float | None = None


class Table(NamedTuple):
    """Scores of several metrics.

    Attributes:
      title: what was scored, on what.
      columns: measure -> unit. "%" says that the scores are fractions and are shown times
        100; in files they stay fractions.
      rows: metric -> measure -> score; a row may lack measures.
      notes: what a reader must know.
      down: rows go down the screen, measures across, for tables with many rows. Such
        tables have no bars.
    """

    title: str
    columns: Mapping[str, str]
    rows: Mapping[str, Mapping[str, Score]]
    notes: Sequence[str] = ()
    down: bool = False


def _shown(score: Score | None, unit: str) -> str:
    """A score for the screen: value, and the interval below it."""
    if score is None:
        return "-"
    factor, digits = (100, 2) if unit == "%" else (1, 3)
    text = f"{score.value * factor:.{digits}f}"
    if score.low is not None and score.high is not None:
        low, high = score.low * factor, score.high * factor
        text += f"\n[dim]{low:.{digits - 1}f}..{high:.{digits - 1}f}[/dim]"
    return text


def show(table: Table, console: rich.console.Console | None = None) -> None:
    """Prints a table with its notes below, metrics side by side unless it goes down."""
    console = console or rich.console.Console()
    screen = rich.table.Table(
        title=table.title,
        caption="\n".join(table.notes) or None,
        caption_justify="left",
    )
    grid: list[Sequence[str]] = [["", *table.rows]]
    for measure, unit in table.columns.items():
        scores = [_shown(row.get(measure), unit) for row in table.rows.values()]
        grid.append([f"{measure} {unit}".rstrip(), *scores])
    if table.down:
        grid = list(zip(*grid, strict=True))
    screen.add_column("")
    for name in grid[0][1:]:
        screen.add_column(name, justify="right", overflow="fold")
    for line in grid[1:]:
        screen.add_row(*line)
    console.print(screen)


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


def save(
    tables: Sequence[Table], folder: str | Path, name: str, about: Mapping[str, Any]
) -> list[Path]:
    """Writes FOLDER/NAME.json, .csv and, of tables with bars, .png; returns their paths.

    Args:
      tables: what to write, all into the same three files.
      folder: made if it does not exist.
      name: stem of the file names.
      about: what was run (configuration, versions), for the JSON file.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{ending}" for ending in ("json", "csv", "png")]
    content = {**about, "tables": [as_json(table) for table in tables]}
    paths[0].write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    _write_csv(tables, paths[1])
    with_bars = [table for table in tables if not table.down]
    if not with_bars:
        return paths[:2]
    bar_chart(with_bars).savefig(paths[2], dpi=120)
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


def bar_chart(tables: Sequence[Table]) -> matplotlib.figure.Figure:
    """One panel of bars for each table and unit, with intervals as whiskers."""
    panels = [
        (table, unit, [k for k, u in table.columns.items() if u == unit])
        for table in tables
        for unit in dict.fromkeys(table.columns.values())
    ]
    figure = matplotlib.figure.Figure(
        figsize=(10, 3.2 * len(panels)), layout="constrained"
    )
    axes = figure.subplots(len(panels), squeeze=False)[:, 0]
    for axis, (table, unit, measures) in zip(axes, panels, strict=True):
        _draw_panel(axis, table, unit, measures)
    return figure


def _draw_panel(axis: Any, table: Table, unit: str, measures: Sequence[str]) -> None:
    """Groups of bars, one group for each measure."""
    factor = 100 if unit == "%" else 1
    width = 0.8 / len(table.rows)
    for i, (metric, scores) in enumerate(table.rows.items()):
        present = [(x, scores[m]) for x, m in enumerate(measures) if m in scores]
        left = [x + (i - (len(table.rows) - 1) / 2) * width for x, _ in present]
        values = [factor * score.value for _, score in present]
        axis.bar(left, values, width, label=metric, color=f"C{i % 10}")
        for x, (_, score) in zip(left, present, strict=True):
            if score.low is not None and score.high is not None:
                limits = [factor * score.low, factor * score.high]
                axis.plot([x, x], limits, color="black", linewidth=1)
    axis.set_xticks(range(len(measures)), measures)
    axis.set_ylabel(unit or "score")
    axis.set_title(table.title, fontsize=10)
    axis.grid(axis="y", alpha=0.3)
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
