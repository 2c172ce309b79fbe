"""The deep factorized prior against NumPy, and its integer tables."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codec_jax.coding import range_coder
from codec_jax.entropy.factorized import Factorized, make_tables

# tensorflow-compression 2, CoDeX, CompressAI; parameters of each channel.
DEPTHS = {(3, 3): 28, (3, 3, 3): 43, (3, 3, 3, 3): 58}
CHANNELS = 5


@functools.cache
def made(filters, seed=0):
    """(prior, initial parameters)."""
    prior = Factorized(CHANNELS, filters)
    params = prior.init(jax.random.key(seed), jnp.zeros((1, CHANNELS)))["params"]
    return prior, params


def trained(filters, narrow=1.0):
    """Parameters as far from the initial ones as training may take them."""
    prior, params = made(filters)
    random = np.random.default_rng(3)

    def moved(name, value):
        noise = random.normal(size=value.shape).astype(np.float32)
        # Matrices: steeper, so that the distributions are narrower.
        return value + (0.4 * noise + narrow if name == "matrix_0" else 0.4 * noise)

    return prior, {name: moved(name, value) for name, value in params.items()}


def reference_logits(params, x):
    """g(x) in double precision, channel by channel: a loop as in the paper's appendix."""
    params = {name: np.asarray(value, np.float64) for name, value in params.items()}
    layers = sum(name.startswith("matrix") for name in params)
    result = np.empty(x.shape)
    for place in np.ndindex(x.shape):
        channel, h = place[-1], np.array([x[place]], np.float64)
        for k in range(layers):
            weights = np.log1p(np.exp(params[f"matrix_{k}"][channel]))
            h = weights @ h + params[f"bias_{k}"][channel]
            if k < layers - 1:
                h = h + np.tanh(params[f"factor_{k}"][channel]) * np.tanh(h)
        (result[place],) = h
    return result


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


@pytest.mark.parametrize(("filters", "count"), DEPTHS.items())
def test_equals_numpy(filters, count):
    assert count * CHANNELS == sum(x.size for x in made(filters)[1].values())
    prior, params = trained(filters)
    x = np.linspace(-20, 20, 41)[:, None] + np.linspace(0, 1, CHANNELS)
    single = jnp.asarray(x, jnp.float32)
    found = prior.apply({"params": params}, single, method=Factorized.logits)
    expected = reference_logits(params, np.float64(single))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    mass = np.exp(np.float64(prior.apply({"params": params}, single)))
    above, below = (
        reference_logits(params, np.float64(single) + d) for d in (0.5, -0.5)
    )
    np.testing.assert_allclose(mass, sigmoid(above) - sigmoid(below), 2e-4, 1e-9)


@pytest.mark.parametrize("filters", DEPTHS)
def test_starts_near_a_logistic_distribution_of_scale_ten(filters):
    """Slope 1/10 of the logits; random biases move it, and nothing bends it."""
    prior, params = made(filters)
    x = jnp.linspace(-50, 50, 21)[:, None] * jnp.ones((1, CHANNELS))
    found = prior.apply({"params": params}, x, method=Factorized.logits)
    slope = np.diff(found, axis=0) / np.diff(x, axis=0)
    np.testing.assert_allclose(slope, 0.1, rtol=1e-3)
    assert np.abs(found[10]).max() < 1.2
    centred = jax.tree.map(
        jnp.zeros_like, {k: v for k, v in params.items() if "b" in k}
    )
    found = prior.apply({"params": params | centred}, x, method=Factorized.logits)
    np.testing.assert_allclose(sigmoid(found), sigmoid(x / 10), atol=1e-5)


@pytest.mark.parametrize("filters", DEPTHS)
def test_rises_from_zero_to_one_and_sums_to_one(filters):
    for prior, params in (made(filters), trained(filters)):
        x = jnp.arange(-1000.0, 1001.0)[:, None] * jnp.ones((1, CHANNELS))
        logits = prior.apply({"params": params}, x, method=Factorized.logits)
        assert (np.diff(logits, axis=0) > 0).all()
        assert (sigmoid(logits[0]) < 1e-5).all()
        assert (sigmoid(logits[-1]) > 1 - 1e-5).all()
        log_mass = prior.apply({"params": params}, x)
        assert (np.asarray(log_mass) <= 0).all()
        np.testing.assert_allclose(np.exp(log_mass).sum(0), 1, atol=1e-4)


@pytest.mark.parametrize("x", [0.0, 60.0, -3e3, 1e4, -1e6])
def test_tails_and_their_gradients_are_finite(x):
    """An outlier costs many bits, and its gradient leads back."""
    prior, params = trained((3, 3))

    def bits(params, x):
        return -jnp.sum(prior.apply({"params": params}, x))

    value, (by_params, by_x) = jax.value_and_grad(bits, (0, 1))(
        params, jnp.full((1, CHANNELS), x)
    )
    assert np.isfinite(value)
    for leaf in jax.tree.leaves((by_params, by_x)):
        assert np.isfinite(leaf).all()
    if abs(x) > 50:
        assert value > CHANNELS * abs(x) / 40
        assert (np.sign(by_x) == np.sign(x)).all()


def test_the_gradient_of_the_noisy_rate_is_that_of_its_expectation():
    """A Monte Carlo mean of gradients against the slope of the integrated rate."""
    prior, params = trained((3, 3))
    y, count = np.linspace(-2, 2, CHANNELS)[None], 100_000
    u = jax.random.uniform(jax.random.key(0), (count, CHANNELS)) - 0.5

    def bits(y):
        return -prior.apply({"params": params}, y)

    sampled = np.asarray(jax.grad(lambda y: jnp.sum(bits(y)))(jnp.float32(y) + u))
    grid = (np.arange(200) + 0.5)[:, None] / 200 - 0.5

    def expected(y):
        above, below = (reference_logits(params, y + grid + d) for d in (0.5, -0.5))
        return -np.log(sigmoid(above) - sigmoid(below)).mean(0)

    slope = (expected(y + 1e-3) - expected(y - 1e-3)) / 2e-3
    error = 5 * sampled.std(0) / np.sqrt(count) + 1e-3
    assert (np.abs(sampled.mean(0) - slope) < error).all()


@pytest.mark.parametrize("filters", DEPTHS)
@pytest.mark.parametrize("change", [made, trained])
def test_tables_hold_what_the_tails_leave(filters, change):
    prior, params = change(filters)
    tail_mass = 2.0**-12
    tables = make_tables(params, prior, tail_mass=tail_mass)
    assert len(tables.cdf) == CHANNELS
    assert tables.escape.all()
    everywhere = np.ones((1, CHANNELS))
    for channel in range(CHANNELS):
        size = tables.size[channel] - 1
        symbols = tables.offset[channel] + np.arange(size)
        edges = (tables.offset[channel] + np.arange(size + 1) - 0.5)[:, None]
        cdf = sigmoid(reference_logits(params, edges * everywhere)[:, channel])
        # Each tail is at most half, and would be more with one integer fewer.
        assert cdf[0] <= tail_mass / 2 * 1.001
        assert 1 - cdf[-1] <= tail_mass / 2 * 1.001
        assert cdf[1] >= tail_mass / 2 * 0.999
        assert 1 - cdf[-2] >= tail_mass / 2 * 0.999
        p = np.diff(cdf)
        counts = np.diff(tables.cdf[channel, : size + 1]) / 2.0**16
        assert symbols[0] <= 0 <= symbols[-1]
        # The average length of a code, within 0.5 % of the entropy.
        entropy, length = -(p * np.log2(p)).sum(), -(p * np.log2(counts)).sum()
        assert entropy <= length + tail_mass * 20
        assert length <= 1.005 * entropy


def sample(params, count, random):
    """Latents of the model: the quantiles of uniform numbers, by bisection."""
    share = random.uniform(size=(count, CHANNELS))
    logit = np.log(share / (1 - share))
    low, high = np.full(share.shape, -500.0), np.full(share.shape, 500.0)
    prior = trained((3, 3))[0]
    logits = jax.jit(
        lambda x: prior.apply({"params": params}, x, method=Factorized.logits)
    )
    for _ in range(40):
        middle = (low + high) / 2
        below = np.asarray(logits(jnp.asarray(middle, jnp.float32))) < logit
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return low


def test_noisy_quantized_and_actual_rate():
    """Three numbers for one sample from the model; a file is as long as the second."""
    prior, params = trained((3, 3), narrow=0.0)
    random, count = np.random.default_rng(0), 4000
    latents = sample(params, count, random)

    def bits(x):
        found = prior.apply({"params": params}, jnp.asarray(x, jnp.float32))
        return -float(jnp.mean(found)) / np.log(2)

    symbols = np.rint(latents).astype(np.int64)
    noisy = bits(latents + random.uniform(-0.5, 0.5, latents.shape))
    quantized = bits(symbols)
    rows = np.broadcast_to(np.arange(CHANNELS), symbols.shape)
    tables = make_tables(params, prior)
    data = range_coder.encode(symbols, rows, tables)
    np.testing.assert_array_equal(range_coder.decode(data, rows, tables), symbols)
    actual = 8 * len(data) / symbols.size
    wide = np.arange(-400, 401)[:, None] * np.ones((1, CHANNELS))
    p = np.exp(np.float64(prior.apply({"params": params}, jnp.float32(wide))))
    entropy = -(p * np.log2(np.maximum(p, 1e-30))).sum(0).mean()
    assert quantized == pytest.approx(entropy, rel=0.02)
    assert noisy == pytest.approx(quantized, rel=0.02)
    assert noisy != quantized
    assert actual == pytest.approx(quantized, rel=5e-3)


def test_a_narrow_distribution_keeps_one_symbol():
    """Far narrower than an integer, between two of them: neither tail's and both tails'."""
    prior, params = made((3, 3))
    steep = params | {"matrix_0": params["matrix_0"] + 1e4}
    places = jnp.asarray([[0.0], [1.0]]) * jnp.ones((1, CHANNELS))
    at_0, at_1 = prior.apply({"params": steep}, places, method=Factorized.logits)
    tables = make_tables(steep, prior)
    middles = np.rint(-at_0 / (at_1 - at_0))
    np.testing.assert_array_equal(tables.size, 2)
    np.testing.assert_array_equal(tables.offset, middles)


def test_a_distribution_that_fits_no_table():
    prior, params = made((3, 3))
    flat = params | {"matrix_0": params["matrix_0"] - 10}
    with pytest.raises(ValueError, match="tails of more than"):
        make_tables(flat, prior)
