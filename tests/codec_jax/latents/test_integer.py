"""The integer hyper-synthesis: the same bits everywhere, and sums that stay exact."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codec_jax.inference import tiling
from codec_jax.latents import integer
from codec_jax.latents.integer import Layer

ROOT = Path(__file__).resolve().parents[3]
INPUTS, LATENTS = 8, 12
WIDTHS = {True: (12, 18, 24), False: (12, 18, 12)}
# Of `hash_of_a_seed`: every environment, device and thread count has to find them.
EXPECTED = "4a2a2273bca782024dbe321d3cd15f473067739e50edbcb999b513ba418cbc7a"


def random_params(rng, means, spread=1.0):
    """Weights as in training, made without JAX: the same numbers in every version."""
    params, inputs = {}, INPUTS
    for number, (width, size) in enumerate(zip(WIDTHS[means], (5, 5, 3), strict=True)):
        deviation = spread / np.sqrt(size**2 * inputs)
        kernel = rng.normal(0, deviation, (size, size, inputs, width))
        params[f"convs_{number}"] = {
            "kernel": kernel.astype(np.float32),
            "bias": rng.normal(0, 1, width).astype(np.float32),
        }
        inputs = width
    return params


def random_layers(rng):
    """Integers of any kind that `check` allows, without floating point."""
    layers, inputs = [], INPUTS
    for width, size in zip(WIDTHS[True], (5, 5, 3), strict=True):
        kernel = rng.integers(-127, 128, (size, size, inputs, width), np.int8)
        bias = rng.integers(-(2**14), 2**14, width, np.int32)
        shift = rng.integers(9, 15, width, np.int32)
        layers.append(Layer(kernel, bias, shift))
        inputs = width
    integer.check(layers)
    return layers


def reference(z, layers, latents=LATENTS):
    """Index and mean by loops over taps in 64 bits, from the definition alone."""
    h = np.clip(z.astype(np.int64), -127, 127)
    for number, (layer, stride) in enumerate(zip(layers, (2, 2, 1), strict=True)):
        sums = spread(h, layer.kernel.astype(np.int64), stride) + layer.bias
        assert np.abs(sums).max() < 2**24
        shift = layer.shift.astype(np.int64)
        if number < 2:
            # floor(x + 1/2) of x = sums / 2^shift.
            h = np.clip((2 * sums + 2**shift) // 2 ** (shift + 1), 0, 255)
    index = sums[..., :latents] + 18 * 2 ** shift[:latents]
    index = (2 * index + 2 ** shift[:latents]) // 2 ** (shift[:latents] + 1)
    means = sums[..., latents:] / 2.0 ** shift[latents:]
    return np.clip(index, 0, 63), means


def spread(x, kernel, stride):
    """out[s j + t - k // 2] += x[j] kernel[k - 1 - t], cut to s times the size."""
    n, h, w, _ = x.shape
    k, half = len(kernel), len(kernel) // 2
    out = np.zeros((n, stride * h + k, stride * w + k, kernel.shape[-1]), np.int64)
    for a in range(k):
        for b in range(k):
            taps = x @ kernel[k - 1 - a, k - 1 - b]
            out[:, a : a + stride * h : stride, b : b + stride * w : stride] += taps
    return out[:, half : half + stride * h, half : half + stride * w]


def jitted(layers):
    return jax.jit(lambda z: integer.parameters(z, layers, LATENTS))


def inputs_of(rng, shape, largest=200):
    return rng.integers(-largest, largest + 1, shape).astype(np.int32)


@pytest.mark.parametrize("means", [True, False])
def test_equals_the_network_that_is_trained(means):
    rng = np.random.default_rng(0)
    params = jax.tree.map(jnp.asarray, random_params(rng, means))
    model = integer.IntegerHyperSynthesis(LATENTS, means)
    layers = integer.freeze(params, model)
    z = inputs_of(rng, (2, 5, 7, INPUTS), 12)
    trained = jax.jit(lambda z: model.apply({"params": params}, z))(z * np.float32(1))
    found = jitted(layers)(z)
    assert (found[0].dtype, found[1].dtype) == (np.int32, np.float32)
    assert found[0].shape == found[1].shape == (2, 20, 28, LATENTS)
    # Many indexes, and not only the ends.
    assert len(np.unique(found[0])) > 20
    for ours, theirs in zip(found, trained, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert means or not np.any(found[1])


@pytest.mark.parametrize("kind", ["frozen", "any"])
def test_equals_arithmetic_in_64_bits(kind):
    rng = np.random.default_rng(1)
    model = integer.IntegerHyperSynthesis(LATENTS, True)
    frozen = integer.freeze(random_params(rng, True), model)
    layers = frozen if kind == "frozen" else random_layers(rng)
    for shape in ((1, 5, 7, INPUTS), (4, 1, 2, INPUTS)):
        z = inputs_of(rng, shape)
        for ours, theirs in zip(jitted(layers)(z), reference(z, layers), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def worst_layers():
    """Sums as large as `check` allows: 2^24 - 1 with all inputs at their bounds."""
    layers, inputs = [], INPUTS
    limits = zip(WIDTHS[True], (5, 5, 3), (127, 255, 255), strict=True)
    for width, size, largest in limits:
        kernel = np.full((size, size, inputs, width), 127, np.int8)
        kernel[..., 1::2] = -127
        # As much of it as fits, then the bias for the rest.
        room = (2**24 - 1) // largest
        flat = kernel.reshape(-1, width).astype(np.int64)
        flat[np.abs(flat).cumsum(0) > room] = 0
        sign = np.where(np.arange(width) % 2, -1, 1)
        bias = sign * (2**24 - 1 - largest * np.abs(flat).sum(0))
        shift = np.full(width, 8)
        layers.append(
            Layer(
                flat.reshape(kernel.shape).astype(np.int8),
                bias.astype(np.int32),
                shift.astype(np.int32),
            )
        )
        inputs = width
    return layers


@pytest.mark.parametrize("value", [-(2**31) + 1, -127, 127, 2**31 - 1])
def test_worst_inputs_do_not_overflow(value):
    rng = np.random.default_rng(2)
    model = integer.IntegerHyperSynthesis(LATENTS, True)
    # Weights so large that their sums come close to the bound.
    frozen = integer.freeze(random_params(rng, True, 3.0), model)
    z = np.full((1, 3, 4, INPUTS), value, np.int32)
    signs = np.where(rng.random(z.shape) < 0.5, -1, 1).astype(np.int32)
    for layers in (frozen, worst_layers()):
        integer.check(layers)
        for worst in (z, z * signs):
            found, expected = jitted(layers)(worst), reference(worst, layers)
            for ours, theirs in zip(found, expected, strict=True):
                np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("excess", [1, 2**19])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_check_refuses_sums_that_may_be_inexact(number, excess):
    layers = worst_layers()
    layer = layers[number]
    layers[number] = layer._replace(bias=layer.bias + excess * np.sign(layer.bias))
    assert np.any(layer.bias != 0)
    with pytest.raises(ValueError, match=f"layer {number} of the integer network"):
        integer.check(layers)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shift": np.full(24, 21, np.int32)}, "shift"),
        ({"shift": np.full(24, -1, np.int32)}, "shift"),
        ({"shift": np.full(23, 3, np.int32)}, "layer 2"),
        ({"bias": np.zeros(24, np.float32)}, "layer 2"),
        ({"kernel": np.zeros((3, 3, 18, 24), np.float32)}, "layer 2"),
        ({"kernel": np.zeros((3, 3, 17, 24), np.int8)}, "layer 2"),
        ({"kernel": np.zeros((3, 24), np.int8)}, "layer 2"),
    ],
)
def test_check_refuses_what_is_no_layer(change, message):
    layers = worst_layers()
    layers[2] = layers[2]._replace(**change)
    with pytest.raises(ValueError, match=message):
        integer.check(layers)


def test_check_refuses_other_numbers_of_layers():
    with pytest.raises(ValueError, match="expected 3 layers, found 2"):
        integer.check(worst_layers()[:2])


@pytest.mark.parametrize("value", [3e5, -3e5, 1e30, np.nan, np.inf])
@pytest.mark.parametrize("array", ["kernel", "bias"])
def test_weights_too_large_cannot_be_frozen(array, value):
    """They would have to wrap around."""
    params = random_params(np.random.default_rng(3), True)
    flat = params["convs_1"][array].reshape(-1)
    flat[5] = value * (100 if array == "bias" else 1)
    model = integer.IntegerHyperSynthesis(LATENTS, True)
    with pytest.raises(ValueError, match="layer 1 of the integer network"):
        integer.freeze(params, model)


@pytest.fixture(scope="module")
def layers():
    params = random_params(np.random.default_rng(4), True)
    return integer.freeze(params, integer.IntegerHyperSynthesis(LATENTS, True))


def assert_equal(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_batches_jit_and_tiles_change_nothing(layers):
    rng = np.random.default_rng(5)
    z = inputs_of(rng, (4, 13, 11, INPUTS))
    run = jitted(layers)
    whole = run(z)
    one = [run(z[i : i + 1]) for i in range(4)]
    assert_equal([np.concatenate(parts) for parts in zip(*one, strict=True)], whole)
    tiles = tiling.tiled(
        lambda part: tuple(np.asarray(x[0]) for x in run(part[None])),
        z[0],
        cell=(1, 4),
        window=6,
        margin=2,
    )
    assert_equal(tiles, [x[0] for x in whole])
    eager = integer.parameters(jnp.asarray(z[:1, :3, :4]), layers, LATENTS)
    with jax.disable_jit():
        assert_equal(
            integer.parameters(jnp.asarray(z[:1, :3, :4]), layers, LATENTS), eager
        )
    assert_equal(run(z[:1, :3, :4]), eager)
    # Nor does what lies beyond the cells that there are.
    in_part = jax.jit(lambda z, n: integer.parameters(z, layers, LATENTS, n))
    beyond = in_part(z[:1, :6, :6], (np.int32(3), np.int32(4)))
    assert_equal([x[:, :12, :16] for x in beyond], eager)


def case_of_a_seed():
    rng = np.random.RandomState(6)  # its stream is frozen
    layers, inputs = [], 16
    for width, size in ((24, 5), (36, 5), (48, 3)):
        kernel = rng.randint(-40, 41, (size, size, inputs, width)).astype(np.int8)
        bias = rng.randint(-(2**15), 2**15, width).astype(np.int32)
        shift = rng.randint(10, 13, width).astype(np.int32)
        layers.append(Layer(kernel, bias, shift))
        inputs = width
    return rng.randint(-20, 21, (2, 9, 14, 16)).astype(np.int32), layers


def sha256(index, means):
    digest = hashlib.sha256()
    for array, dtype in ((index, "<i4"), (means, "<f4")):
        digest.update(np.ascontiguousarray(np.asarray(array), dtype).tobytes())
    return digest.hexdigest()


def hash_of_a_seed():
    """Of indexes and means, from weights that no version of JAX decides."""
    z, layers = case_of_a_seed()
    return sha256(*jax.jit(lambda z: integer.parameters(z, layers, 24))(z))


def test_indexes_are_those_of_every_environment():
    z, layers = case_of_a_seed()
    integer.check(layers)
    index, means = reference(z, layers, 24)
    assert len(np.unique(index)) > 40
    assert sha256(index, means) == EXPECTED
    assert hash_of_a_seed() == EXPECTED


@pytest.mark.parametrize(
    "flags",
    [
        "--xla_cpu_multi_thread_eigen=false",
        "--xla_backend_optimization_level=3",
        "--xla_cpu_enable_fast_math=true --xla_force_host_platform_device_count=2",
    ],
)
def test_threads_and_optimisation_change_nothing(flags):
    """In processes of their own, which have their own flags; the first with one thread."""
    program = f"import runpy; print(runpy.run_path({__file__!r})['hash_of_a_seed']())"
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": flags,
    }
    command = [sys.executable, "-c", program]
    found = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == EXPECTED
