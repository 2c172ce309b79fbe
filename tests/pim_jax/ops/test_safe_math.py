"""Functions of metrics that are exact and have finite gradients."""

import jax
import jax.numpy as jnp
import numpy as np

from pim_jax.ops import safe_math


def test_roots_and_powers_have_finite_gradients():
    x = jnp.array([0.0, 1e-30, 1e-9, 0.25, 1.0])
    np.testing.assert_allclose(safe_math.root(x), np.sqrt(x), rtol=1e-6)
    np.testing.assert_allclose(safe_math.power(x[3:], 0.02), x[3:] ** 0.02, rtol=1e-6)
    np.testing.assert_allclose(safe_math.power(-x, 0.02), safe_math.power(x, 0.02))
    for function in (safe_math.root, lambda x: safe_math.power(x, 0.02)):
        assert np.isfinite(jax.vmap(jax.grad(function))(x)).all()
        assert np.isfinite(jax.vmap(jax.grad(function))(-x)).all()
    assert jax.grad(safe_math.root)(0.0) == 0
    assert jax.grad(lambda x: safe_math.magnitude(x, 2 * x))(0.0) == 0


def test_dissimilarity_is_what_similarity_leaves():
    a, b = jnp.float32(np.random.RandomState(0).rand(2, 20))
    np.testing.assert_allclose(
        safe_math.dissimilarity(a, b, 0.1),
        1 - safe_math.similarity(a, b, 0.1),
        atol=1e-6,
    )
    masked = safe_math.dissimilarity(a, b, 0.1, masking=0.5)
    assert (masked >= safe_math.dissimilarity(a, b, 0.1)).all()


def test_values_that_count_as_zero():
    def cube_root(x):
        return safe_math.zero_up_to(1e-3, jnp.cbrt, x)

    x = jnp.array([-1.0, 0.0, 1e-3, 8.0, jnp.nan])
    np.testing.assert_allclose(cube_root(x), [0, 0, 0, 2, np.nan], rtol=1e-6)
    slopes = jax.vmap(jax.grad(cube_root))(x)
    np.testing.assert_allclose(slopes, [0, 0, 0, 1 / 12, np.nan], rtol=1e-6)
    assert safe_math.root(1e-31, 1e-30) == 0
    assert safe_math.magnitude(jnp.float32(3), jnp.float32(4), 1.0) == 5
