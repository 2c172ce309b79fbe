"""Curves as files: published ones are read, measured ones are written."""

import csv
import json

import numpy as np
import pytest

from codec_jax.evaluation import curves
from codec_jax.evaluation.bjontegaard import Curve

TEXT = """# Aggregate rate-distortion data for "Löwe 2020 (4:4:4)" on kodak.
# The first column contains bits per pixel (bpp) values.
# The second column contains {measure}/sRGB/R'G'B' values.

0.125, {first}
0.5, {second}
"""


def write(folder, measure, first, second, name="a.txt"):
    folder.mkdir(parents=True, exist_ok=True)
    text = TEXT.format(measure=measure, first=first, second=second)
    (folder / name).write_text(text, encoding="utf-8")


def test_published_curves_of_all_folders_below(tmp_path):
    write(tmp_path / "psnr", "PSNR", 30.5, 33)
    write(tmp_path / "ms", "MS-SSIM", 0.9, 0.99)
    similar, peak = curves.read_published(tmp_path)
    assert (similar.measure, peak.measure) == ("ms-ssim", "psnr")
    assert similar.name == peak.name == "Löwe 2020 (4:4:4)"
    np.testing.assert_array_equal(peak.curve, ([0.125, 0.5], [30.5, 33]))
    np.testing.assert_allclose(similar.curve, ([0.125, 0.5], [10, 20]))


@pytest.mark.parametrize(
    ("measure", "first", "message"),
    [
        ("VMAF", 30, "PSNR or MS-SSIM"),
        ("PSNR", "x", r"a\.txt: could not convert"),
        ("PSNR", "30, 4", r"a\.txt: .*columns"),
        ("MS-SSIM", 30, "at most 1"),
    ],
)
def test_other_formats_are_refused(tmp_path, measure, first, message):
    write(tmp_path, measure, first, 0.5)
    with pytest.raises(ValueError, match=message):
        curves.read_published(tmp_path)


def test_three_columns_are_refused(tmp_path):
    write(tmp_path, "PSNR", "30, 1", "31, 2")
    with pytest.raises(ValueError, match="expected two columns"):
        curves.read_published(tmp_path)


def test_no_curves(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(FileNotFoundError, match=r"no \.txt file"):
            curves.read_published(folder)


@pytest.mark.shared
def test_all_published_files_are_read(shared):
    found = curves.read_published(shared / "data" / "rd-curves" / "kodak")
    assert [each.measure for each in found].count("psnr") == 23
    assert [each.measure for each in found].count("ms-ssim") == 20
    for each in found:
        assert len(each.curve.bpp) == len(each.curve.quality) >= 4


def test_compressai_format(tmp_path):
    path = tmp_path / "a.json"
    curves.write_compressai(
        path, "a", "b", {"bpp": [0.1, 0.2], "psnr-rgb": [30, np.inf]}
    )
    assert json.loads(path.read_text()) == {
        "name": "a",
        "description": "b",
        "results": {"bpp": [0.1, 0.2], "psnr-rgb": [30.0, None]},
    }


def test_csv(tmp_path):
    curves.write_csv(tmp_path / "a.csv", [{"a": 1, "b,": "x,y"}, {"a": 2, "b,": "ö"}])
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        assert [*csv.DictReader(file)] == [
            {"a": "1", "b,": "x,y"},
            {"a": "2", "b,": "ö"},
        ]


def test_figure_has_a_panel_for_each_measure(tmp_path):
    curve = Curve(np.array([0.1, 0.5]), np.array([30.0, np.inf]))
    known = [
        curves.Published(
            "known", "psnr", Curve(np.array([0.1, 9]), np.array([20.0, 60]))
        )
    ]
    drawn = curves.figure(
        {"psnr": {"a": curve, "b": curve}, "ms-ssim": {"a": curve}}, known
    )
    labels = [[line.get_label() for line in axis.lines] for axis in drawn.axes]
    assert labels == [["known", "a", "b"], ["a"]]
    # What was measured fills the panel.
    assert drawn.axes[0].get_xlim()[1] < 1
    drawn.savefig(tmp_path / "a.png")


def test_many_curves_are_told_apart():
    points = Curve(np.array([0.1, 0.5]), np.array([30.0, 40.0]))
    published = [curves.Published(f"{i}", "psnr", points) for i in range(23)]
    figure = curves.figure(
        {"psnr": {f"ours {i}": points for i in range(12)}}, published
    )
    (axis,) = figure.axes
    styles = {
        (line.get_color(), line.get_linestyle(), line.get_marker())
        for line in axis.lines
    }
    assert len(styles) == len(axis.lines) == 35
