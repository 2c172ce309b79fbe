"""The results page is what its template and the files of docs/results/ make."""

import importlib.util
import json
import re
from decimal import Decimal
from pathlib import Path

import jinja2
import pytest

FOLDER = Path(__file__).parents[1] / "docs"
FILES = sorted((FOLDER / "results").glob("*.json"))
COMMAND = re.compile(
    r"^(\w+=\S+ )*python (eval\.py|train\.py|-m tests\.\w+\.\w+)|^(for|git) ", re.ASCII
)


def _module():
    spec = importlib.util.spec_from_file_location(
        "make_results", FOLDER / "make_results.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make_results = _module()
TEMPLATE = make_results.TEMPLATE.read_text(encoding="utf-8")


@pytest.fixture
def results(tmp_path):
    """One file as `eval.py` writes it."""
    scores = {
        "a": {"share": (0.25, 0.125, 0.5), "time": (0.0190, None, None)},
        "b": {"share": (0.75, None, None), "time": (None, None, None)},
        "c": {"share": (0.749999, None, None)},
    }
    rows = {
        row: {
            measure: dict(zip(("value", "low", "high"), score, strict=True))
            for measure, score in of.items()
        }
        for row, of in scores.items()
    }
    units = {"share": "%", "time": "s"}
    table = {"title": "first", "units": units, "results": rows}
    other = {"title": "second", "units": {"time": "s"}, "results": {"a": rows["a"]}}
    content = {
        "command": "python eval.py " + "--flag=value " * 9,
        "tables": [table, other],
    }
    (tmp_path / "one.json").write_text(json.dumps(content))
    return make_results.Results(tmp_path)


def test_the_page_is_up_to_date():
    """`make results` makes it."""
    results = make_results.Results(make_results.DATA)
    page = make_results.render(TEMPLATE, results)
    assert make_results.PAGE.read_text(encoding="utf-8") == page
    assert results.used == {path.name for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_says_where_it_comes_from(path):
    content = json.loads(path.read_text(encoding="utf-8"))
    assert COMMAND.match(content["command"])
    # What eval.py and the benchmarks write names the version.
    assert ("version" in content) != ("source" in content)
    assert content.get("complete", True)
    for table in content["tables"]:
        for row in table["results"].values():
            assert set(row) <= set(table["units"])


def test_no_table_is_written_by_hand():
    assert not re.findall(r"^\|", TEMPLATE, re.MULTILINE)


def test_a_table(results):
    template = """
{{ table("one.json", [column("share, %", "share", ".1f", ".0f", "max"),
                      column("ms", "time", times=1000, of="first", not_finite="none")],
         rows={"a": "A", "b": "B", "c": "C"}, corner="name") }}
"""
    assert make_results.render(template, results).splitlines() == [
        "| name | share, % | ms |",
        "|---|---|---|",
        "| A | 25.0 (12..50) | 19 |",
        "| B | **75.0** | none |",
        "| C | **75.0** | |",
    ]


def test_measures_may_go_down(results):
    template = """{{ table("one.json", [column("share", "share")], turned=true) }}"""
    assert make_results.render(template, results).splitlines() == [
        "| | a | b | c |",
        "|---|---|---|---|",
        "| share | 25 | 75 | 74.9999 |",
    ]


def test_digits_are_those_of_the_file():
    column = make_results.Column("", "")
    for text, unit, shown in (("0.350", "%", "35.0"), ("17.0", "", "17.0")):
        cell = make_results.Cell(Decimal(text), None, None, unit)
        assert column.text(cell) == shown


def test_sentences_and_commands(results):
    template = """
Of all, {{ value("one.json", "a", "share", ".0f", ".1f") }} %: R {{ "word " * 19 }}+ D.

{{ command("one.json") }}
"""
    sentence, command = make_results.render(template, results).split("\n\n")
    assert sentence.startswith("Of all, 25 (12.5..50.0) %: R word")
    assert max(map(len, sentence.splitlines())) <= 100
    assert not re.search(r"^\+", sentence, re.MULTILINE)  # would be a list
    lines = command.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("    python eval.py --flag=value")
    assert lines[0].endswith(" \\")


@pytest.mark.parametrize(
    ("placeholder", "error", "message"),
    [
        ('value("two.json", "a", "share")', KeyError, "no file is called two.json"),
        ('value("one.json", "d", "share")', KeyError, "there is no row 'd'"),
        ('value("one.json", "a", "rate")', KeyError, "has the measure 'rate'"),
        ('value("one.json", "c", "time")', KeyError, "'c' has no 'time'"),
        ('value("one.json", "a", "time")', ValueError, "'time' more than once"),
        ('value("one.json", "a", "time", of="third")', KeyError, "no table 'third'"),
        ('table("one.json", [column("", "rate")])', KeyError, "measure 'rate'"),
        ('table("one.json", [column("", "share")], ["d"])', KeyError, "no row 'd'"),
        ('command("two.json")', KeyError, "two.json"),
        ("figure(1)", jinja2.UndefinedError, "figure"),
    ],
)
def test_what_is_missing_is_named(results, placeholder, error, message):
    with pytest.raises(error, match=message):
        make_results.render("{{ " + placeholder + " }}", results)
