"""Logarithms of probabilities against SciPy in double precision, and their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from codec_jax.entropy import densities

SCALES = np.array([0.11, 0.2, 1.0, 7.0, 40.0, 256.0])
V = np.array([0.0, 0.02, 0.3, 0.5, 0.9, 1.0, 2.0, 4.0, 5.0, 17.0, 120.0, 1e3, 1e4])
V = np.concatenate([-V[:0:-1], V])
GRID = np.meshgrid(V, SCALES)


def log_difference(log_larger, log_smaller):
    return log_larger + np.log(-np.expm1(log_smaller - log_larger))


def log_normal_mass(v, scale):
    v = -np.abs(v)
    return log_difference(
        scipy.special.log_ndtr((v + 0.5) / scale),
        scipy.special.log_ndtr((v - 0.5) / scale),
    )


def mills(x):
    """Density over distribution function of N(0, 1): the slope of its logarithm."""
    return np.sqrt(2 / np.pi) / scipy.special.erfcx(-x / np.sqrt(2))


def slopes_of_log_normal_mass(v, scale):
    """d/dv and d/dscale, for v <= 0."""
    upper, lower = (v + 0.5) / scale, (v - 0.5) / scale
    log_upper, log_lower = map(scipy.special.log_ndtr, (upper, lower))
    smaller = np.exp(log_lower - log_upper)
    of_upper = mills(upper) / (1 - smaller)
    of_lower = -mills(lower) * smaller / (1 - smaller)
    by_v = (of_upper + of_lower) / scale
    return by_v, -(of_upper * upper + of_lower * lower) / scale


def float32(*arrays):
    return [jnp.asarray(array, jnp.float32) for array in arrays]


def test_normal_mass_equals_scipy():
    """To a few units in the last place of the larger of value and logarithms."""
    v, scale = float32(*GRID)
    expected = log_normal_mass(*(np.float64(x) for x in (v, scale)))
    found = densities.log_normal_mass(v, scale)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=4e-5)
    assert (np.asarray(found) <= 0).all()


def test_slopes_of_normal_mass_in_the_far_tails():
    """To 0.2 %: wide distributions have nearly no slope, narrow ones millions."""
    v, scale = float32(*GRID)
    gradient = jax.grad(lambda *x: jnp.sum(densities.log_normal_mass(*x)), (0, 1))
    by_v, by_scale = (np.asarray(g) for g in gradient(v, scale))
    expected_v, expected_scale = slopes_of_log_normal_mass(
        -np.abs(np.float64(v)), np.float64(scale)
    )
    expected_v *= -np.sign(v)
    np.testing.assert_allclose(by_v * scale, expected_v * scale, rtol=2e-3, atol=1e-4)
    np.testing.assert_allclose(
        by_scale * scale, expected_scale * scale, rtol=2e-3, atol=1e-3
    )


@pytest.mark.parametrize("v", [3e4, 1e6, 1e8])
def test_nothing_is_infinite_beyond_what_is_coded(v):
    scale = jnp.asarray(SCALES, jnp.float32)
    far = jnp.full_like(scale, v)
    value = jax.value_and_grad(
        lambda *x: jnp.sum(densities.log_normal_mass(*x)), (0, 1)
    )
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(value(far, scale)))


def test_log_ndtr_equals_scipy_with_its_slope():
    x = np.concatenate([-np.logspace(-2, 5, 60), np.logspace(-2, 1, 20), [0, -4, -5]])
    (single,) = float32(x)
    x = np.float64(single)
    found, slope = jax.vmap(jax.value_and_grad(densities.log_ndtr))(single)
    np.testing.assert_allclose(found, scipy.special.log_ndtr(x), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(slope, mills(x), rtol=2e-5, atol=1e-9)


def test_logistic_mass_equals_double_precision():
    lower = np.concatenate([np.linspace(-30, 30, 121), [-1e4, -300, 300, 1e4]])
    for width in (0.01, 0.3, 5.0, 200.0):
        low, high = float32(lower, lower + width)
        a, b = np.float64(low), np.float64(high)
        # In the lower tail logarithms are precise, and the upper one is its mirror image.
        down, up = np.where(a + b > 0, [-b, -a], [a, b])
        expected = log_difference(-np.logaddexp(0, -up), -np.logaddexp(0, -down))
        found = densities.log_logistic_mass(low, high)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=2e-6)


def test_logistic_mass_has_finite_slopes():
    lower = jnp.asarray([-1e8, -1e4, -90.0, -1.0, -0.25, 0.0, 1.0, 90.0, 1e4, 1e8])
    gradient = jax.grad(lambda a, b: jnp.sum(densities.log_logistic_mass(a, b)), (0, 1))
    for width in (0.0, 1e-3, 0.5, 1e3):
        value = densities.log_logistic_mass(lower, lower + width)
        slopes = gradient(lower, lower + width)
        assert all(np.isfinite(x).all() for x in (value, *slopes))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("offset", [0.0, 0.37])
def test_masses_of_all_integers_sum_to_one(scale, offset):
    v = jnp.arange(-2500, 2501) + jnp.float32(offset)
    normal = jnp.exp(densities.log_normal_mass(v, jnp.full_like(v, scale)))
    assert float(jnp.sum(normal)) == pytest.approx(1, abs=2e-5)
    logits = v / scale
    step = 0.5 / scale
    logistic = jnp.exp(densities.log_logistic_mass(logits - step, logits + step))
    inside = np.tanh(2500 / scale / 2)  # sigmoid(x) - sigmoid(-x) = tanh(x / 2)
    assert float(jnp.sum(logistic)) == pytest.approx(inside, abs=1e-4)
