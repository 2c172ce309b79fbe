"""Odd files are named, counted and left out; an error only where none is left."""

import logging

import numpy as np
import PIL.Image
import pytest
import small_bapps

from pim_jax.data import bapps_folder, photographs, readable

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 24, 20, 3), np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Two images, and three files that are none."""
    for name, pixels in (("a.png", PIXELS[0]), ("d.png", PIXELS[1])):
        small_bapps.save_image(tmp_path / name, pixels)
    (tmp_path / "b.png").write_bytes(b"")
    (tmp_path / "c.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
    (tmp_path / "e.jpg").write_text("no image")
    return tmp_path


@pytest.fixture
def warned(caplog, monkeypatch):
    """What was warned of, as text."""
    monkeypatch.setattr(logging.getLogger("absl"), "propagate", True)
    with caplog.at_level(logging.WARNING, logger="absl"):
        yield lambda: [record.getMessage() for record in caplog.records]


def test_photographs_and_crops(folder, warned):
    found = photographs.photographs(folder, 16)
    assert [*found] == ["a.png", "d.png"]
    *each, last = warned()
    assert [text.split(": ")[1].split()[0] for text in each] == [
        "b.png",
        "c.png",
        "e.jpg",
    ]
    assert "3 of 5 are left out" in last
    # The first two that can be read, not the readable ones of the first two.
    assert [*photographs.photographs(folder, 16, 2)] == ["a.png", "d.png"]
    assert photographs.crops(folder, 8, 12).shape == (12, 8, 8, 3)
    for name in ("a.png", "d.png"):
        (folder / name).unlink()
    with pytest.raises(ValueError, match=r"none of 3 can be used; the first, b\.png"):
        photographs.photographs(folder, 16)


def test_shapes_of_files(folder):
    paths = sorted(folder.iterdir())
    assert readable.shapes(paths, "them") == {
        folder / "a.png": (24, 20, 3),
        folder / "d.png": (24, 20, 3),
    }


def test_examples_of_bapps(tmp_path, warned):
    small_bapps.write(tmp_path)
    part = tmp_path / "2afc" / "val" / "traditional"
    (part / "p0" / "000001.png").write_bytes(b"")
    source = bapps_folder.two_afc_folder(tmp_path)["traditional"]
    chosen = readable.examples(source, "traditional")
    assert len(chosen) == 2
    judged = [float(label["judge"]) for label in chosen.labels]
    assert judged == pytest.approx([small_bapps.JUDGE[0], small_bapps.JUDGE[2]])
    np.testing.assert_array_equal(chosen[1]["reference"], source[2]["reference"])
    assert "example 1" in warned()[0]
    assert len(readable.examples(source, "traditional", limit=1)) == 1
    np.save(part / "judge" / "000000.npy", np.array([7.0]))
    PIL.Image.new("F", (64, 64)).save(part / "ref" / "000002.png", "tiff")
    with pytest.raises(ValueError, match="traditional: none of 3 can be used"):
        readable.examples(source, "traditional")


def test_images_of_an_example_have_one_size():
    source = [{"a": PIXELS[0], "b": PIXELS[1, :9]}, {"a": PIXELS[0], "b": PIXELS[1]}]
    chosen = readable.examples(source, "pairs")
    assert (len(chosen), [*chosen.skipped]) == (1, ["example 0"])


def test_a_note_counts():
    assert readable.note({"cnn": 0}) == ()
    assert readable.note({"cnn": 2, "color": 0}) == (
        "Left out, as they cannot be read: cnn 2.",
    )
