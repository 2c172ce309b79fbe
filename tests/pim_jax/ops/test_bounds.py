"""Clipping with a gradient that leads back, in every mode of differentiation."""

import jax
import jax.numpy as jnp
import numpy as np

from pim_jax.ops import bounds

X = jnp.array([-0.5, -0.1, 0.0, 0.4, 1.0, 1.2, 3.0])


def test_values_are_clipped():
    np.testing.assert_array_equal(bounds.unit_range(X), jnp.clip(X, 0, 1))
    assert bounds.unit_range(jnp.array([jnp.nan, jnp.inf, -jnp.inf])).tolist() == [
        0,
        1,
        0,
    ]


def test_the_gradient_passes_where_descent_leads_back():
    for sign in (1.0, -1.0):
        gradient = jax.jit(jax.grad(lambda x, s=sign: s * bounds.unit_range(x).sum()))(
            X
        )
        away = X < 0 if sign > 0 else X > 1
        np.testing.assert_array_equal(gradient, jnp.where(away, 0.0, sign))
    passed = jax.vjp(bounds.unit_range, X)[1](jnp.full_like(X, jnp.nan))[0]
    assert np.isnan(passed).all()


def test_all_modes_of_differentiation():
    def f(x):
        return jnp.sum(jnp.square(bounds.unit_range(x) - 0.3))

    expected = 2 * (jnp.clip(X, 0, 1) - 0.3)
    np.testing.assert_allclose(jax.grad(f)(X), expected, rtol=1e-6)
    np.testing.assert_allclose(jax.jacfwd(f)(X), expected, rtol=1e-6)
    np.testing.assert_allclose(jax.hessian(f)(X), 2 * np.eye(len(X)), rtol=1e-6)
    np.testing.assert_allclose(jax.grad(jax.checkpoint(f))(X), expected, rtol=1e-6)
    of_both = jax.vmap(jax.grad(f))(jnp.stack([X, -X]))
    np.testing.assert_allclose(of_both[0], expected, rtol=1e-6)


def test_nan_is_a_factor_for_its_own_image():
    images = jnp.zeros((2, 3)).at[1, 2].set(jnp.nan)
    found = bounds.holds_nan(jnp.zeros((2, 3)), images)
    np.testing.assert_array_equal(found, [1, jnp.nan])


def test_rounding_below_zero_is_cut_off_and_keeps_its_gradient():
    x = jnp.array([-1e-8, 0.0, 2.0, jnp.nan])
    np.testing.assert_array_equal(bounds.at_least_zero(x), [0, 0, 2, jnp.nan])
    gradient = jax.grad(lambda x: bounds.at_least_zero(x).sum())(x[:3])
    np.testing.assert_array_equal(gradient, 1)
