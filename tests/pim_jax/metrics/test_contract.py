"""What every metric holds to, networks with made-up weights among them.

One compiled program for each metric gives distances and gradients of all pairs below.
"""

import functools
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from pim_jax.metrics import METRICS
from tests.pim_jax.metrics import every_metric
from tests.pim_jax.metrics.conftest import wave_image

# Samples beyond [0, 1] of the second image, by place.
OUTSIDE = {(2, 3, 0): -0.001, (5, 5, 1): -40.0, (7, 4, 2): 1.5, (9, 9, 1): jnp.inf}


class Found(NamedTuple):
    """Distances and gradients of pairs by their name."""

    distance: dict[str, float]
    gradients: dict[str, tuple[np.ndarray, np.ndarray]]


def pairs(name: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Pairs of images (h, w, 3)."""
    side = every_metric.side(name)
    waves = (wave_image(side, side + 5, 0, 0), wave_image(side, side + 5, 0.05, 12))
    a, b = (np.float32(x) / 255 for x in waves)
    if METRICS[name].thresholded:
        b = b[::-1]  # what differs less may be at distance 0
    noise = np.random.default_rng(0).uniform(size=a.shape).astype(np.float32)
    grey, black = np.full_like(a, 0.5), np.zeros_like(a)
    outside, hole = b.copy(), b.copy()
    hole[1, 2, 1] = np.nan
    for place, value in OUTSIDE.items():
        outside[place] = value
    return {
        "different": (a, b),
        "negative": (a, 1 - a),
        "black": (a, black),
        "from grey": (grey, a),
        "same": (a, a),
        "same noise": (noise, noise),
        "same grey": (grey, grey),
        "same black": (black, black),
        "outside": (a, outside),
        "clipped": (a, np.clip(outside, 0, 1)),
        "hole": (a, hole),
        "hole in the first": (hole, b),
        "nothing but NaN": (np.nan * a, np.nan * a),
    }


@functools.cache
def found(name: str) -> Found:
    """All of `pairs`, from one program that nobody could check values for."""
    images = pairs(name)
    a, b = (jnp.stack(list(side)) for side in zip(*images.values(), strict=True))
    program = jax.jit(every_metric.value_and_gradients)
    # Compiled ahead of time, which is one more way to use a metric.
    metric = every_metric.make(name)
    distance, *gradients = program.lower(metric, a, b).compile()(metric, a, b)
    assert distance.dtype == jnp.float32
    assert distance.shape == (len(images),)
    by_pair = zip(*map(np.asarray, gradients), strict=True)
    return Found(
        dict(zip(images, np.asarray(distance), strict=True)),
        dict(zip(images, by_pair, strict=True)),
    )


@pytest.fixture(params=every_metric.NAMES)
def name(request):
    return request.param


def test_none_is_left_out():
    assert set(every_metric.NAMES) | every_metric.TWINS == set(METRICS)


def test_identical_images_are_at_zero_and_others_are_not(name):
    distance, entry = found(name).distance, METRICS[name]
    if name not in every_metric.SCORES:
        for pair in distance:
            if pair.startswith("same"):
                assert distance[pair] == 0, pair
    if name in every_metric.WITH_WEIGHTS_OF_ITS_OWN:
        seen = ["different", "black", *["negative"] * entry.sees_negative]
        for pair in seen:
            assert 1e-6 < distance[pair] <= entry.largest + 1e-6, pair


def test_gradients_are_finite_wherever_they_are_asked_for(name):
    for pair, gradients in found(name).gradients.items():
        if not {"hole", "nothing"} & set(pair.split()):
            assert np.isfinite(gradients).all(), pair
    if name in every_metric.WITH_WEIGHTS_OF_ITS_OWN and METRICS[name].differentiable:
        for gradient in found(name).gradients["different"]:
            assert np.abs(gradient).max() > 0


def test_nan_in_nan_out(name):
    for pair, distance in found(name).distance.items():
        expected = bool({"hole", "nothing"} & set(pair.split()))
        assert np.isnan(distance) == expected, pair


def test_nan_at_any_place_where_the_arithmetic_is_trusted_to_pass_it(name):
    metric = every_metric.make(name)
    if not getattr(metric.function, "passes_nan", False):
        pytest.skip("a pass over the images sees to it")
    a, b = pairs(name)["different"]
    places = np.indices(a.shape[:2]).reshape(2, -1)
    each = np.arange(places.shape[1])
    program = jax.jit(metric)
    for image in (a, b):
        holes = np.repeat(image[None], len(each), axis=0)
        holes[each, *places, each % 3] = np.nan
        whole = np.broadcast_to(a, holes.shape)
        for pair in ((whole, holes), (holes, whole)):
            assert np.isnan(program(*pair)).all()
    for pair in ("hole", "hole in the first", "nothing but NaN"):
        assert any(np.isnan(x).any() for x in found(name).gradients[pair]), pair


def test_values_out_of_range_are_clipped_with_a_gradient_that_leads_back(name):
    values = found(name)
    np.testing.assert_allclose(
        values.distance["outside"], values.distance["clipped"], rtol=1e-5, atol=1e-7
    )
    gradient = values.gradients["outside"][1]
    for place, value in OUTSIDE.items():
        assert gradient[place] >= 0 if value > 1 else gradient[place] <= 0, place


def test_an_empty_batch(name):
    side = every_metric.side(name)
    empty = jax.ShapeDtypeStruct((0, side, side, 3), jnp.float32)
    shapes = jax.eval_shape(
        every_metric.value_and_gradients, every_metric.make(name), empty, empty
    )
    assert [x.shape for x in shapes] == [(0,), empty.shape, empty.shape]


def test_pickled_without_its_program(name):
    metric = every_metric.make(name)
    if name not in every_metric.WITH_WEIGHTS_OF_ITS_OWN:
        metric = metric.replace(params={"w": np.ones(3, np.float32)})  # not 250 MB
    again = pickle.loads(pickle.dumps(metric))
    # Equal functions are compiled once.
    assert again.function == metric.function
    assert hash(again.function) == hash(metric.function)
    jax.tree.map(np.testing.assert_array_equal, again.params, metric.params)
    assert repr(again) == repr(metric)
    assert len(repr(metric)) < 120


def shard_map(function, mesh, in_specs, out_specs):
    if hasattr(jax, "shard_map"):
        return jax.shard_map(
            function, mesh=mesh, in_specs=in_specs, out_specs=out_specs
        )
    from jax.experimental import shard_map as module

    return module.shard_map(function, mesh, in_specs, out_specs)


def test_inside_of_shard_map_scan_and_checkpoint(name):
    """Traced, which is where they refuse a program."""
    metric, side = every_metric.make(name), every_metric.side(name)
    images = jax.ShapeDtypeStruct((4, 1, side, side, 3), jnp.float32)

    def each(metric, a, b):
        if jax.tree.leaves(metric):
            # Of networks, whose layers are the same everywhere, without the loop: it
            # would take minutes to trace.
            found = every_metric.value_and_gradients(metric, a[:, 0], b[:, 0])
            return jax.tree.map(lambda x: x[:, None], found)

        def step(carry, pair):
            of_pair = jax.checkpoint(metric)
            return carry, every_metric.value_and_gradients(of_pair, *pair)

        return jax.lax.scan(step, None, (a, b))[1]

    mesh = Mesh(np.array(jax.devices()[:2]), ("data",))
    alike, split = PartitionSpec(), PartitionSpec("data")
    mapped = shard_map(each, mesh, (alike, split, split), split)
    shapes = jax.eval_shape(jax.jit(mapped), metric, images, images)
    assert [x.shape for x in shapes] == [(4, 1), images.shape, images.shape]


def test_inside_of_pmap_and_vmap(name):
    metric, side = every_metric.make(name), every_metric.side(name)
    images = jax.ShapeDtypeStruct((2, 3, side, side, 3), jnp.float32)

    def each(metric, a, b):
        return jax.vmap(lambda x, y: metric(x[None], y[None])[0])(a, b)

    mapped = jax.pmap(each, in_axes=(None, 0, 0), devices=jax.devices()[:2])
    assert jax.eval_shape(mapped, metric, images, images).shape == (2, 3)


def test_with_64_bits_and_with_strict_types():
    """In a process of its own: float32 everywhere, and no mixed types."""
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-m", "tests.pim_jax.metrics.every_metric"],
        cwd=root,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == ""
