"""The Lagrangian in the units of the published models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pim_jax
from codec_jax import objective
from codec_jax.models.config import LAMBDAS
from pim_jax import losses
from pim_jax.metrics import METRICS


@pytest.fixture(scope="module")
def pair():
    """Images and what became of them, both in [0, 1]."""
    random = np.random.default_rng(0)
    images = random.uniform(size=(3, 8, 9, 3))
    decoded = images + 0.05 * random.normal(size=images.shape)
    return images.astype(np.float32), decoded.astype(np.float32)


def test_squared_error_is_that_of_8_bit_numbers(pair):
    images, decoded = (np.float64(x) for x in pair)
    expected = np.mean((255 * images - 255 * decoded) ** 2, (1, 2, 3))
    found = losses.squared_error(*pair)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    black = jnp.zeros((1, 2, 2, 3))
    np.testing.assert_allclose(losses.squared_error(black, black + 1 / 255), 1, 1e-6)


def test_the_lagrangian_is_compressais(pair):
    """bpp + lambda * 255^2 * MSE of images in [0, 1], for the minibatch as a whole."""
    bpp, weight = jnp.asarray([0.3, 1.0, 0.1]), 0.013
    mse = np.mean((np.float64(pair[0]) - pair[1]) ** 2)
    expected = np.mean(bpp) + weight * 255**2 * mse
    found = objective.lagrangian(bpp, losses.squared_error(*pair), jnp.full(3, weight))
    assert found.shape == ()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_balance_changes_what_images_count_not_what_is_best_for_one():
    bpp, error = jnp.asarray([0.2, 1.5]), jnp.asarray([100.0, 8.0])
    weight, reference = jnp.asarray([0.0018, 0.18]), 0.018
    values = np.asarray(bpp + weight * error)
    plain = objective.lagrangian(bpp, error, weight, 0.0, reference)
    np.testing.assert_allclose(plain, values.mean(), rtol=1e-6)
    root = objective.lagrangian(bpp, error, weight, 0.5, reference)
    expected = (values * np.sqrt([10, 0.1])).mean()
    np.testing.assert_allclose(root, expected, rtol=1e-5)
    # At the reference an image counts once, whatever the balance.
    for balance in (0.0, 0.5, 1.0):
        alone = objective.lagrangian(
            bpp, error, jnp.full(2, reference), balance, reference
        )
        np.testing.assert_allclose(alone, np.mean(bpp + reference * error), rtol=1e-6)
    # Rate and distortion of one image keep their proportion.
    slopes = jax.grad(
        lambda b, e: objective.lagrangian(b, e, weight, 0.5, reference), (0, 1)
    )(bpp, error)
    np.testing.assert_allclose(slopes[1] / slopes[0], weight, rtol=1e-5)


def test_each_distortion_has_its_scale_of_lambda():
    """A row ascends as the first one, that of squared error, does; names are metrics."""
    assert objective.DISTORTION_LAMBDAS["mse"] == LAMBDAS
    for name, row in objective.DISTORTION_LAMBDAS.items():
        assert name in METRICS
        assert len(row) == len(LAMBDAS)
        assert list(row) == sorted(set(row))
        assert objective.lambdas_for(name, LAMBDAS) == pytest.approx(row)
    assert {"ms-ssim", "lpips-alex", "pim-1", "pim-5"} <= set(
        objective.DISTORTION_LAMBDAS
    )


def test_lambdas_of_ms_ssim_are_compressais():
    """`compressai.zoo`'s table of eight qualities, for 1 - MS-SSIM."""
    published = (2.4, 4.58, 8.73, 16.64, 31.73, 60.5, 115.37, 220.0)
    assert objective.lambdas_for("ms-ssim", LAMBDAS) == pytest.approx(published)
    assert objective.lambdas_for("ms-ssim", (0.0067,)) == pytest.approx((8.73,))


def test_lambdas_between_and_beyond_the_published_ones():
    """Geometric, also beyond the ends."""
    found = objective.lambdas_for("ms-ssim", (0.0009, np.sqrt(0.18 * 0.0932), 1.8))
    first = np.log(4.58 / 2.4) / np.log(0.0035 / 0.0018)
    last = np.log(220 / 115.37) / np.log(0.18 / 0.0932)
    expected = (2.4 * 0.5**first, np.sqrt(220 * 115.37), 220 * 10**last)
    assert found == pytest.approx(expected)
    assert objective.lambdas_for("mse", (0.01, 2.0)) == pytest.approx((0.01, 2.0))
    with pytest.raises(ValueError, match=r"no default lambdas for 'gmsd', only .*ssim"):
        objective.lambdas_for("gmsd", LAMBDAS)


def test_lambdas_of_one_error_on_two_scales(pair):
    """The metric 'psnr' is the squared error of images in [0, 1]."""
    one, other = (objective.lambdas_for(n, LAMBDAS[:2]) for n in ("mse", "psnr"))
    images = [jnp.tile(x, (1, 2, 2, 1)).clip(0, 1) for x in pair]
    error, small = losses.squared_error(*images), pim_jax.load("psnr")(*images)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a * error, b * small, rtol=1e-5)


def test_lambda_at_rates_and_between():
    rates = jnp.arange(8.0)
    np.testing.assert_allclose(objective.lambda_at(rates, LAMBDAS), LAMBDAS, rtol=1e-5)
    between = objective.lambda_at(jnp.asarray([0.5, 6.25]), LAMBDAS)
    expected = [
        np.sqrt(LAMBDAS[0] * LAMBDAS[1]),
        LAMBDAS[6] ** 0.75 * LAMBDAS[7] ** 0.25,
    ]
    np.testing.assert_allclose(between, expected, rtol=1e-5)
    one = objective.lambda_at(jnp.zeros(3), (0.013,))
    np.testing.assert_allclose(one, [0.013] * 3, rtol=1e-6)


def test_warm_up_goes_geometrically_to_one():
    steps = jnp.asarray([0, 25, 50, 100, 1000], jnp.int32)
    found = [float(objective.warmed_up(step, 100, 16.0)) for step in steps]
    assert found == pytest.approx([16, 8, 4, 1, 1], rel=1e-5)
    assert float(objective.warmed_up(steps[0], 0, 16.0)) == 1
