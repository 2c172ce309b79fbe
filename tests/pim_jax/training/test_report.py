"""Reports: the line log survives kills, the screen suits where it goes, the page shows."""

import base64
import io
import json
import re

import numpy as np
import rich.console
from PIL import Image

from pim_jax.training import page, report


def write_log(folder, steps, tail=""):
    lines = [
        json.dumps({"step": s, "kind": "train", "seconds": s / 2, "scalars": {"a": s}})
        for s in steps
    ]
    (folder / report.LOG_FILE).write_text("\n".join(lines) + "\n" + tail)


def console(terminal):
    return rich.console.Console(
        file=io.StringIO(), force_terminal=terminal, width=200, soft_wrap=True
    )


def test_a_line_cut_off_by_a_kill_is_dropped(tmp_path):
    write_log(tmp_path, [1, 2, 3], tail='{"step": 4, "ki')
    assert [r["step"] for r in report.read_log(tmp_path)] == [1, 2, 3]
    assert report.read_log(tmp_path / "nowhere") == []


def test_resuming_drops_later_lines_and_continues_the_clock(tmp_path):
    write_log(tmp_path, [2, 4, 6], tail='{"step')
    with report.Report(tmp_path, 4, 10, console(False)) as out:
        out.training(6, {"a": 1.0, "loss": float("nan")})
    records = report.read_log(tmp_path)
    assert [r["step"] for r in records] == [2, 4, 6]
    assert 2.0 <= records[-1]["seconds"] < 3.0
    assert records[-1]["scalars"]["a"] == 1.0
    assert records[-1]["scalars"]["loss"] is None


def test_lines_where_there_is_no_terminal(tmp_path):
    screen = console(False)
    with report.Report(tmp_path, 0, 10, screen) as out:
        for step in range(1, 5):
            out.tick(step)
        out.training(4, {"own": 2.0, "loss": 1.5})
        out.evaluation(4, {"set/score": 0.25})
    lines = screen.file.getvalue().splitlines()
    assert len(lines) == 2
    assert re.match(
        r"step 4/10 · \S+ steps/s · \d+ s left · loss 1.5 · own 2$", lines[0]
    )
    assert lines[1] == "step 4/10 · evaluation · set/score 0.25"


def test_the_first_step_has_no_speed(tmp_path):
    screen = console(False)
    with report.Report(tmp_path, 0, 2, screen) as out:
        out.first_step(1)
        out.training(1, {"loss": 1.5})
        out.training(2, {"loss": 1.0})
    lines = screen.file.getvalue().splitlines()
    assert re.match(r"step 1/2 · \d+\.\d s for the first step, with", lines[0])
    assert lines[1] == "step 1/2 · loss 1.5"
    assert "steps/s" in lines[2]
    assert list(report.read_log(tmp_path)[0]["scalars"]) == ["loss"]


def test_a_bar_on_a_terminal(tmp_path):
    screen = console(True)
    with report.Report(tmp_path, 0, 10, screen) as out:
        out.tick(4)
        out.training(4, {"loss": 1.5})
    shown = screen.file.getvalue()
    assert "4/10" in shown
    assert "steps/s" in shown
    assert "loss 1.5" in shown


def test_the_page_holds_everything(tmp_path):
    write_log(tmp_path, [1, 2, 3])
    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    path = page.write(
        tmp_path,
        report.read_log(tmp_path),
        {"a <picture>": picture},
        {"optimizer": {"learning_rate": 0.125}},
    )
    text = path.read_text()
    assert "0.125" in text
    assert "a &lt;picture&gt;" in text
    assert "jaxlib" in text
    # Nothing to fetch: every image is inside, and no script or style sheet is named.
    assert not re.search(r'(src|href)="(?!data:)', text)
    png = re.search(r"data:image/png;base64,([^\"]+)", text)
    decoded = np.asarray(Image.open(io.BytesIO(base64.b64decode(png[1]))))
    np.testing.assert_array_equal(decoded, picture)
    svg = re.search(r"data:image/svg\+xml;base64,([^\"]+)", text)
    assert b"<svg" in base64.b64decode(svg[1])


def test_curves_by_kind_without_what_is_not_finite():
    records = [
        {"step": 1, "kind": "train", "scalars": {"a": 1.0}},
        {"step": 2, "kind": "train", "scalars": {"a": None}},
        {"step": 2, "kind": "eval", "scalars": {"a": 3.0, "b": 4.0}},
    ]
    assert page.curves(records) == {
        "a": {"train": [(1, 1.0)], "eval": [(2, 3.0)]},
        "b": {"eval": [(2, 4.0)]},
    }


def test_an_empty_run_has_a_page_too(tmp_path):
    assert "Nothing was logged" in page.write(tmp_path, [], {}, {}).read_text()
