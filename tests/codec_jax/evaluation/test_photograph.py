"""A photograph beside JPEG at the same size: tables, pictures, a section of a report."""

import importlib.util
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from codec_jax import loading
from codec_jax.evaluation import photograph
from codec_jax.evaluation.classical import CLASSICAL
from pim_jax.evaluation.tables import Score
from pim_jax.training import page
from tests.codec_jax import small_codecs

CONFIG = Path(__file__).resolve().parents[3] / "configs" / "eval_photograph.py"


def settings(**changes):
    spec = importlib.util.spec_from_file_location("eval_photograph", CONFIG)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config()
    config.update(changes)
    return config


@pytest.fixture
def image():
    return small_codecs.picture(np.random.default_rng(0), 48, 64)


def test_the_largest_file_that_fits(image):
    jpeg = CLASSICAL["jpeg"]
    quality, data = photograph.at_most(jpeg, image, 1500)
    assert data == jpeg.compress(image, quality)
    assert len(data) <= 1500 < len(jpeg.compress(image, quality + 1))


def test_if_none_fits_it_is_the_smallest(image):
    assert photograph.at_most(CLASSICAL["jpeg"], image, 10)[0] == 1


@pytest.fixture
def files(tmp_path, image):
    PIL.Image.fromarray(image).save(tmp_path / "photo.png")
    loading.save(small_codecs.codec("integer"), tmp_path / "codec.npz", {})
    page.write(tmp_path, [], {}, {})
    return {
        "image": str(tmp_path / "photo.png"),
        "codec": str(tmp_path / "codec.npz"),
        "report": str(tmp_path / "report.html"),
        "out": str(tmp_path / "out"),
        "metrics": "psnr",
    }


def test_table_pictures_and_report(files, image):
    [table] = photograph.photograph(settings(**files), print)
    # The codec is not trained, and smaller than any JPEG of this size.
    assert [*table.rows] == ["jpeg 1", "small"]
    assert {*table.rows["small"]} == {"bytes", "bpp", "psnr"}
    assert table.columns == {"bytes": "", "bpp": "", "psnr": "dB"}
    assert table.notes[1].endswith("left to right: original, jpeg 1, small.")
    out = Path(files["out"])
    shown = np.asarray(PIL.Image.open(out / "side_by_side.png"))
    assert shown.shape == (48, 3 * 64, 3)
    np.testing.assert_array_equal(shown[:, :64], image)
    first = Path(files["report"]).read_text()
    assert first.count("<figure>") == 3
    assert f"jpeg 1, bytes {table.rows['jpeg 1']['bytes'].value}, bpp" in first
    assert first.rstrip().endswith("</body></html>")
    # A second run takes the first one's place.
    photograph.photograph(settings(**files), print)
    assert Path(files["report"]).read_text() == first


def test_a_caption_counts_bytes():
    """Not 1.235e+04."""
    caption = photograph._caption(
        "webp 9", {"bytes": Score(12345), "psnr": Score(31.25)}
    )
    assert caption == "webp 9, bytes 12345, psnr 31.250"


def test_other_anchors_are_refused(files):
    with pytest.raises(ValueError, match="expected jpeg"):
        photograph.photograph(settings(**files, anchor="avif"), print)


def test_a_report_has_to_be_there(files):
    files["report"] += "x"
    with pytest.raises(FileNotFoundError, match="no such page"):
        photograph.photograph(settings(**files), print)
