"""Transform coders whose transforms do nothing, so that all can be seen."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codec_jax import ops
from codec_jax.entropy.factorized import Factorized
from codec_jax.toy.transform_coding import transform_coder

KEY = jax.random.key(3)


def transparent(dimensions, alpha=2.0):
    """A linear coder and parameters with the identity as its two transforms."""
    coder = transform_coder(dimensions, dimensions, (), alpha)
    params = coder.init(KEY)
    identity = {"kernel": jnp.eye(dimensions), "bias": jnp.zeros(dimensions)}
    for name in ("analysis", "synthesis"):
        assert jax.tree.structure(params[name]) == jax.tree.structure(
            {"Dense_0": identity}
        )
        params[name] = {"Dense_0": identity}
    return coder, params


def test_code_rounds():
    coder, params = transparent(2)
    x = 4 * jax.random.normal(KEY, (50, 2))
    code = coder.code(params, x)
    np.testing.assert_array_equal(code.symbols, np.round(np.asarray(x)))
    assert code.symbols.dtype == jnp.int32
    np.testing.assert_allclose(code.reconstruction, code.symbols, atol=1e-5)


def test_the_probabilities_of_all_codes_sum_to_one():
    coder, params = transparent(1)
    integers = jnp.arange(-1500.0, 1501.0)[:, None]
    probabilities = 2.0 ** -np.asarray(coder.code(params, integers).rate, np.float64)
    assert probabilities.sum() == pytest.approx(1, abs=1e-4)
    # Channels are independent: of two equal ones the bits add.
    wide, twice = transparent(2)
    prior = jax.tree.map(lambda p: jnp.repeat(p, 2, axis=0), params["prior"])
    twice = {**twice, "prior": prior}
    pairs = jnp.tile(integers[1490:1510], (1, 2))
    np.testing.assert_allclose(
        wide.code(twice, pairs).rate,
        2 * coder.code(params, integers[1490:1510]).rate,
        rtol=1e-5,
    )


def test_training_begins_with_additive_noise():
    coder, params = transparent(2)
    x = jnp.zeros((200_000, 2))
    cost = coder.train(params, x, KEY, jnp.zeros(()))
    assert float(cost.error.mean()) == pytest.approx(2 / 12, rel=0.01)


def test_with_sharp_rounding_training_sees_what_the_code_is():
    coder, params = transparent(2, alpha=300.0)
    x = 4 * jax.random.normal(KEY, (200_000, 2))
    cost, code = coder.train(params, x, KEY, jnp.ones(())), coder.code(params, x)
    errors = jnp.sum((x - code.reconstruction) ** 2, axis=-1)
    assert float(cost.rate.mean()) == pytest.approx(float(code.rate.mean()), rel=1e-3)
    assert float(cost.error.mean()) == pytest.approx(float(errors.mean()), rel=0.02)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 2.0, 7.0])
def test_the_mass_around_the_decoded_latent_is_a_density(alpha):
    """Of z = soft_round(Y) + u, for Y from the prior: integrates to 1, fits Y and u."""
    density, cumulative = prior_functions()
    z = np.linspace(-250, 250, 50_001)
    masses = 0.01 * np.asarray(density(z, alpha), np.float64)
    assert masses.sum() == pytest.approx(1, abs=1e-4)
    # P(soft_round(Y) + u < z) is the mean over u of P(Y < soft_round_inverse(z - u)).
    for place in (-7.3, 0.1, 4.75):
        below = float(np.mean(cumulative(place - np.linspace(-0.5, 0.5, 1001), alpha)))
        assert below == pytest.approx(masses[z < place].sum(), abs=2e-3)


@functools.cache
def prior_functions():
    """Of a prior: the density of z, and the distribution function of soft_round(Y)."""
    prior = Factorized(1)
    params = prior.init(KEY, jnp.zeros((1, 1)))

    @jax.jit
    def density(z, alpha):
        y_hat = ops.soft_round_conditional_mean(z[:, None], alpha)
        return jnp.exp(prior.apply(params, y_hat))[:, 0]

    @jax.jit
    def cumulative(z, alpha):
        y = ops.soft_round_inverse(z[:, None], alpha)
        return jax.nn.sigmoid(prior.apply(params, y, method=Factorized.logits))[:, 0]

    return density, cumulative


@pytest.mark.parametrize("widths", [(), (8, 8)])
def test_gradients_are_finite_at_every_sharpness(widths):
    coder = transform_coder(3, 2, widths, 8.0)
    params = coder.init(KEY)
    x = 10 * jax.random.normal(KEY, (100, 3))
    # Latents that are integers where the biases are zero.
    x = x.at[:4].set(jnp.zeros((4, 3)))

    @jax.jit
    @jax.grad
    def gradient(params, progress):
        cost = coder.train(params, x, KEY, progress)
        return jnp.mean(cost.rate + cost.error)

    for progress in (0.0, 1e-5, 1e-4, 0.5, 1.0):
        found = gradient(params, progress)
        assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(found))
        assert all(np.any(g != 0) for g in jax.tree.leaves(found["analysis"]))
