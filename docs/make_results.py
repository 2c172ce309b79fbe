"""Makes the results page: `make results`.

    python docs/make_results.py

reads the template docs/results.md.in and the files docs/results/*.json, and writes
docs/results.md. The files are those that `eval.py` and the benchmarks write. To add a
result, copy such a file to docs/results/ and name it in the template (Jinja,
https://jinja.palletsprojects.com), which has four functions:

    {{ command("kodak.json") }}         the command that made the file, as a code block
    {{ table("kodak.json", [column("bpp", "bpp", ".3f")], rows=["qt256 0"]) }}
    {{ value("kodak.json", "qt256", "BD-PSNR", ".2f") }}
    {{ column(...) }}                   a column of a table, see `Column`

Formats are those of Python's numbers. An empty format shows the digits that the file has.
Where the unit of a measure is "%", the file has a fraction, and the page multiplies it by
100.
"""

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

FOLDER = Path(__file__).parent
TEMPLATE, DATA, PAGE = (
    FOLDER / name for name in ("results.md.in", "results", "results.md")
)
_WIDTH = 96  # of a line of a command
_LINE = 100  # of a paragraph, in characters
_BEST = {"max": max, "min": min}


class Cell(NamedTuple):
    """A score as a file has it; a value that is not finite is None.

    Attributes:
      value, low, high: the number, and its interval where there is one.
      unit: of the measure.
    """

    value: Decimal | None
    low: Decimal | None
    high: Decimal | None
    unit: str


class Column(NamedTuple):
    """A column of a table on the page.

    Attributes:
      title: its head.
      measure: the measure that it shows.
      format: of the value.
      interval: format of both ends of the interval; none is shown if it is empty.
      best: "max" or "min" prints the best values in bold.
      of: a part of the title of the table in the file, where several have the measure.
      times: factor of the value, in place of the 100 of "%".
      not_finite: what stands for a value that is not finite.
    """

    title: str
    measure: str
    format: str = ""
    interval: str = ""
    best: str = ""
    of: str = ""
    times: int | None = None
    not_finite: str = "not finite"

    def text(self, cell: Cell) -> str:
        """A score as the page shows it."""
        if cell.value is None:
            return self.not_finite
        text = self._number(cell.value, cell.unit, self.format)
        if not self.interval or cell.low is None or cell.high is None:
            return text
        low, high = (
            self._number(end, cell.unit, self.interval) for end in (cell.low, cell.high)
        )
        return f"{text} ({low}..{high})"

    def _number(self, value: Decimal, unit: str, how: str) -> str:
        times = self.times or (100 if unit == "%" else 1)
        # A Decimal keeps the digits of the file; unlike a product, `scaleb` adds none.
        power = Decimal(times).adjusted()
        value = value.scaleb(power) if times == 10**power else value * times
        return "0" if how == "e" and not value else format(value, how or "f")


class Results:
    """The files of a folder, by name.

    Attributes:
      used: names of the files that were asked for.
    """

    def __init__(self, folder: Path) -> None:
        self.used: set[str] = set()
        self._files = {
            path.name: json.loads(
                path.read_text(encoding="utf-8"), parse_float=Decimal, parse_int=Decimal
            )
            for path in sorted(folder.glob("*.json"))
        }

    def _file(self, name: str) -> Mapping[str, Any]:
        if name not in self._files:
            raise KeyError(f"no file is called {name}; there are {sorted(self._files)}")
        self.used.add(name)
        found: Mapping[str, Any] = self._files[name]
        return found

    def _tables(self, files: Sequence[str], measure: str, of: str) -> list[Any]:
        """All tables with this measure whose title has the text `of`."""
        found = [
            table
            for file in files
            for table in self._file(file)["tables"]
            if measure in table["units"] and of in table["title"]
        ]
        if not found:
            raise KeyError(f"{files}: no table {of!r} has the measure {measure!r}")
        return found

    def cell(
        self, files: Sequence[str], row: str, measure: str, of: str = ""
    ) -> Cell | None:
        """A score; None where there is the measure, and the row, but not in it.

        Raises:
          KeyError: there is no such measure or no such row.
          ValueError: there are several.
        """
        tables = self._tables(files, measure, of)
        if row not in {row for file in files for row in self.rows(file)}:
            raise KeyError(f"{files}: there is no row {row!r}")
        found = [
            Cell(score["value"], score["low"], score["high"], table["units"][measure])
            for table in tables
            if (score := table["results"].get(row, {}).get(measure))
        ]
        if len(found) > 1:
            raise ValueError(f"{files}: {row!r} has {measure!r} more than once")
        return found[0] if found else None

    def rows(self, file: str) -> list[str]:
        """The rows of a file's tables, in order."""
        return list(
            dict.fromkeys(
                row for table in self._file(file)["tables"] for row in table["results"]
            )
        )

    def command(self, file: str) -> str:
        """The command that made a file, as an indented block of code."""
        lines = self._file(file)["command"].splitlines()
        return "\n".join(
            f"    {part}" for line in lines for part in _wrapped(line, _WIDTH)
        )

    def value(
        self,
        file: str,
        row: str,
        measure: str,
        format: str = "",
        interval: str = "",
        of: str = "",
        times: int | None = None,
    ) -> str:
        """One score, for a sentence; the arguments are those of `Column`."""
        cell = self.cell([file], row, measure, of)
        if cell is None:
            raise KeyError(f"{file}: {row!r} has no {measure!r}")
        column = Column("", measure, format, interval, times=times)
        return column.text(cell)

    def table(
        self,
        files: str | Sequence[str],
        columns: Sequence[Column],
        rows: Mapping[str, str] | Sequence[str] | None = None,
        prefix: str = "",
        corner: str = "",
        turned: bool = False,
    ) -> str:
        """A table in Markdown.

        Args:
          files: one or several, whose rows are joined.
          columns: what it shows.
          rows: names of rows, or name -> name on the page; all if None.
          prefix: only rows that begin with it, which is left out on the page.
          corner: head of the column of names.
          turned: measures go down and rows across.
        """
        files = [files] if isinstance(files, str) else files
        if rows is None:
            names = [row for file in files for row in self.rows(file)]
            rows = [row for row in names if row.startswith(prefix)]
        if not isinstance(rows, Mapping):
            rows = {row: row.removeprefix(prefix) for row in rows}
        labels = [" ".join(str(label).split()) for label in rows.values()]
        filled = [
            [column.title, *_filled(column, [self._of(files, r, column) for r in rows])]
            for column in columns
        ]
        across = [[corner, *labels], *filled]
        lines = across if turned else list(zip(*across, strict=True))
        head, *body = (f"| {' | '.join(line)} |".replace("  ", " ") for line in lines)
        return "\n".join([head, "|" + "---|" * len(lines[0]), *body])

    def _of(self, files: Sequence[str], row: str, column: Column) -> Cell | None:
        return self.cell(files, row, column.measure, column.of)


def _filled(column: Column, cells: Sequence[Cell | None]) -> list[str]:
    """Texts of a column from top to bottom, the best ones in bold."""
    texts = ["" if cell is None else column.text(cell) for cell in cells]
    if not column.best:
        return texts
    known = {cell.value: cell for cell in cells if cell and cell.value is not None}
    best = known[_BEST[column.best](known)]
    # All that look equal to the best are bold; the intervals are not.
    plain = column._replace(interval="")
    bold = plain.text(best)
    return [
        f"**{bold}**{text.removeprefix(bold)}"
        if cell and plain.text(cell) == bold
        else text
        for cell, text in zip(cells, texts, strict=True)
    ]


def _wrapped(line: str, width: int) -> list[str]:
    """A command in lines of at most this width, as a shell continues them."""
    if len(line) <= width:
        return [line]
    lines = [""]
    for word in line.split(" "):
        if lines[-1] and len(lines[-1]) + len(word) + 3 > width:
            lines[-1] += " \\"
            lines.append(f"    {word}")
        else:
            lines[-1] += f" {word}" if lines[-1] else word
    return lines


def _refilled(page: str) -> str:
    """The page with paragraphs in lines of one width, whatever stands for a placeholder."""
    return "\n\n".join(
        _paragraph(block) if re.match(r"[\w(\[`]", block) else block
        for block in re.split(r"\n{2,}", page)
    )


def _paragraph(text: str) -> str:
    # A line must not begin with a sign of its own, which Markdown takes for a list.
    bound = re.sub(r"\s+([-+*]) ", "\0\\1 ", text.strip())
    filled = textwrap.fill(bound, _LINE, break_long_words=False, break_on_hyphens=False)
    return filled.replace("\0", " ")


def render(template: str, results: Results) -> str:
    """The page.

    Raises:
      KeyError: a placeholder names a file, a row or a measure that there is not.
      ValueError: a placeholder means several scores.
      jinja2.TemplateError: the template is not one.
    """
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
    environment.globals |= {
        "column": Column,
        "command": results.command,
        "table": results.table,
        "value": results.value,
    }
    return _refilled(environment.from_string(template).render().strip()) + "\n"


def main() -> None:
    """Writes the page."""
    template = TEMPLATE.read_text(encoding="utf-8")
    PAGE.write_text(render(template, Results(DATA)), encoding="utf-8")


if __name__ == "__main__":
    main()
