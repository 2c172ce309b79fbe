"""The checks of realism on a small untrained PIM and on pixels."""

import jax.numpy as jnp
import numpy as np
import pytest

from pim_jax.data import photographs
from pim_jax.evaluation import pictures, realism_checks
from pim_jax.pim.distance import untrained
from pim_jax.pim.model import ModelConfig

TINY = ModelConfig(filters=(3,), z_dim=2, mixtures=1, num_scales=1, steerable_order=0)
SETTINGS = realism_checks.Settings(
    images=8, texture_images=4, points=256, sigmas=(0, 4), batch_size=8
)
MEASURES = ["KL", "Frechet", "MMD", "squared error", "Wasserstein 4"]


@pytest.fixture(scope="module")
def results():
    crops = photographs.crops("", 32, 16)
    textures = {"grass": photographs.textures(32, 8)["grass"]}
    return {
        name: realism_checks.examine(represent, crops, textures, SETTINGS)
        for name, represent in realism_checks.spaces({"tiny": untrained(TINY)}).items()
    }


def test_pixels_are_blocks():
    image = np.random.default_rng(0).uniform(size=(2, 16, 8, 3)).astype(np.float32)
    levels = realism_checks.pixels(jnp.asarray(image))
    assert [level.loc.shape for level in levels] == [(2, 8, 4, 1, 12), (2, 4, 2, 1, 12)]
    block = levels[0].loc[1, 3, 2, 0] * realism_checks.PIXEL_DEVIATION
    np.testing.assert_allclose(block, image[1, 6:8, 4:6].ravel(), rtol=1e-6)


def test_every_measure_of_every_space(results):
    assert [*results] == ["tiny", "pixels"]
    for found in results.values():
        assert [*found.natural] == MEASURES
        assert found.natural["squared error"] == 0
        assert np.isfinite([*found.natural.values(), *found.resampled.values()]).all()


def test_pairs_count_for_paired_measures_alone(results):
    for found in results.values():
        ratio = {k: found.permuted[k] / found.paired[k] for k in MEASURES}
        assert ratio["Frechet"] == pytest.approx(1, abs=1e-6)
        assert ratio["KL"] == pytest.approx(1, abs=1e-4)
        assert found.permuted["MMD"] == pytest.approx(found.paired["MMD"], rel=1e-2)
        assert ratio["squared error"] > 2


def test_another_sample_of_a_texture(results):
    """Squared error takes it for worse than blur, the Fréchet distance far less."""
    found = results["pixels"]
    ratio = {k: found.resampled[k] / found.blurred[k] for k in MEASURES}
    assert ratio["squared error"] > 1.5
    assert ratio["Frechet"] < ratio["squared error"] / 2


def test_tables(results):
    table = realism_checks.check_table(results, SETTINGS)
    assert [*table.rows][:5] == [f"tiny: {name}" for name in MEASURES]
    row = table.rows["pixels: squared error"]
    assert set(table.columns) >= set(row)
    assert row["noise"].value == pytest.approx(1)
    first, *_ = realism_checks.strength_tables(results)
    assert [*first.columns] == ["none", "2", "5", "10", "20", "40"]


def test_curves_keep_their_direction(results):
    """Also where all values are negative, as those of unbiased measures may be."""
    rising = [-3.0, -2.5, -2.0, -1.0, -0.5]
    found = results["pixels"]._replace(
        natural={"MMD": -4.0},
        distorted={name: {"MMD": rising} for name in realism_checks.CHECKED},
    )
    figure = pictures.realism_curves({"pixels": found})
    for axis in figure.axes:
        drawn = axis.lines[0].get_ydata()
        np.testing.assert_allclose(drawn, np.array([-4.0, *rising]) / 4)
    assert len(pictures.realism_curves(results).axes) == 2 * len(realism_checks.CHECKED)


def test_crops_do_not_overlap():
    found = photographs.crops("", 64, 20, seed=1)
    assert found.shape == (20, 64, 64, 3)
    assert len(np.unique(found.reshape(20, -1), axis=0)) == 20
    with pytest.raises(ValueError, match="fewer than 10000"):
        photographs.crops("", 64, 10_000)
    with pytest.raises(ValueError, match="brick holds 64"):
        photographs.textures(64, 65)
