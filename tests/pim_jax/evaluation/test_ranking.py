import numpy as np
import pytest

from pim_jax.data import distortions, photographs
from pim_jax.evaluation import pictures, ranking
from pim_jax.metrics import METRICS
from pim_jax.metrics.pixel import psnr_of_bytes


@pytest.fixture(scope="module")
def pixels():
    return photographs.photographs("", 64, 1)["astronaut"]


@pytest.fixture(scope="module")
def versions(pixels):
    return ranking.equally_wrong(pixels, 24.0)


def test_all_are_equally_wrong(pixels, versions):
    assert len(versions) == 8
    for name, version in versions.items():
        assert version.pixels.shape == pixels.shape
        assert psnr_of_bytes(pixels, version.pixels) == version.psnr
        # Qualities of coders are whole numbers, and so are levels of brightness.
        steps = name in ("jpeg", "jpeg2000", "brightness")
        tolerance = 0.5 if steps else 0.05
        assert version.psnr == pytest.approx(24, abs=tolerance)


def test_what_cannot_be_reached_is_said(pixels):
    with pytest.raises(ValueError, match=r"leaves .* dB at its strongest"):
        ranking.equally_wrong(pixels, 3.0)


def test_ranks_are_of_distances(pixels):
    versions = {
        name: ranking.Version(distortions.noise(pixels, strength), strength, 0)
        for name, strength in (("much", 30), ("little", 3), ("some", 10), ("same", 10))
    }
    metrics = {"psnr": METRICS["psnr"](), "ssim": METRICS["ssim"]()}
    found = ranking.ranks(metrics, pixels, versions)
    expected = {"much": 4.0, "little": 1.0, "some": 2.5, "same": 2.5}
    assert found == {"psnr": expected, "ssim": expected}
    table = ranking.table(found, versions, "astronaut")
    assert table.rows["ssim"]["much"].value == 4
    assert [type(score.value) for score in table.rows["ssim"].values()] == [
        *(int, int, float, float)
    ]
    shown = pictures.ranking_pictures(pixels, versions, found)
    assert len(shown) == 1 + len(versions) + 1
    assert all(p.dtype == np.uint8 and p.shape[2] == 3 for p in shown.values())


def test_brightness_and_shift():
    ramp = np.tile(np.arange(0, 240, 10, dtype=np.uint8)[None, :, None], (8, 1, 3))
    assert (distortions.brightness(ramp, 7) == ramp + 7).all()
    assert (distortions.shift(ramp, 3)[:, 5:] == ramp[:, 2:-3]).all()
    assert distortions.brightness(ramp, 100).max() == 255
