"""What holds for every metric that needs no download, beside `test_contract.py`."""

import importlib
import pkgutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pim_jax.metrics
from pim_jax.metrics import METRICS
from pim_jax.pim import packaged

# Loading these needs files that are not here.
NEEDS_FILES = {name for name, entry in METRICS.items() if entry.needs_download}
WEIGHTLESS = sorted(set(METRICS) - NEEDS_FILES)


@pytest.fixture(params=WEIGHTLESS)
def metric(request):
    return METRICS[request.param]()


def pair_of(wave_pair, metric, extra=5):
    side = max(24, metric.minimum_size)
    a, b = wave_pair(side, side + extra)
    if METRICS[metric.name].thresholded:
        b = b[:, ::-1]  # what differs less may be at distance 0
    return jnp.asarray(a / 255, jnp.float32), jnp.asarray(b / 255, jnp.float32)


def test_every_entry_is_found_by_its_name():
    assert [entry.name for entry in METRICS.values()] == list(METRICS)
    modules = pkgutil.iter_modules(pim_jax.metrics.__path__, "pim_jax.metrics.")
    entries = [
        entry
        for module in modules
        for entry in getattr(importlib.import_module(module.name), "ENTRIES", ())
    ]
    # None is left out of the table, and no two have one name.
    assert sorted(entry.name for entry in entries) == sorted(METRICS)


def test_the_names_before_there_was_one_table():
    assert pim_jax.metrics.ABOUT is METRICS
    assert pim_jax.metrics.ABOUT["ssim"].reference.startswith("1 - tf.image.ssim")


def test_what_is_said_without_loading_is_true(metric):
    entry = METRICS[metric.name]
    assert metric.minimum_size == entry.minimum_size
    assert metric.version == entry.version


def test_the_gradient_is_the_slope(wave_pair, metric):
    if not METRICS[metric.name].differentiable:
        pytest.skip("no gradient is promised")
    a, b = (0.1 + 0.8 * x for x in pair_of(wave_pair, metric))
    function = jax.jit(lambda y: metric(a, y)[0])
    gradient = jax.grad(function)(b)
    # Along the gradient itself, where rounding matters least.
    direction = gradient / jnp.abs(gradient).max()

    def slope(step):
        ahead, behind = (function(b + s * direction) for s in (step, -step))
        return (ahead - behind) / (2 * step)

    # Extrapolated to a step of 0, since the curvature of some is high. Larger steps than
    # this change the blocks that SFF selects.
    step = 1e-4 if metric.name == "sff" else 1e-3
    expected = (4 * slope(step) - slope(2 * step)) / 3
    np.testing.assert_allclose(expected, jnp.sum(gradient * direction), rtol=0.05)


def test_vmap_equals_the_plain_call(wave_pair, metric):
    a, b = (jnp.concatenate([x, x[:, ::-1]]) for x in pair_of(wave_pair, metric))
    plain = metric(a, b)
    mapped = jax.vmap(lambda x, y: metric(x[None], y[None])[0])(a, b)
    np.testing.assert_allclose(mapped, plain, rtol=1e-4, atol=2e-6)


def test_wrong_input_is_refused(wave_pair, metric):
    a, _ = pair_of(wave_pair, metric)
    with pytest.raises(ValueError, match="same shape"):
        metric(a, a[:, :, 1:])
    with pytest.raises(ValueError, match="expected values in"):
        metric(a, 255 * a)
    with pytest.raises(ValueError, match="divide 8-bit"):
        metric(a, jnp.zeros(a.shape, jnp.uint8))
    if metric.minimum_size > 1:
        small = a[:, : metric.minimum_size - 1]
        with pytest.raises(ValueError, match=f"at least {metric.minimum_size} pixels"):
            metric(small, small)


def test_weights_are_refused(metric):
    if metric.name in packaged.SHIPPED:
        pytest.skip("has weights")
    with pytest.raises(ValueError, match=f"{metric.name} has no weights"):
        METRICS[metric.name]("weights.npz")
