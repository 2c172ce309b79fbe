"""Toy coders through the real loop: small runs, bounds that no coder can pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codec_jax.toy import task
from codec_jax.toy.sources import SOURCES, sawbridge_optimum
from configs import toy
from pim_jax.training import checkpoint, loop, optimizer
from pim_jax.training.task import gradient_update, initial_state

# What one sees of a run: small, and the same for every coder.
SMALL = {
    "steps": 8,
    "updates_per_step": 25,
    "log_every": 4,
    "evaluate_every": 0,
    "batch_size": 256,
    "validation_samples": 1000,
    "model.widths": (16, 16),
    "model.codewords": 64,
    "optimizer.learning_rate": 2e-2,
}


def config_of(variants, **changes):
    config = toy.get_config(variants)
    config.update_from_flattened_dict({**SMALL, **changes})
    return config


def train(config, workdir):
    """By the real loop; without pictures, to be quick."""
    made = task.make(config)._replace(pictures={})
    return loop.train(made, config, workdir)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """coder -> config and folder of a small run on the banana."""
    found = {}
    for coder in toy.CODERS:
        config, workdir = config_of(coder), tmp_path_factory.mktemp(coder)
        train(config, workdir)
        found[coder] = config, workdir
    return found


@pytest.mark.parametrize("coder", toy.CODERS)
def test_training_lowers_the_loss(runs, coder):
    config, workdir = runs[coder]
    key = jax.random.key(1)
    trained = task.score(config, checkpoint.read_parameters(workdir), key, 20_000)
    start = task.coder_of(config).init(jax.random.key(config.seed))
    untrained = task.score(config, start, key, 20_000)
    assert trained.lagrangian < untrained.lagrangian - 1
    assert (workdir / "report.html").exists()


@pytest.mark.parametrize("coder", toy.CODERS)
def test_the_rate_is_above_the_entropy_of_the_symbols(runs, coder):
    """Of the same samples: no code whose probabilities sum to one is below it."""
    config, workdir = runs[coder]
    x = SOURCES["banana"].sample(jax.random.key(2), 100_000)
    params = checkpoint.read_parameters(workdir)
    code = jax.jit(task.coder_of(config).code)(params, x)
    counts = np.unique(np.asarray(code.symbols), axis=0, return_counts=True)[1]
    frequencies = counts / counts.sum()
    entropy = -np.sum(frequencies * np.log2(frequencies))
    assert float(code.rate.mean()) > entropy - 1e-3


@pytest.mark.parametrize("coder", toy.CODERS)
def test_no_coder_passes_shannons_lower_bound(runs, coder):
    """R >= h - log2(pi e D), for D the sum of two squared errors."""
    config, workdir = runs[coder]
    params = checkpoint.read_parameters(workdir)
    score = task.score(config, params, jax.random.key(1), 100_000)
    assert score.rate > 4.679 - np.log2(np.pi * np.e * score.distortion)
    assert score.lagrangian == score.rate + config.lmbda * score.distortion


def test_a_stopped_run_goes_on_with_the_same_numbers(runs, tmp_path):
    config, workdir = runs["ntc"]
    # The schedules are those of the whole run; only the loop stops early.
    whole = task.make(config)._replace(pictures={})
    first = config.copy_and_resolve_references()
    first.steps = 5
    loop.train(whole, first, tmp_path)
    loop.train(whole, config, tmp_path)
    once, twice = map(checkpoint.read_parameters, (workdir, tmp_path))
    jax.tree.map(np.testing.assert_array_equal, once, twice)


def test_several_devices_under_pmap_do_what_one_does(runs, tmp_path):
    _, workdir = runs["ltc"]
    config = config_of("ltc", compile="pmap", devices=2)
    train(config, tmp_path)
    one, two = map(checkpoint.read_parameters, (workdir, tmp_path))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3), one, two)


def test_repeated_updates_are_single_ones():
    """Keys, steps and schedules are those of updates one by one."""
    config = toy.get_config().optimizer
    adam = optimizer.make(config, 12)

    def loss(params, batch, key, step):
        noise = jax.random.normal(key, params.shape)
        return jnp.sum((params - noise) ** 2) * (step + 1), {"step": step}

    single = gradient_update(loss, adam, 0.5)
    several = task.repeated(single, 4)
    left = right = initial_state(jnp.ones(3), adam)
    for number in range(3):
        key = jax.random.key(number)
        left, scalars = several(left, {}, key)
        for inner in jax.random.split(key, 4):
            right, _ = single(right, {}, inner)
        assert int(left.step) == number + 1
        assert float(scalars["step"]) == 4 * number + 1.5
    assert int(right.step) == 12
    np.testing.assert_allclose(left.params, right.params, rtol=1e-5)
    np.testing.assert_allclose(left.ema_params, right.ema_params, rtol=1e-5)


@pytest.mark.parametrize(
    ("source", "coder"),
    [("laplace", "ntc"), ("sphere", "ntc"), ("sinusoid", "ltc"), ("ramp", "ecvq")],
)
def test_every_source_trains(source, coder, tmp_path):
    config = config_of(f"{source},{coder}", steps=2, updates_per_step=3, batch_size=64)
    state = train(config, tmp_path)
    score = task.score(config, state.params, jax.random.key(1), 100)
    assert np.all(np.isfinite(score))


def test_vector_quantisation_nears_the_optimum_of_the_sawbridge(tmp_path):
    config = config_of(
        "sawbridge,ecvq",
        **{"batch_size": 128, "model.codewords": 12, "optimizer.learning_rate": 5e-2},
    )
    state = train(config, tmp_path)
    score = task.score(config, state.params, jax.random.key(1), 20_000)
    rate, distortion = sawbridge_optimum(config.lmbda)
    optimum = rate + config.lmbda * distortion
    # No better than the optimum, but for chance and 1024 points in place of all times.
    assert optimum - 0.02 < score.lagrangian < optimum + 0.3


def test_the_mean_distortion_is_the_sum_over_the_dimensions():
    config = config_of("sphere,ecvq", distortion="mean", lmbda=9.0)
    assert task.price(config) == 3.0
    params = task.coder_of(config).init(jax.random.key(0))
    key = jax.random.key(1)
    mean = task.score(config, params, key, 1000)
    same = config_of("sphere,ecvq", lmbda=3.0)
    total = task.score(same, params, key, 1000)
    np.testing.assert_allclose(mean.distortion * 3, total.distortion, rtol=1e-5)
    np.testing.assert_allclose(mean.lagrangian, total.lagrangian, rtol=1e-5)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("source", "bananna"),
        ("distortion", "max"),
        ("model.coder", "pcm"),
        ("updates_per_step", 0),
    ],
)
def test_wrong_settings_are_named(key, value):
    config = config_of("ntc")
    config.update_from_flattened_dict({key: value})
    with pytest.raises(ValueError, match=f"{key} is {value!r}"):
        task.make(config)
