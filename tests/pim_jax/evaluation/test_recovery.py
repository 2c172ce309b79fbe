"""Recovery of a reference image: starts, a metric that leads back, one that breaks."""

import jax.numpy as jnp
import numpy as np
import pytest

from pim_jax.data import photographs
from pim_jax.evaluation import pictures, recovery
from pim_jax.metric import Metric
from pim_jax.metrics import METRICS

SETTINGS = recovery.Settings(steps=60)
REFERENCE = np.stack([*photographs.photographs("", 16, 2).values()])


@pytest.fixture(scope="module")
def results():
    return recovery.run({"psnr": METRICS["psnr"]()}, REFERENCE, SETTINGS)


def test_starts():
    found = recovery.starts(REFERENCE, SETTINGS)
    assert [*found] == ["noise", "jpeg 10"]
    for start in found.values():
        assert start.shape == REFERENCE.shape
        assert start.dtype == np.float32
        assert start.min() >= 0
        assert start.max() <= 1
    again = recovery.starts(REFERENCE, SETTINGS._replace(seed=1))
    assert not np.array_equal(again["noise"], found["noise"])
    np.testing.assert_array_equal(again["jpeg 10"], found["jpeg 10"])


def test_a_choice_of_starts():
    found = recovery.starts(REFERENCE, SETTINGS._replace(starts=("jpeg",)))
    assert [*found] == ["jpeg 10"]
    with pytest.raises(ValueError, match=r"'noise', 'jpeg'.*found .*'webp'"):
        recovery.starts(REFERENCE, SETTINGS._replace(starts=("webp",)))


def test_squared_error_leads_back(results):
    found = results["jpeg 10"]["psnr"]
    assert found.distance.shape == found.psnr.shape == (61, 2)
    assert found.image.shape == REFERENCE.shape
    assert (found.psnr[-1] > recovery.RECOVERED_DB).all()
    assert (found.psnr[0] < recovery.RECOVERED_DB).all()
    error = np.square(found.image - REFERENCE / np.float32(255)).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(found.distance[-1], error, rtol=1e-4)
    np.testing.assert_allclose(found.psnr[-1], -10 * np.log10(error), rtol=1e-4)


def test_the_table(results):
    table = recovery.table("jpeg 10", results["jpeg 10"], REFERENCE)
    assert table.title == "Recovery of 2 images of 16x16 from jpeg 10"
    row = table.rows["psnr"]
    assert row["recovered"].value == 1
    # In decibels, which grow as the squared error falls.
    assert row["D after"].value > row["D before"].value
    error = results["jpeg 10"]["psnr"].distance[-1].mean()
    assert row["D after"].value == pytest.approx(-10 * np.log10(error))
    assert "D of psnr: in dB" in table.notes[1]
    assert row["least PSNR"].value <= row["PSNR after"].value
    assert row["SSIM after"].value > row["SSIM before"].value


def test_pictures(results):
    titles = [a.get_title() for a in pictures.recovery_grid(results, REFERENCE).axes]
    # For each start the reference, the start and the end of every metric.
    assert titles.count("reference") == len(results)
    assert len(titles) == sum(2 + len(metrics) for metrics in results.values())
    panels = pictures.recovery_curves(results).axes
    assert [len(panel.lines) for panel in panels[::2]] == [
        len(metrics) for metrics in results.values()
    ]


def test_a_dozen_metrics_are_told_apart(results):
    (found,) = results["noise"].values()
    many = {f"metric {i}": found for i in range(12)}
    negative = found._replace(distance=-found.distance)
    figure = pictures.recovery_curves({"noise": many | {"negative": negative}})
    quality, share = figure.axes
    styles = {(line.get_color(), line.get_linestyle()) for line in quality.lines}
    assert len(styles) == 13
    # A share of a negative distance would be drawn upside down.
    assert np.isnan(share.lines[-1].get_ydata()).all()
    assert np.isfinite(share.lines[0].get_ydata()).all()


def test_a_gradient_that_is_not_finite_is_named():
    """The root of the squared error about 0 has the slope 0 / 0 at the reference."""
    target = jnp.asarray(REFERENCE, jnp.float32) / 255
    root = Metric(
        (),
        lambda params, a, b: jnp.sqrt(jnp.sum((a - b) ** 2, axis=(1, 2, 3))),
        "root",
    )
    found = recovery.recover(root, target, target, SETTINGS._replace(steps=2))
    with pytest.raises(ValueError, match="root from itself: the gradient was not"):
        recovery.table("itself", {"root": found}, REFERENCE)
