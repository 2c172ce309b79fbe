"""Training on judgements: a rule is learned, weights stay >= 0, devices agree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_bapps

from configs import lpips as lpips_config
from pim_jax.data import bapps
from pim_jax.features import linear_weights
from pim_jax.tasks import linear_weights as linear_weights_task
from pim_jax.tasks.linear_weights import Network
from pim_jax.training import loop, report

pytestmark = pytest.mark.usefixtures("no_plots")

SMALL = {
    "steps": 60,
    "log_every": 10,
    "evaluate_every": 0,
    "checkpoint_every": 0,
    "devices": 1,
    "dropout": 0.1,
    "network.name": "tiny",
    "optimizer.learning_rate": 3e-2,
    "data.batch_size": 16,
    "data.validation_triplets": 0,
}


def tiny_features(params, image):
    """Two layers of random filters: fine and, after averaging, coarse."""
    fine = jax.nn.relu(convolve(image - 0.5, params["fine"]))
    n, h, w, c = image.shape
    averaged = image.reshape(n, h // 4, 4, w // 4, 4, c).mean((2, 4))
    return {
        "fine": fine,
        "coarse": jax.nn.relu(convolve(averaged - 0.5, params["coarse"])),
    }


def convolve(image, kernel):
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        image, kernel, (2, 2), "VALID", dimension_numbers=layout
    )


def tiny(weights, seed):
    random = np.random.RandomState(seed)
    kernels = random.standard_normal((2, 3, 3, 3, 12)).astype(np.float32)
    params = dict(zip(("fine", "coarse"), kernels, strict=True))
    return Network(params, tiny_features, {"fine": 12, "coarse": 12}, 12)


NETWORKS = {"tiny": tiny, **linear_weights_task.NETWORKS}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return small_bapps.write_learnable(tmp_path_factory.mktemp("bapps"), 64, 60)


@pytest.fixture(scope="module")
def make_config(data_dir):
    def make(variant="", changes=None):
        config = lpips_config.get_config(variant)
        flat = {**SMALL, "data.data_dir": str(data_dir), **(changes or {})}
        with config.unlocked():
            config.update_from_flattened_dict(flat)
        return config

    return make


def make(config):
    return linear_weights_task.make(config, networks=NETWORKS)


@pytest.fixture(scope="module")
def run(make_config, tmp_path_factory):
    """(folder, state) of a whole run on one device."""
    folder = tmp_path_factory.mktemp("run")
    config = make_config()
    return folder, loop.train(make(config), config, folder)


def test_a_rule_is_learned(run):
    """On parts of the photographs that training does not see."""
    records = report.read_log(run[0])
    scores = [r["scalars"]["validation/mean"] for r in records if r["kind"] == "eval"]
    losses = [r["scalars"]["loss"] for r in records if r["kind"] == "train"]
    assert losses[-1] < 0.8 * losses[0]
    assert scores[-1] > scores[0] + 0.03
    assert scores[-1] > 0.85


def test_weights_stay_non_negative(run):
    params = run[1].params
    weights = np.concatenate([*params["heads"].values()])
    assert weights.shape == (24,)
    assert (weights >= 0).all()
    assert (weights == 0).any(), "nothing was projected"
    assert min(float(a.min()) for a in jax.tree.leaves(params["ranking"])) < 0


def test_the_run_is_a_metric(run, data_dir):
    metric = linear_weights_task.read(run[0], NETWORKS)
    jax.tree.map(
        np.testing.assert_array_equal, metric.params["heads"], run[1].params["heads"]
    )
    sources = bapps.two_afc(data_dir)
    expected = report.read_log(run[0])[-1]["scalars"]["validation/traditional"]
    found = linear_weights_task.two_afc_scores(metric, sources)
    assert found == pytest.approx({"traditional": expected, "mean": expected})
    image = jnp.full((1, 16, 16, 3), 0.3)
    assert metric(image, image)[0] == 0


@pytest.mark.parametrize("how", ["jit", "pmap"])
def test_eight_devices_reach_the_parameters_of_one(make_config, tmp_path, how):
    """With dropout: a triplet's does not depend on the device it is on."""
    states = []
    for changes in ({}, {"compile": how, "devices": 8}):
        config = make_config(changes={"steps": 3, "dropout": 0.5, **changes})
        made = make(config)._replace(evaluations={})
        states.append(loop.train(made, config, tmp_path / str(len(states))))
    for a, b in zip(*(jax.tree.leaves(s.params) for s in states), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_processes_share_the_batch(make_config):
    made = make(make_config())
    whole = next(made.batches(0, 1, 3))
    halves = [next(made.batches(k, 2, 3)) for k in range(2)]
    for name, array in whole.items():
        np.testing.assert_array_equal(np.concatenate([h[name] for h in halves]), array)
    assert whole["image_0"].shape == (16, 64, 64, 3)


def test_the_published_schedule():
    """Adam's step is the rate: constant for six epochs of ten, then down by fifths."""
    optimizer = linear_weights_task.make_optimizer(
        lpips_config.get_config().optimizer, 100
    )
    params = {"heads": {"x": jnp.full(1, 1.0)}, "ranking": {"y": jnp.zeros(1)}}
    state, steps = optimizer.init(params), []
    for _ in range(100):
        gradient = jax.tree.map(jnp.ones_like, params)
        updates, state = optimizer.update(gradient, state, params)
        steps.append(-float(updates["heads"]["x"][0]) / 1e-4)
    expected = np.repeat([1.0] * 6 + [0.8, 0.6, 0.4, 0.2], 10)
    np.testing.assert_allclose(steps, expected, rtol=1e-4)


def test_ranking_and_loss():
    ranking = linear_weights.initial_ranking(jax.random.key(0))
    assert {k: v["kernel"].shape for k, v in ranking.items()} == {
        "dense_0": (5, 32),
        "dense_1": (32, 32),
        "dense_2": (32, 1),
    }
    d0, d1 = jnp.array([0.1, 0.4]), jnp.array([0.3, 0.2])
    x = np.stack([d0, d1, d0 - d1, d0 / (d1 + 0.1), d1 / (d0 + 0.1)], -1)
    for k in range(3):
        layer = {kind: np.asarray(a) for kind, a in ranking[f"dense_{k}"].items()}
        x = x @ layer["kernel"] + layer["bias"]
        x = np.where(x > 0, x, 0.2 * x) if k < 2 else x
    logits = linear_weights.ranking_logits(ranking, d0, d1)
    np.testing.assert_allclose(logits, x[:, 0], rtol=1e-5)
    judge, p = np.array([0.2, 1.0]), 1 / (1 + np.exp(-x[:, 0]))
    expected = -judge * np.log(p) - (1 - judge) * np.log(1 - p)
    found = linear_weights.judgement_loss(logits, jnp.asarray(judge, jnp.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_dropout_keeps_the_mean():
    key = jax.random.key(1)
    a, b = ({"x": jax.random.normal(k, (2, 5, 5, 8))} for k in jax.random.split(key))
    weights = {"x": jnp.linspace(0, 1, 8)}
    expected = linear_weights.distance(a, b, weights, ["x"])
    draws = jax.vmap(
        lambda k: linear_weights.dropped(
            a, b, weights, ["x"], jax.random.split(k, 2), 0.5
        )
    )(jax.random.split(key, 400))
    np.testing.assert_allclose(draws.mean(0), expected, rtol=0.02)
    assert draws.std(0).min() > 0.02


def test_a_backbone_two_steps(make_config, tmp_path):
    """The demonstration's network, with random weights."""
    changes = {
        "steps": 2,
        "network.name": "squeeze",
        "data.batch_size": 2,
        "dropout": 0.5,
    }
    config = make_config("demo", changes)
    made = linear_weights_task.make(config)._replace(evaluations={})
    state = loop.train(made, config, tmp_path)
    assert int(state.step) == 2
    assert [*state.params["heads"]] == sorted(
        linear_weights_task.NETWORKS["squeeze"]("random", 0).channels
    )
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"network.name": "resnet"}, ValueError, "network.name is 'resnet'"),
        ({"dropout": 1.0}, ValueError, "dropout is 1"),
        # Before the network is loaded, which may be a download.
        (
            {"data.batch_size": 0, "network.name": "resnet"},
            ValueError,
            "batch_size is 0",
        ),
        ({"data.data_dir": "no/such"}, FileNotFoundError, "no/such"),
        (
            {"network.name": "alex", "network.weights": "no.pth"},
            FileNotFoundError,
            "no.pth",
        ),
    ],
)
def test_bad_settings(make_config, changes, error, text):
    with pytest.raises(error, match=text):
        make(make_config(changes=changes))
