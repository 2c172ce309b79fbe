"""Codecs as networks: shapes, rounding, gradients, and rates between rates."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codec_jax import ops
from codec_jax.entropy import gaussian_conditional
from codec_jax.latents import quantizer
from codec_jax.latents.quantizer import QUANTIZATIONS, Quantizer
from codec_jax.models import codec, strips
from codec_jax.models.architectures import networks
from codec_jax.models.config import MODELS

SMALL = {
    name: dataclasses.replace(config, filters=4, latents=6)
    for name, config in MODELS.items()
}
THREE_RATES = dataclasses.replace(SMALL["mbt2018-mean"], lambdas=(0.002, 0.013, 0.1))
MORE = {
    "float indexes": dataclasses.replace(SMALL["mbt2018-mean"], hyper="index"),
    "float scales": dataclasses.replace(
        SMALL["bmshj2018-hyperprior"], hyper="scale", offsets=True
    ),
}
ALL = SMALL | MORE
SIZES = [(1, 1), (37, 50)]


@functools.cache
def initial(config):
    """Parameters."""
    one = jnp.zeros((1, 16, 16, 3)), jnp.zeros(1)
    return jax.jit(networks(config).init)(jax.random.key(0), *one)["params"]


def run(config, images, rate, noise=None, quantization="mixed"):
    apply = compiled(config, "__call__", quantization)
    return apply(initial(config), images, rate, noise)


def method(config, name, *arguments):
    return compiled(config, name)(initial(config), *arguments)


@functools.cache
def compiled(config, name, *options):
    codec = networks(config)
    module = codec if hasattr(type(codec), name) else codec.latent_codec
    return jax.jit(
        lambda params, *arguments: module.apply(
            {"params": params}, *arguments, *options, method=name
        )
    )


def photographs(n, height, width):
    random = np.random.default_rng(height)
    return jnp.asarray(random.uniform(size=(n, height, width, 3)), jnp.float32)


def keys(n):
    return jax.random.split(jax.random.key(1), n)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_shapes(name, height, width):
    """Images come back in their size, whatever it is; latents are rounded up."""
    config, params = ALL[name], initial(ALL[name])

    def shape(method, *arguments):
        codec = networks(config)
        module = codec if hasattr(type(codec), method) else codec.latent_codec
        found = jax.eval_shape(
            lambda *x: module.apply({"params": params}, *x, method=method),
            *arguments,
        )
        return jax.tree.map(lambda x: x.shape, found)

    images, rate = jnp.zeros((2, height, width, 3)), jnp.zeros(2)
    for noise in ((), (keys(2),)):
        assert shape("__call__", images, rate, *noise) == (images.shape, (2,), (2,))
    h, w = -(-height // 16), -(-width // 16)
    assert shape("analysis", images, rate) == (2, h, w, 6)
    y = jnp.zeros((2, h, w, 6))
    assert shape("synthesis", y, rate) == (2, 16 * h, 16 * w, 3)
    if config.prior == "factorized":
        return
    h, w = -(-h // 4), -(-w // 4)
    assert shape("hyper_analysis", y) == (2, h, w, 4)
    z = jnp.zeros((2, h, w, 4))
    assert shape("hyper_synthesis", z) == ((2, 4 * h, 4 * w, 6),) * 2


@pytest.mark.parametrize("name", ALL)
def test_without_keys_everything_is_rounded(name):
    """The same parts one after the other, with rounding in the open."""
    config, images, rate = ALL[name], photographs(2, 37, 50), jnp.zeros(2)
    passed = run(config, images, rate)
    y = method(config, "analysis", images, rate)
    if config.prior == "factorized":
        bits, hyper_bits = -method(config, "log_prior", jnp.round(y)).sum((1, 2, 3)), 0
        decoded = method(config, "synthesis", jnp.round(y), rate)
    else:
        z = jnp.round(method(config, "hyper_analysis", y))
        hyper_bits = -method(config, "log_prior", z).sum((1, 2, 3))
        index, mean = (
            x[:, : y.shape[1], : y.shape[2]]
            for x in method(config, "hyper_synthesis", z)
        )
        assert 0 <= index.min() <= index.max() <= 63
        assert config.prior == "mean_scale" or not mean.any()
        symbols = jnp.round(y - mean)
        bits = hyper_bits - gaussian_conditional.log2_mass(symbols, index).sum(
            (1, 2, 3)
        )
        decoded = method(config, "synthesis", symbols + mean, rate)
    np.testing.assert_allclose(passed.images, decoded[:, :37, :50], atol=1e-4)
    np.testing.assert_allclose(passed.bits, bits, rtol=1e-4)
    np.testing.assert_allclose(passed.hyper_bits, hyper_bits, rtol=1e-4)
    assert (passed.bits > 0).all()


GRADIENTS = [
    *(("bls2017", quantization) for quantization in QUANTIZATIONS),
    ("mbt2018-mean", "mixed"),
]


@pytest.mark.parametrize(("name", "quantization"), GRADIENTS)
def test_gradients_are_finite_and_reach_every_parameter(name, quantization):
    config = THREE_RATES if name == "mbt2018-mean" else ALL[name]
    images, rate = photographs(2, 20, 30), jnp.asarray([0.0, 1.3])
    rate = jnp.minimum(rate, len(config.lambdas) - 1)

    @jax.jit
    @jax.grad
    def gradient(params, alpha):
        passed = networks(config).apply(
            {"params": params}, images, rate, keys(2), quantization, alpha
        )
        error = jnp.mean((passed.images - images) ** 2)
        return jnp.mean(passed.bits) / images[0, ..., 0].size + 100 * error

    for alpha in (0.0, 1.0, 16.0, 1000.0):
        found = gradient(initial(config), alpha)
        for path, leaf in jax.tree_util.tree_leaves_with_path(found):
            assert jnp.isfinite(leaf).all(), path
            assert jnp.any(leaf != 0), path


def test_what_replaces_rounding():
    y = 3 * jax.random.normal(jax.random.key(2), (2, 4, 5, 6))
    u = ops.uniform_noise(keys(2), y)
    rounded = jnp.round(y)
    np.testing.assert_array_equal(Quantizer(None, "noise", 1.0)(y), [rounded] * 2)
    np.testing.assert_array_equal(Quantizer(keys(2), "noise", 1.0)(y), [y + u] * 2)
    mixed = Quantizer(keys(2), "mixed", 1.0)(y)
    np.testing.assert_array_equal(mixed, [y + u, rounded])
    straight = Quantizer(keys(2), "straight_through", 1.0)(y)
    np.testing.assert_array_equal(straight, [rounded] * 2)
    noisy, seen = Quantizer(keys(2), "soft_round", 7.0)(y)
    np.testing.assert_array_equal(noisy, seen)
    # Between the two: without sharpness noise, with more of it nearly rounding.
    dull = Quantizer(keys(2), "soft_round", 0.0)(y)[0]
    np.testing.assert_allclose(dull, y + u, atol=1e-5)
    sharp = Quantizer(keys(2), "soft_round", 60.0)(y)[0]
    errors = [float(jnp.abs(x - rounded).mean()) for x in (dull, noisy, sharp)]
    assert errors[0] > errors[1] > errors[2]
    with pytest.raises(ValueError, match="quantization is 'round', expected one of"):
        Quantizer(None, "round", 1.0)(y)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bls2017", "mbt2018-mean"])
def test_the_expected_gradient_of_the_rate(name):
    """The same bits; a gradient that is the mean over the noise, and has less of it."""
    config, images, rate = SMALL[name], photographs(1, 32, 32), jnp.zeros(1)

    def bits(params, noise, averaged):
        passed = networks(config).apply(
            {"params": params}, images, rate, noise, "noise", 1.0, averaged
        )
        return passed.bits.sum() - passed.hyper_bits.sum()

    both = jax.jit(jax.value_and_grad(bits), static_argnums=2)
    bias = jax.tree_util.DictKey("bias")

    def found(averaged):
        values, gradients = [], []
        for seed in range(40):
            noise = jax.random.split(jax.random.key(seed), 1)
            value, gradient = both(initial(config), noise, averaged)
            leaves = jax.tree_util.tree_leaves_with_path(gradient["analysis_transform"])
            gradients.append(np.ravel([x for path, x in leaves if bias in path][-1]))
            values.append(value)
        return np.array(values), np.array(gradients)

    values, plain = found(averaged=False)
    same, averaged = found(averaged=True)
    np.testing.assert_allclose(same, values, rtol=1e-5)
    error = np.sqrt((plain.var(0) + averaged.var(0)) / len(plain))
    assert (np.abs(plain.mean(0) - averaged.mean(0)) < 5 * error + 1e-4).all()
    assert averaged.var(0).sum() < plain.var(0).sum()


def test_the_expected_gradient_needs_noise():
    with pytest.raises(ValueError, match=r"expected_gradient needs .* 'soft_round'"):
        quantizer.check_quantization("soft_round", expected_gradient=True)


def test_noise_differs_between_latents_and_hyper_latents():
    """The two keys of an image are not one."""
    key = keys(1)
    of_y, of_z = jnp.moveaxis(jax.vmap(jax.random.split)(key), 1, 0)
    like = jnp.zeros((1, 4, 4, 6))
    pair = ops.uniform_noise(of_y, like), ops.uniform_noise(of_z, like)
    assert abs(np.corrcoef(np.ravel(pair[0]), np.ravel(pair[1]))[0, 1]) < 0.5
    images, rate = photographs(1, 37, 50), jnp.ones(1)
    first = run(THREE_RATES, images, rate, key)
    again = run(THREE_RATES, images, rate, key)
    other = run(THREE_RATES, images, rate, keys(2)[1:])
    np.testing.assert_array_equal(first.bits, again.bits)
    assert (first.bits != other.bits).all()


def test_an_image_does_not_depend_on_its_batch():
    images, rate = photographs(3, 20, 30), jnp.asarray([0.0, 0.7, 2.0])
    together = run(THREE_RATES, images, rate, keys(3), "noise")
    for i in range(3):
        part = slice(i, i + 1)
        alone = run(THREE_RATES, images[part], rate[part], keys(3)[part], "noise")
        np.testing.assert_allclose(alone.images, together.images[part], atol=1e-4)
        np.testing.assert_allclose(alone.bits, together.bits[part], rtol=1e-4)


def test_gains_at_rates_and_between():
    """Those learned at a rate; geometric between two; the inverse ones for synthesis."""
    random = np.random.default_rng(5)
    gains = {
        name: random.normal(size=(3, 6)).astype(np.float32)
        for name in ("log_gain", "log_inverse_gain")
    }
    rate = np.array([0.0, 1.0, 2.0, 0.25, 1.5, 1.999])
    # Between rows 0, 1, 2: weights that sum to one.
    share = np.maximum(0, 1 - np.abs(rate[:, None] - np.arange(3)))
    gain, inverse = (
        np.exp(share @ gains[name])[:, None, None]
        for name in ("log_gain", "log_inverse_gain")
    )
    params, at = initial(THREE_RATES) | gains, jnp.asarray(rate)
    images = photographs(1, 32, 32).repeat(len(rate), 0)
    features = compiled(THREE_RATES, "features")(params, images, at)
    y = compiled(THREE_RATES, "analysis")(params, images, at)
    np.testing.assert_allclose(y, features * gain, rtol=1e-4)
    found = compiled(THREE_RATES, "synthesis")(params, y, at)
    one_rate = dataclasses.replace(THREE_RATES, lambdas=(0.01,))
    plain = {k: v for k, v in params.items() if not k.startswith("log_")}
    expected = compiled(one_rate, "synthesis")(plain, y * inverse, at)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_gains_start_as_steps_proportional_to_one_over_the_root_of_lambda():
    params = initial(THREE_RATES)
    np.testing.assert_array_equal(params["log_gain"], -params["log_inverse_gain"])
    gains = np.exp(np.asarray(params["log_gain"]))
    assert gains.shape == (3, 6)
    np.testing.assert_allclose(gains / gains[:, :1], 1, rtol=1e-6)
    ratio = np.sqrt(np.array(THREE_RATES.lambdas) / 0.013)
    np.testing.assert_allclose(gains[:, 0] / gains[1, 0], ratio, rtol=1e-5)
    start = codec.initial_log_gains(THREE_RATES.lambdas)
    np.testing.assert_allclose(np.log(gains[:, 0]), start, rtol=1e-6)


def test_a_higher_rate_spends_more_bits():
    """Already with untrained weights, whose latents only grow."""
    images = photographs(1, 64, 64).repeat(5, 0)
    bits = run(THREE_RATES, images, jnp.linspace(0, 2, 5)).bits
    assert (np.diff(bits) > 0).all()


def test_one_lambda_has_no_gains():
    config = SMALL["bmshj2018-hyperprior"]
    assert len(config.lambdas) == 1
    assert not [name for name in initial(config) if name.startswith("log_")]
    images = photographs(1, 32, 32)
    np.testing.assert_array_equal(
        method(config, "analysis", images, jnp.zeros(1)),
        method(config, "features", images, jnp.zeros(1)),
    )


@pytest.mark.parametrize("name", ["bls2017", "bmshj2018-factorized"])
@pytest.mark.parametrize("height", [16, 64, 176, 208])
def test_strips_give_what_the_whole_gives(name, height, monkeypatch):
    codec = networks(SMALL[name])
    params = {"params": initial(SMALL[name])}
    images = np.random.default_rng(0).random((2, height, 48, 3), np.float32)
    rate, cells = jnp.zeros(2), (np.int32(height // 16), np.int32(3))

    def features_and_images(in_strips):
        monkeypatch.setattr(strips, "worthwhile", lambda rows: in_strips)
        features = codec.apply(params, images, rate, cells, method="features")
        rounded = np.round(whole[0] if in_strips else features)
        decoded = codec.apply(params, rounded, rate, cells, method="synthesis")
        return features, decoded

    whole = features_and_images(False)
    found = features_and_images(True)
    for one, other in zip(found, whole, strict=True):
        scale = max(1, np.abs(other).max())
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * scale)
