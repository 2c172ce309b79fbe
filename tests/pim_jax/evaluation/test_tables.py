"""Tables on the screen and in files."""

import io
import json

import matplotlib.figure
import pytest
import rich.console

from pim_jax.evaluation import tables
from pim_jax.evaluation.tables import Score, Table

ROWS = {
    "first": {"a": Score(0.25, 0.2, 0.3), "b": Score(2)},
    "second": {"a": Score(0.5)},
}
COLUMNS = {"a": "%", "b": "dB"}
LONG = "a-metric-with-a-name-that-is-longer-than-others"
WIDE = Table(
    "A table of twelve measures",
    {f"measure {i}": "%" for i in range(12)},
    {
        name: {f"measure {i}": Score(0.54321, 0.501, 0.987) for i in range(12)}
        for name in ("ssim", LONG)
    },
    ("A note of some length, which says what a reader must know about it. " * 3,),
)


def text_of(table, **console):
    file = io.StringIO()
    tables.show(table, rich.console.Console(file=file, **console))
    return file.getvalue()


def cells(text):
    """Rows of cells."""
    lines = text.replace("┃", "│").splitlines()
    return [[c.strip() for c in line.split("│")[1:-1]] for line in lines if "│" in line]


@pytest.mark.parametrize("console", [{"width": 20}, {"width": 100}])
def test_metrics_go_down(console):
    """In a file, of whatever width: it is as wide as it has to be."""
    assert cells(text_of(Table("title", COLUMNS, ROWS), **console)) == [
        ["", "a %", "b dB"],
        ["first", "25.00", "2"],
        ["", "20.0..30.0", ""],
        ["second", "50.00", "-"],
    ]


def test_a_pipe_gets_lines_of_any_length(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    lines = text_of(WIDE).splitlines()
    head, ssim, _, named, _ = cells("\n".join(lines))
    assert head[1:] == [f"measure {i} %" for i in range(12)]
    assert ssim == ["ssim", *["54.32"] * 12]
    assert named[0] == LONG
    assert lines[0] == WIDE.title
    assert lines[-1].rstrip() == WIDE.notes[0].rstrip()


@pytest.mark.parametrize("width", [40, 80, 132])
def test_a_narrow_terminal_gets_several_grids(width):
    """Every number and every measure once and whole, and no letter of a name lost."""
    text = text_of(
        WIDE, width=width, force_terminal=True, color_system=None, legacy_windows=False
    )
    assert max(len(line) for line in text.splitlines()) <= width
    assert text.count("54.32") == 24
    assert text.count("50.1..98.7") == 24
    assert all(text.count(f"measure {i} %") == 1 for i in range(12))
    names = "".join(row[0] for row in cells(text))
    assert names.count(LONG) == names.count("ssim")


def test_a_name_is_text():
    rows = {"[bold]runs[/x]": {"a": Score(0.25)}}
    assert "[bold]runs[/x]" in text_of(Table("[title]", COLUMNS, rows))


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (7588, "", "7588"),
        (8, "", "8"),
        (2.5, "", "2.500"),
        (0.25, "%", "25.00"),
        (1.2e-6, "", "1.20e-06"),
        (0.0100, "", "0.0100"),
        (0.0, "", "0.000"),
        (31.4159, "dB", "31.416"),
    ],
)
def test_numbers(value, unit, shown):
    assert tables.number(value, unit) == shown


def test_tables_that_are_drawn(tmp_path):
    table = Table("title", COLUMNS, ROWS, drawn=False)
    names = [path.name for path in tables.save([table], tmp_path, "a", {})]
    assert names == ["a.json", "a.csv"]
    both = [table, table._replace(drawn=True)]
    names = [path.name for path in tables.save(both, tmp_path, "b", {})]
    assert names == ["b.json", "b.csv", "b.png"]
    assert {path.name for path in tmp_path.iterdir()} == {"a.json", "a.csv", *names}
    stored = json.loads((tmp_path / "b.json").read_text())["tables"][0]["results"]
    assert stored["first"]["b"] == {"value": 2, "low": None, "high": None}


def test_a_picture_names_every_metric_beside_its_dots():
    """A dozen metrics have no colour each, so there is no legend to mistake."""
    names = [f"metric {i}" for i in range(12)]
    rows = {
        name: {"a": Score(i / 12), "b": Score(3.0 * i)} for i, name in enumerate(names)
    }
    rows["metric 3"] = {"a": Score(float("nan")), "b": Score(float("inf"))}
    figure = tables.chart([Table("many", COLUMNS, rows)])
    assert isinstance(figure, matplotlib.figure.Figure)
    share, quality = (axis for part in figure.subfigs for axis in part.axes)
    assert [label.get_text() for label in share.get_yticklabels()] == names
    assert share.yaxis_inverted()
    dots = [(line.get_xdata()[0], line.get_ydata()[0]) for line in share.lines]
    assert dots[1] == pytest.approx((100 / 12, 1))
    assert [text.get_text() for text in quality.texts] == ["inf"]
    assert share.get_legend() is None
