"""Vector quantisation by gradients against Lloyd's algorithm and analytic gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codec_jax.toy.sources import SOURCES
from codec_jax.toy.vector_quantization import choose, ecvq, rates

LMBDA = 3.0
BANANA = SOURCES["banana"]
CODER = ecvq(BANANA, 12, LMBDA)
X = BANANA.sample(jax.random.key(5), 3000)


@pytest.fixture
def params():
    return CODER.init(jax.random.key(0))


def loss(params, x=X):
    cost = CODER.train(params, x, jax.random.key(0), jnp.zeros(()))
    return jnp.mean(cost.rate) + LMBDA * jnp.mean(cost.error)


def all_costs(params):
    vectors, logits = (np.asarray(params[k], np.float64) for k in ("vectors", "logits"))
    bits = np.log2(np.sum(np.exp(logits))) - logits / np.log(2)
    errors = np.sum((np.asarray(X)[:, None] - vectors[None]) ** 2, axis=-1)
    return bits[None] + LMBDA * errors


def test_the_cheapest_vector_is_chosen(params):
    costs = all_costs(params)
    index = np.asarray(choose(params, X, LMBDA))
    np.testing.assert_allclose(
        costs[np.arange(len(X)), index], costs.min(axis=1), atol=1e-4
    )
    assert loss(params) == pytest.approx(costs.min(axis=1).mean(), rel=1e-5)


def test_gradients_are_those_of_the_chosen(params):
    gradient = jax.grad(loss)(params)
    index = np.asarray(choose(params, X, LMBDA))
    chosen = np.eye(12)[index]
    frequencies = chosen.mean(axis=0)
    vectors = np.asarray(params["vectors"])
    pulls = frequencies[:, None] * vectors - chosen.T @ np.asarray(X) / len(X)
    np.testing.assert_allclose(gradient["vectors"], 2 * LMBDA * pulls, atol=1e-4)
    probabilities = np.asarray(jax.nn.softmax(params["logits"]))
    np.testing.assert_allclose(
        gradient["logits"], (probabilities - frequencies) / np.log(2), atol=1e-5
    )


def test_small_steps_down_the_gradient_never_raise_the_loss(params):
    """Though choices jump: at a border both vectors cost the same."""
    step = jax.jit(jax.value_and_grad(loss))
    losses = []
    for _ in range(60):
        value, gradient = step(params)
        losses.append(float(value))
        params = jax.tree.map(lambda p, g: p - 0.02 * g, params, gradient)
    assert np.all(np.diff(losses) < 1e-5)
    assert losses[-1] < losses[0] - 0.1


def test_the_gradient_vanishes_where_lloyds_algorithm_ends(params):
    values = []
    for _ in range(400):
        index = np.asarray(choose(params, X, LMBDA))
        counts = np.bincount(index, minlength=12)
        kept = counts > 0
        vectors = np.asarray(params["vectors"]).copy()
        vectors[kept] = [
            np.asarray(X)[index == k].mean(axis=0) for k in kept.nonzero()[0]
        ]
        logits = np.where(kept, np.log(np.maximum(counts, 1) / len(X)), -30.0)
        params = {
            "vectors": jnp.asarray(vectors, jnp.float32),
            "logits": jnp.asarray(logits, jnp.float32),
        }
        values.append(float(loss(params)))
    assert np.all(np.diff(values) < 1e-5)
    assert values[-1] == values[-2]
    gradient = jax.grad(loss)(params)
    assert max(float(jnp.abs(g).max()) for g in gradient.values()) < 1e-4


def test_the_code_is_what_was_chosen(params):
    code = CODER.code(params, X)
    index = np.asarray(code.symbols)[:, 0]
    np.testing.assert_array_equal(code.reconstruction, params["vectors"][index])
    np.testing.assert_array_equal(code.rate, rates(params)[index])
    assert np.sum(2.0 ** -np.asarray(rates(params))) == pytest.approx(1, abs=1e-5)
