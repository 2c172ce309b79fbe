"""The benchmark runs, and counts operations as XLA does."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pim_jax.pim.distance import represent, untrained
from pim_jax.pim.model import ModelConfig, Pim
from tests.benchmarks import speed, tensorflow_reference, timing


@pytest.fixture(scope="module")
def result(tmp_path_factory, small_frames):
    changes = {**speed.QUICK.training["demo"], "data.frames_dir": str(small_frames)}
    plan = dataclasses.replace(speed.QUICK, training={"demo": changes})
    out = tmp_path_factory.mktemp("bench") / "new" / "bench.json"
    returned = speed.run(plan, out)
    assert json.loads(out.read_text()) == returned
    return returned


def test_quick_plan_times_everything(result):
    names = [line["name"] for line in result["entries"]]
    assert names == [
        "matrix product 64x64",
        "tiny 2x16x16 distance",
        "tiny 2x16x16 gradient",
        "training demo 2x16x16 step",
        "training demo 2x16x16 loader",
        "training demo 2x16x16 loader speed / step",
    ]
    for line in result["entries"]:
        assert 0 < line["lower"] <= line["median"] <= line["upper"]
        assert line["repetitions"] >= 3
    assert {"devices", "threads", "jax", "processor"} <= set(result["environment"])
    assert speed.table(result).row_count == len(names)
    distance, training, rates = (table["results"] for table in result["tables"])
    assert set(distance["tiny 2x16x16"]) == {"distance", "gradient"}
    assert set(training["training demo 2x16x16"]) == {
        "step", "loader", "loader speed / step",
    }  # fmt: skip
    assert set(rates) == {
        line["name"] for line in result["entries"] if "gflop_per_s" in line
    }
    assert result["command"].startswith("python ")


def test_calls_take_turns_after_one_that_does_not_count():
    order: list[str] = []
    taken = timing.in_turn(
        {name: lambda name=name: order.append(name) for name in "ab"}, 0, least=2
    )
    assert order == list("ababab")
    assert [len(seconds) for seconds in taken.values()] == [2, 2]
    assert timing.ratio([2.0, 2.0], [1.0, 4.0]).median == 1.25


@pytest.mark.parametrize("variant", ["published", "paper"])
def test_operations_are_those_that_xla_counts(variant):
    # One level, so that the count of XLA is that of the network alone.
    config = ModelConfig(frontend="none", filters=(16, 8), variant=variant)
    params = untrained(config).params
    image = jnp.zeros((1, 32, 32, 3))
    compiled = jax.jit(represent, static_argnums=2).lower(params, image, config)
    counted = compiled.compile().cost_analysis()["flops"]
    # Near the border XLA leaves out products with zeros; it counts additions too.
    assert 0.85 < counted / timing.pass_flops(config, 32, 32) < 1.15


@pytest.mark.tensorflow
def test_tensorflow_computes_the_same():
    tf = pytest.importorskip("tensorflow")
    tf.random.set_seed(0)
    config = ModelConfig(filters=(4, 3), z_dim=3, mixtures=2, num_scales=1)
    metric = untrained(config)
    # Larger weights, larger distances: the random samples matter less.
    params = jax.tree.map(lambda x: 3 * x, metric.params)
    a, b = speed.images((2, 19, 16))
    with jax.default_matmul_precision("highest"):
        ours = jax.jit(lambda p, x: Pim(config).apply(p, x, method=Pim.features))
        expected = ours({"params": params}, a)
        distance = jax.jit(metric.function)(params, a, b)
    found = tensorflow_reference.frontend(params, config, a)
    for level, other in zip(found, expected, strict=True):
        scale = np.abs(other).max()
        np.testing.assert_allclose(level, other, rtol=0, atol=1e-5 * scale)
    sampled = tensorflow_reference.make(params, config)
    values = np.stack([sampled(a, b) for _ in range(400)])
    error = values.std(axis=0) / np.sqrt(len(values))
    assert np.all(error < 0.1 * np.asarray(distance))
    # Our fixed noise has an error as well, with so few positions.
    tolerance = 3 * error + 0.02 * np.asarray(distance)
    assert np.all(np.abs(values.mean(axis=0) - distance) < tolerance)


@pytest.mark.tensorflow
def test_tensorflow_computes_the_same_for_one_component():
    pytest.importorskip("tensorflow")
    config = ModelConfig(filters=(4, 3), z_dim=3, mixtures=1, num_scales=1)
    metric = untrained(config)
    a, b = speed.images((2, 16, 19))
    with jax.default_matmul_precision("highest"):
        expected = jax.jit(metric.function)(metric.params, a, b)
    found = tensorflow_reference.make(metric.params, config)(a, b)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
