"""Tables on the screen and in files."""

import io

import rich.console

from pim_jax import tables
from pim_jax.tables import Score, Table

ROWS = {
    "first": {"a": Score(0.25, 0.2, 0.3), "b": Score(2)},
    "second": {"a": Score(0.5)},
}
COLUMNS = {"a": "%", "b": "dB"}


def shown(table):
    """Rows of cells."""
    file = io.StringIO()
    tables.show(table, rich.console.Console(file=file, width=100))
    lines = file.getvalue().replace("┃", "│").splitlines()
    return [[c.strip() for c in line.split("│")[1:-1]] for line in lines if "│" in line]


def test_metrics_side_by_side():
    assert shown(Table("title", COLUMNS, ROWS)) == [
        ["", "first", "second"],
        ["a %", "25.00", "50.00"],
        ["", "20.0..30.0", ""],
        ["b dB", "2.000", "-"],
    ]


def test_metrics_down():
    assert shown(Table("title", COLUMNS, ROWS, down=True)) == [
        ["", "a %", "b dB"],
        ["first", "25.00", "2.000"],
        ["", "20.0..30.0", ""],
        ["second", "50.00", "-"],
    ]


def test_only_tables_side_by_side_have_bars(tmp_path):
    down = Table("title", COLUMNS, ROWS, down=True)
    names = [path.name for path in tables.save([down], tmp_path, "a", {})]
    assert names == ["a.json", "a.csv"]
    both = [down, down._replace(down=False)]
    names = [path.name for path in tables.save(both, tmp_path, "b", {})]
    assert names == ["b.json", "b.csv", "b.png"]
    assert {path.name for path in tmp_path.iterdir()} == {"a.json", "a.csv", *names}
