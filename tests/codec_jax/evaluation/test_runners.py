"""From a config to tables and files: real bytes, really decoded."""

import csv
import importlib.util
import json
import sys
from pathlib import Path

import jax
import numpy as np
import PIL.Image
import pytest
import skimage.data
import skimage.metrics

from codec_jax.evaluation import measurements, runners
from codec_jax.evaluation.classical import CLASSICAL
from pim_jax.data import images

ROOT = Path(__file__).resolve().parents[3]


class Halves:
    """A learned codec, as far as evaluation knows one: WebP, twice as long as needed."""

    name = "halves"
    rates = (0.0, 1.0, 2.0, 3.0, 4.0)

    def compress(self, image, rate):
        data = CLASSICAL["webp"].compress(image, 10 + 20 * rate)
        return data + bytes(len(data))

    def decompress(self, data):
        return CLASSICAL["webp"].decompress(data[: len(data) // 2])


@pytest.fixture
def learned(monkeypatch):
    """Stands in for the learned codecs: `halves` is one, and so is any folder."""

    def load(name):
        if name != "halves" and not Path(name).is_dir():
            raise ValueError(f"no codec {name!r}")
        return Halves()

    monkeypatch.setattr(runners.loading, "load", load)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    picture = skimage.data.astronaut()
    for number, (height, width) in enumerate([(64, 96), (96, 64), (65, 71)]):
        crop = picture[60 : 60 + height, 180 : 180 + width]
        PIL.Image.fromarray(crop).save(folder / f"{number}.png")
    return folder


def config_of(name, **changes):
    path = ROOT / "configs" / name
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config()
    config.update(changes)
    return config


def test_tables_and_files(tmp_path, folder, learned):
    told = []
    config = config_of(
        "eval_kodak.py",
        codec="webp,halves",
        images_dir=str(folder),
        metrics="psnr,ms-ssim,ssim",
        out=str(tmp_path / "out"),
        qualities=5,
        limit=2,
    )
    points, differences = runners.kodak(config, told.append)

    # The anchor comes first though nobody named it.
    codecs = ["jpeg", "webp", "halves"]
    assert [key.split()[0] for key in points.rows] == [
        c for c in codecs for _ in range(5)
    ]
    with (tmp_path / "out" / "points.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(codecs) * 5 * 2 == len(told)
    for row in rows[:10]:
        image = images.read_pixels(folder / row["image"])
        data = CLASSICAL["jpeg"].compress(image, float(row["setting"]))
        decoded = CLASSICAL["jpeg"].decompress(data)
        assert int(row["bytes"]) == len(data)
        assert float(row["bpp"]) == pytest.approx(8 * len(data) / (64 * 96))
        expected = skimage.metrics.peak_signal_noise_ratio(image, decoded)
        assert float(row["psnr"]) == pytest.approx(expected)
        assert float(row["encode_seconds"]) > 0
    first = points.rows["jpeg 5"]
    of_first = [row for row in rows if row["codec"] == "jpeg" and row["setting"] == "5"]
    for key in ("bpp", "psnr", "ms-ssim", "ssim"):
        mean = np.mean([float(row[key]) for row in of_first])
        assert first[key].value == pytest.approx(mean)

    # Halves is WebP at twice the rate.
    assert list(differences.rows) == ["webp", "halves"]
    assert list(differences.columns)[:2] == ["BD-rate (psnr)", "BD-PSNR"]
    assert differences.rows["webp"]["BD-PSNR"].value > 0
    for word in ("Anchor: jpeg", "pchip", "bpp"):
        assert word in " ".join(differences.notes)

    content = json.loads((tmp_path / "out" / "curves" / "halves.json").read_text())
    assert set(content) == {"name", "description", "results"}
    results = content["results"]
    assert {"bpp", "psnr-rgb", "ms-ssim-rgb", "encoding_time", "decoding_time"} <= set(
        results
    )
    assert all(len(values) == 5 for values in results.values())
    assert (tmp_path / "out" / "rate_distortion.png").stat().st_size > 5000


def test_a_codec_of_twice_the_rate(tmp_path, folder, learned):
    """Against WebP at the same qualities, BD-rate is +100 % for either measure."""

    class Same(Halves):
        rates = CLASSICAL["webp"].qualities

        def compress(self, image, rate):
            return 2 * CLASSICAL["webp"].compress(image, rate)

    sys.modules["codec_jax.loading"].load = lambda name: Same()
    config = config_of(
        "eval_kodak.py",
        codec="halves",
        anchor="webp",
        images_dir=str(folder),
        out=str(tmp_path),
        limit=1,
    )
    _, differences = runners.kodak(config, lambda text: None)
    row = differences.rows["halves"]
    assert row["BD-rate (psnr)"].value == pytest.approx(1)
    assert row["BD-rate (ms-ssim)"].value == pytest.approx(1)


def test_too_few_points_are_said_not_hidden(tmp_path, folder):
    config = config_of(
        "eval_kodak.py",
        codec="jpeg,webp",
        images_dir=str(folder),
        metrics="psnr",
        out=str(tmp_path),
        qualities=3,
        limit=1,
    )
    points, differences = runners.kodak(config, lambda text: None)
    assert [*points.rows] == [
        "jpeg 5",
        "jpeg 40",
        "jpeg 92",
        "webp 1",
        "webp 50",
        "webp 90",
    ]
    assert differences.rows == {"webp": {}}
    assert "webp, psnr: expected at least 4 points" in " ".join(differences.notes)


def test_limits_of_the_rate(tmp_path, folder):
    config = config_of(
        "eval_kodak.py",
        codec="webp",
        images_dir=str(folder),
        metrics="psnr",
        out=str(tmp_path),
        limit=1,
        lowest_bpp=0.5,
        highest_bpp=4.0,
    )
    _, differences = runners.kodak(config, lambda text: None)
    note = next(note for note in differences.notes if note.startswith("webp, psnr"))
    low, high = (float(word) for word in note.split(" dB, ")[1].split()[:3:2])
    assert 0.5 <= low < high <= 4


def test_codecs_by_name_and_folder(tmp_path, learned):
    found = runners.codecs_named(["jpegxl", "halves", str(tmp_path)])
    # Two codecs that call themselves alike are told apart.
    assert [coder.name for coder in found] == ["jpegxl", "halves", str(tmp_path)]
    assert found[0].settings == CLASSICAL["jpegxl"].qualities
    assert found[1].settings == Halves.rates
    with pytest.raises(
        ValueError, match="no codec 'jpg'; classical codecs: jpeg, jpeg444"
    ):
        runners.codecs_named(["jpg"])


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"images_dir": ""}, ValueError, r"config\.images_dir must name"),
        ({"images_dir": "nowhere"}, FileNotFoundError, "no such folder"),
        ({"codec": " ,"}, ValueError, r"config\.codec must name at least one"),
        ({"codec": "jpeg,jpeg"}, ValueError, "names one twice"),
        ({"metrics": "sssim"}, ValueError, "did you mean 'ssim'"),
        ({"curves_dir": "nowhere"}, FileNotFoundError, r"no \.txt file"),
        ({"qualities": -1}, ValueError, "0 or more"),
    ],
)
def test_wrong_settings_are_named(tmp_path, folder, changes, error, message):
    settings = {"images_dir": str(folder), "out": str(tmp_path)} | changes
    with pytest.raises(error, match=message):
        runners.kodak(config_of("eval_kodak.py", **settings), lambda text: None)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, (1, 2, 3, 4, 5)),
        (1, (1,)),
        (2, (1, 5)),
        (3, (1, 3, 5)),
        (9, (1, 2, 3, 4, 5)),
    ],
)
def test_spread(count, expected):
    assert measurements.spread((1, 2, 3, 4, 5), count) == expected


def test_a_wrong_image_is_an_error(folder):
    coder = measurements.Coder(
        "broken", (1.0,), lambda image, _: b"", lambda _: np.zeros((2, 2, 3), np.uint8)
    )
    with pytest.raises(ValueError, match=r"broken 1: 0\.png of shape \(64, 96, 3\)"):
        list(measurements.measure(coder, [folder / "0.png"], {}))


def test_each_size_is_tried_once_before_it_is_timed(folder):
    calls = []

    def compress(image, setting):
        calls.append((image.shape[:2], setting))
        return CLASSICAL["jpeg"].compress(image, setting)

    coder = measurements.Coder(
        "jpeg", (10.0, 20.0), compress, CLASSICAL["jpeg"].decompress
    )
    paths = [folder / "0.png", folder / "0.png", folder / "1.png"]
    found = list(measurements.measure(coder, paths, {}))
    assert len(found) == 6
    first, other = (64, 96), (96, 64)
    assert calls == [
        *[(first, 10), (first, 10), (first, 20)],
        *[(first, 10), (first, 20)],
        *[(other, 10), (other, 10), (other, 20)],
    ]


def test_complexity():
    config = config_of("eval_complexity.py", models="bls2017")
    # The models add biases by broadcasting.
    with jax.numpy_rank_promotion("allow"):
        (table,) = runners.complexities(config, lambda text: None)
    assert list(table.rows) == ["bls2017"]
    config.models = "bls2018"  # of another year
    with pytest.raises(ValueError, match=r"bls2017.*found \['bls2018'\]"):
        runners.complexities(config, lambda text: None)
