"""Rounding and what replaces it: formulas in double precision, averages, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

from codec_jax import ops

ALPHAS = (0.0, 1e-4, 1e-3, 0.1, 1.0, 5.0, 16.0, 50.0, 1000.0)
GRID = np.linspace(-3, 3, 961)
HALVES = np.arange(-6, 7) / 2


def gradient(function, x):
    return jax.vmap(jax.grad(function))(jnp.asarray(x, jnp.float32))


def soft_round(y, alpha):
    """In double precision; the identity where alpha is nearly 0."""
    if alpha < 1e-3:
        return y
    middle = np.floor(y) + 0.5
    return middle + np.tanh(alpha * (y - middle)) / (2 * np.tanh(alpha / 2))


def soft_round_inverse(z, alpha):
    if alpha < 1e-3:
        return z
    middle = np.floor(z) + 0.5
    bent = np.arctanh(2 * (z - middle) * np.tanh(alpha / 2)) / alpha
    return middle + np.clip(bent, -0.5, 0.5)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_soft_rounding_is_its_formula(alpha):
    found = ops.soft_round(jnp.asarray(GRID, jnp.float32), alpha)
    # An error of float32 in y is magnified by the slope, at most about alpha / 2.
    y = GRID.astype(np.float32).astype(float)
    np.testing.assert_allclose(found, soft_round(y, alpha), atol=2e-6 + 2e-7 * alpha)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("function", [ops.soft_round, ops.soft_round_inverse])
def test_integers_and_halves_stay(function, alpha):
    found = function(jnp.asarray(HALVES, jnp.float32), alpha)
    np.testing.assert_allclose(found, HALVES, atol=1e-6)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("function", [ops.soft_round, ops.soft_round_inverse])
def test_soft_rounding_rises(function, alpha):
    """Strictly where float32 can show it, and never falls."""
    found = np.asarray(function(jnp.asarray(GRID, jnp.float32), alpha))
    assert (np.diff(found) >= -3e-7).all()
    if alpha <= 5:
        assert (np.diff(found) > 0).all()


@pytest.mark.parametrize("alpha", ALPHAS)
def test_the_inverse_undoes_soft_rounding(alpha):
    z = jnp.asarray(GRID, jnp.float32)
    there = ops.soft_round(ops.soft_round_inverse(z, alpha), alpha)
    # The slope of soft rounding magnifies the error of the inverse.
    np.testing.assert_allclose(there, z, atol=1e-6 + 5e-7 * alpha)
    if alpha <= 5:
        back = ops.soft_round_inverse(ops.soft_round(z, alpha), alpha)
        np.testing.assert_allclose(back, z, atol=1e-5)


def test_limits_of_soft_rounding():
    y = jnp.asarray([-1.3, -0.7, 0.2, 0.45, 0.55, 2.9])
    np.testing.assert_allclose(ops.soft_round(y, 1e-3), y, atol=1e-6)
    np.testing.assert_array_equal(ops.soft_round(y, 1000.0), jnp.round(y))


@pytest.mark.parametrize("alpha", [1e-4, 0.1, 1.0, 5.0, 16.0])
def test_the_conditional_mean_is_the_mean(alpha):
    """E[y | s(y) + u = z] by integrating over a flat y, without its closed form.

    s(y) + u = z for some u in (-1/2, 1/2) where z - 1/2 < s(y) < z + 1/2.
    """
    z = np.array([-1.5, -0.9, -0.5, -0.2, 0.0, 0.13, 0.5, 0.77, 1.0, 2.4])
    y = np.linspace(-4, 5, 900_001)
    softened = soft_round(y, alpha)
    expected = [y[np.abs(softened - centre) < 0.5].mean() for centre in z]
    found = ops.soft_round_conditional_mean(jnp.asarray(z, jnp.float32), alpha)
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize(
    "function",
    [ops.soft_round, ops.soft_round_inverse, ops.soft_round_conditional_mean],
)
def test_gradients_are_finite_everywhere(function, alpha):
    near = np.nextafter(HALVES.astype(np.float32), np.float32(np.inf))
    points = np.concatenate([GRID, HALVES, near, -near, [1e4, -1e4 + 0.5]])
    found = gradient(lambda y: function(y, alpha), points)
    assert np.isfinite(found).all()
    # Also with respect to alpha, which may be a traced number.
    by_alpha = jax.vmap(jax.grad(function, argnums=1), (0, None))
    assert np.isfinite(by_alpha(jnp.asarray(points, jnp.float32), alpha)).all()


@pytest.mark.parametrize("alpha", [1e-3, 1.0, 5.0])
def test_gradients_of_soft_rounding_and_its_inverse(alpha):
    """Also at integers and half integers, where formulas change sides."""
    y = np.concatenate([GRID, HALVES])
    r = y - np.floor(y) - 0.5
    expected = alpha / np.cosh(alpha * r) ** 2 / (2 * np.tanh(alpha / 2))
    found = gradient(lambda y: ops.soft_round(y, alpha), y)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    slope = np.tanh(alpha / 2)
    expected = 2 * slope / alpha / (1 - (2 * r * slope) ** 2)
    found = gradient(lambda z: ops.soft_round_inverse(z, alpha), y)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_straight_through():
    y = jnp.asarray([-1.5, -0.4, 0.5, 0.6, 2.5, 1e6])
    np.testing.assert_array_equal(ops.round_straight_through(y), np.round(y))
    np.testing.assert_array_equal(gradient(ops.round_straight_through, y), 1.0)


def test_bounds_let_a_gradient_pass_that_leads_inside():
    """Descent moves against the gradient: one of +1 lowers x, one of -1 raises it."""
    x = jnp.asarray([-2.0, 0.5, 1.0, 3.0])

    def pulled(bound, sign):
        return gradient(lambda value: sign * bound(value), x)

    def lower(value):
        return ops.lower_bound(value, 0.5)

    def upper(value):
        return ops.upper_bound(value, 1.0)

    np.testing.assert_array_equal(lower(x), [0.5, 0.5, 1.0, 3.0])
    np.testing.assert_array_equal(pulled(lower, 1), [0, 1, 1, 1])
    np.testing.assert_array_equal(pulled(lower, -1), [-1, -1, -1, -1])
    np.testing.assert_array_equal(upper(x), [-2.0, 0.5, 1.0, 1.0])
    np.testing.assert_array_equal(pulled(upper, 1), [1, 1, 1, 1])
    np.testing.assert_array_equal(pulled(upper, -1), [-1, -1, -1, 0])


def test_descent_returns_from_outside_a_bound():
    """What a plain maximum would not do."""
    value = jnp.float32(-3.0)
    for _ in range(50):
        loss = jax.grad(lambda x: (ops.lower_bound(x, 0.1) - 2.0) ** 2)
        value -= 0.2 * loss(value)
    assert value == pytest.approx(2.0, abs=1e-3)


def test_noise_of_an_image_depends_on_its_key_alone():
    keys = jax.random.split(jax.random.key(0), 3)
    like = jnp.zeros((3, 20, 30, 4))
    noise = ops.uniform_noise(keys, like)
    assert noise.shape == like.shape
    assert -0.5 <= noise.min() < -0.499
    assert 0.499 < noise.max() < 0.5
    assert abs(noise.mean()) < 5 / np.sqrt(12 * noise.size)
    assert noise.var() == pytest.approx(1 / 12, rel=0.05)
    alone = ops.uniform_noise(keys[1:2], like[1:2])
    np.testing.assert_array_equal(alone[0], noise[1])


def rate(y, scale):
    """Something bent, with a parameter: bits under a Cauchy density."""
    return jnp.log2(1 + (y / scale) ** 2)


def test_expected_gradient_is_the_mean_of_gradients():
    y, scale, count = 0.7, 0.6, 200_000
    u = jax.random.uniform(jax.random.key(0), (count,), minval=-0.5, maxval=0.5)
    single = jax.vmap(jax.grad(lambda y, u: rate(y + u, scale)), (None, 0))(y, u)
    expected = gradient(
        lambda y: ops.with_expected_gradient(rate, y, 0.123, scale), [y]
    )
    error = 4 * float(single.std()) / np.sqrt(count)
    assert abs(single.mean() - expected[0]) < error
    # The derivative of the mean, by integration: the same without noise.
    step = 1e-4

    def mean(y):
        def bits(u):
            return np.log2(1 + ((y + u) / scale) ** 2)

        return scipy.integrate.quad(bits, -0.5, 0.5)[0]

    numerical = (mean(y + step) - mean(y - step)) / (2 * step)
    assert expected[0] == pytest.approx(numerical, rel=1e-4)


def test_expected_gradient_leaves_value_and_other_gradients():
    y, u = jnp.asarray([0.7, -2.0]), jnp.asarray([0.3, -0.1])

    def total(scale, expected):
        if expected:
            return jnp.sum(ops.with_expected_gradient(rate, y, u, scale))
        return jnp.sum(rate(y + u, scale))

    value_and_slope = jax.value_and_grad(total)
    found, plain = value_and_slope(0.6, True), value_and_slope(0.6, False)
    np.testing.assert_allclose(found, plain, rtol=1e-6)


# Sender and receiver may have different versions of JAX: these numbers may never change.
DITHER = (-5, -5, -1, 5, -1, 0, -4, -5, -4, 5)


def test_the_dither_is_the_same_for_all_time():
    np.testing.assert_array_equal(16 * ops.dither((2, 5)).ravel(), DITHER)
    with jax.default_prng_impl("rbg"):
        np.testing.assert_array_equal(16 * ops.dither((2, 5)).ravel(), DITHER)


def test_no_levels_are_no_dither():
    np.testing.assert_array_equal(ops.dither((3, 4), 0), np.zeros((3, 4)))


def test_levels_of_the_dither_are_equally_frequent():
    for levels in (15, 4):
        offsets = np.asarray(ops.dither((100, 1000), levels))
        values, counts = np.unique(offsets, return_counts=True)
        expected = (np.arange(levels) + 1) / (levels + 1) - 0.5
        np.testing.assert_allclose(values, expected, atol=1e-7)
        share = offsets.size / levels
        assert (np.abs(counts - share) < 5 * np.sqrt(share)).all()


def test_the_error_with_dither_does_not_depend_on_the_latents():
    """Uniform to within the spacing of the offsets, wherever y lies."""
    offsets = ops.dither((40_000,), levels=255)
    for y in (0.0, 0.1, 0.25, 0.5, 7.77, -3.3):
        rounded = ops.round_with_dither(jnp.full(offsets.shape, y), offsets)
        error = np.asarray(rounded) - np.float32(y)
        assert np.abs(error).max() <= 0.5 + 1e-5
        histogram, _ = np.histogram(error, 8, (-0.5001, 0.5001))
        np.testing.assert_allclose(histogram / error.size, 1 / 8, atol=0.012)
        assert abs(error.mean()) < 0.008
        assert error.var() == pytest.approx(1 / 12, rel=0.03)


def test_dithered_values_are_integers_beside_the_offsets():
    y = jax.random.normal(jax.random.key(1), (3, 50)) * 10
    offsets = ops.dither(y.shape)
    symbols = ops.round_with_dither(y, offsets) - offsets
    np.testing.assert_array_equal(symbols, jnp.round(y - offsets))
    slope = jax.grad(lambda y: jnp.sum(ops.round_with_dither(y, offsets)))(y)
    np.testing.assert_array_equal(slope, 1.0)
