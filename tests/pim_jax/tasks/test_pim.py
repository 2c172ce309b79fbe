"""PIM as a task: the same on all devices, resumed or not, in every variant."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pim_jax
from configs import pim
from pim_jax.data import video
from pim_jax.pim import checkpoints
from pim_jax.pim.model import ModelConfig
from pim_jax.tasks import pim as pim_task
from pim_jax.training import checkpoint, loop, report

pytestmark = pytest.mark.usefixtures("no_plots")

SMALL = {
    "steps": 5,
    "log_every": 1,
    "evaluate_every": 0,
    "checkpoint_every": 0,
    "devices": 1,
    "model.frontend": "laplacian",
    "model.num_scales": 2,
    "model.filters": (4, 3),
    "model.z_dim": 4,
    "model.mixtures": 2,
    "optimizer.warmup_steps": 1,
    "data.batch_size": 8,
    "data.crop": 16,
    "data.validation_pairs": 9,
}


@pytest.fixture(scope="module")
def make_config(small_frames):
    """make_config(variant, changes): a shrunken configs/pim.py."""

    def make(variant="", changes=None):
        config = pim.get_config(variant)
        with config.unlocked():
            config.update_from_flattened_dict(
                {**SMALL, "data.frames_dir": str(small_frames), **(changes or {})}
            )
        return config

    return make


def only_training(made):
    """The task without what is compiled for evaluations and pictures."""
    return made._replace(evaluations={}, pictures={})


@pytest.fixture(scope="module")
def made(make_config):
    """The task; tests that share it share what is compiled."""
    return pim_task.make(make_config())


@pytest.fixture(scope="module")
def once(made, make_config, tmp_path_factory):
    """(folder, state) of five steps on one device."""
    folder = tmp_path_factory.mktemp("once")
    return folder, loop.train(made, make_config(), folder)


def assert_equal(found, expected, tolerance=0.0):
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    for a, b in pairs:
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


@pytest.mark.parametrize("how", ["jit", "pmap"])
def test_eight_devices_reach_the_parameters_of_one(
    made, make_config, once, tmp_path, how
):
    """The marginal runs over the pairs of all devices, or this would fail."""
    config = make_config(changes={"compile": how, "devices": 8})
    state = loop.train(only_training(pim_task.make(config)), config, tmp_path)
    assert int(state.step) == 5
    assert_equal(state.params, once[1].params, 1e-5)
    assert_equal(state.ema_params, once[1].ema_params, 1e-5)
    before = made.init(jax.random.key(0)).params
    steps = jax.tree.map(lambda a, b: float(abs(a - b).max()), state.params, before)
    assert max(jax.tree.leaves(steps)) > 1e-3, "nothing was learned that could differ"


def test_resumed_equals_uninterrupted(made, make_config, once, tmp_path):
    def interrupted(process_index, process_count, start_step):
        source = made.batches(process_index, process_count, start_step)
        for _ in range(3):
            yield next(source)
        raise RuntimeError("pulled the plug after step 3")

    config = make_config(changes={"checkpoint_every": 2})
    training = only_training(made)
    with pytest.raises(RuntimeError, match="pulled the plug after step 3"):
        loop.train(training._replace(batches=interrupted), config, tmp_path)
    resumed = loop.train(training, config, tmp_path)
    assert_equal(resumed, once[1])
    logs = [report.read_log(folder) for folder in (tmp_path, once[0])]
    losses = [
        [(r["step"], r["scalars"]["loss"]) for r in log if r["kind"] == "train"]
        for log in logs
    ]
    assert losses[0] == losses[1]


def test_scores_pictures_and_files(made, once):
    folder, state = once
    records = report.read_log(folder)
    evaluations = [r for r in records if r["kind"] == "eval"]
    assert [r["step"] for r in evaluations] == [0, 5]
    for record in evaluations:
        assert np.isfinite(record["scalars"]["validation/ixyz_mean"])
        assert 0 <= record["scalars"]["validation/retrieval"] <= 1
    terms = {"loss", "bound", "log_q_x", "log_q_y", "log_marginal", "log_joint"}
    assert terms <= set(records[1]["scalars"])
    pictures = {name: picture(state) for name, picture in made.pictures.items()}
    assert pictures["frame_pairs"].shape == (2 * 16, 8 * 16, 3)
    assert pictures["activations"].shape == (3 * 16, 4 * 16, 3)
    for picture in pictures.values():
        assert picture.dtype == np.uint8
        assert picture.std() > 0
    assert (folder / "report.html").exists()
    options = json.loads((folder / "config.json").read_text())
    assert options["model"]["z_dim"] == 4


def test_the_run_is_a_metric(once):
    """The averaged weights, without the joint encoder."""
    metric = pim_jax.load(once[0])
    averaged = checkpoint.read_parameters(once[0])
    assert_equal(averaged, once[1].ema_params)
    del averaged["joint_encoder"]
    assert_equal(metric.params, averaged)
    x = np.linspace(0, 1, 2 * 16 * 16 * 3, dtype=np.float32).reshape(2, 16, 16, 3)
    distance = metric(x, x[::-1])
    assert distance.shape == (2,)
    assert (distance > 0).all()


VARIANTS = {
    "": {"model.frontend": "steerable", "model.num_scales": 1},
    "pim-1": {"objective.reduction": "mean"},
    "paper": {"objective.reduction": "sum", "objective.temperature": 100.0},
    "demo": {"data.jitter_px": 1, "data.brightness": 0.1, "data.scale": (1.0, 1.5)},
    "small": {"model.dtype": "bfloat16"},
    "pim-1-small": {},
    "pim-1-cpu": {"data.validation_crop": 24},
    "pim-5-cpu": {"data.validation_crop": 24, "start_from": ""},
    "pim-1-gpu": {},
    "pim-5-gpu": {"start_from": ""},
}


def test_every_variant_is_tried():
    assert set(VARIANTS) == {"", *pim.VARIANTS}


# Of all but the default and the demonstration, compiling takes long.
_SLOW = [
    pytest.param(v, marks=pytest.mark.slow) for v in VARIANTS if v not in ("", "demo")
]


@pytest.mark.parametrize("variant", ["", "demo", *_SLOW])
def test_every_variant_two_steps(make_config, tmp_path, variant):
    """With this, every reduction, the augmentations and bfloat16."""
    changes = {"steps": 2, "data.validation_pairs": 3, **VARIANTS[variant]}
    config = make_config(variant, changes)
    state = loop.train(only_training(pim_task.make(config)), config, tmp_path)
    assert int(state.step) == 2
    for leaf in jax.tree.leaves(state):
        assert leaf.dtype in (jnp.float32, jnp.int32)
        assert jnp.isfinite(leaf).all()
    losses = [r["scalars"].get("loss", 0.0) for r in report.read_log(tmp_path)]
    assert np.isfinite(losses).all()


def test_frames_prepared_before_need_no_video(make_config):
    config = make_config(changes={"data.video_dir": "/no/such/folder"})
    batch = next(pim_task.make(config).batches(0, 1, 0))
    assert batch["x"].shape == batch["y"].shape == (8, 16, 16, 3)
    assert batch["x"].dtype == np.uint8


def test_frames_are_prepared_where_there_are_none(make_config, small_frames):
    """With the settings of the fixture, so that it finds what is there."""
    changes = {
        "data.frames_dir": "",
        "data.short_side": 72,
        "data.prepared_dir": str(small_frames.parents[2]),
    }
    found = next(pim_task.make(make_config(changes=changes)).batches(0, 1, 7))
    expected = next(pim_task.make(make_config()).batches(0, 1, 7))
    assert_equal(found, expected)


def test_processes_share_the_batch(make_config):
    made = pim_task.make(make_config())
    whole = next(made.batches(0, 1, 3))
    halves = [next(made.batches(index, 2, 3)) for index in range(2)]
    assert_equal(jax.tree.map(lambda *x: np.concatenate(x), *halves), whole)


def test_noise_of_a_row_does_not_depend_on_the_devices():
    key, shape = jax.random.key(3), (8, 5, 2)
    whole = pim_task.noise_of_rows(key, shape, None)
    parts = jax.pmap(
        lambda _: pim_task.noise_of_rows(key, (2, 5, 2), "batch"),
        axis_name="batch",
        devices=jax.devices()[:4],
    )(jnp.arange(4))
    np.testing.assert_array_equal(parts.reshape(shape), whole)
    assert len(np.unique(whole)) == whole.size


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        (
            {"model.frontend": "steerable", "model.num_scales": 5},
            ValueError,
            "data.crop is 16, but this pyramid needs at least 32",
        ),
        ({"data.crop": 80}, ValueError, "80"),
        ({"model.frontend": "wavelet"}, ValueError, "found 'wavelet'"),
        ({"data.frames_dir": "", "data.video_dir": "no/f"}, FileNotFoundError, "no/f"),
        ({"data.frames_dir": "no/frames"}, FileNotFoundError, "no/frames"),
    ],
)
def test_bad_settings(make_config, changes, error, text):
    with pytest.raises(error, match=text):
        pim_task.make(make_config(changes=changes))


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"data.batch_size": 0}, ValueError, "batch_size is 0, expected a positive"),
        ({"data.batch_size": 6, "devices": 4}, ValueError, "number of devices, 4"),
        ({"objective.reduction": "median"}, ValueError, "reduction is 'median'"),
        ({"objective.temperature": 0.0}, ValueError, "temperature is 0.0"),
        ({"optimizer.warmup_steps": 5}, ValueError, "warmup_steps < steps = 5"),
        ({"data.brightness": 1.0}, ValueError, "brightness"),
        ({"data.validation_pairs": 0}, ValueError, "validation_pairs is 0"),
        ({"start_from": "no/run"}, FileNotFoundError, "no/run"),
    ],
)
def test_settings_are_checked_before_frames_are_prepared(
    make_config, monkeypatch, changes, error, text
):
    monkeypatch.setattr(video, "prepare_from", None)
    with pytest.raises(error, match=text):
        pim_task.make(make_config(changes={"data.frames_dir": "", **changes}))


def test_frames_are_prepared_and_reported_once(make_config, small_frames, monkeypatch):
    """A second time would warn of the same clips again."""
    calls = []

    def prepare_from(data):
        calls.append(data)
        return small_frames

    monkeypatch.setattr(video, "prepare_from", prepare_from)
    pim_task.make(make_config(changes={"data.frames_dir": ""}))
    assert len(calls) == 1


def test_a_constant_rate_does_not_follow_the_length_of_a_run(make_config):
    assert pim_task.make(make_config()).follows_length
    constant = make_config(changes={"optimizer.schedule": "constant"})
    assert not pim_task.make(constant).follows_length


def test_starts_from_trained_weights(once, make_config):
    """The averages of the newest checkpoint, every part of them."""
    folder, state = once
    config = make_config(changes={"start_from": str(folder)})
    started = pim_task.make(config).init(jax.random.key(7))
    assert_equal(started.params, state.ema_params)
    assert_equal(started.ema_params, state.ema_params)


def test_other_encoders_start_afresh_on_a_trained_frontend(once, make_config):
    folder, state = once
    changes = {"start_from": str(folder), "model.mixtures": 1}
    key = jax.random.key(7)
    started = pim_task.make(make_config(changes=changes)).init(key).params
    fresh = pim_task.make(make_config(changes={"model.mixtures": 1})).init(key).params
    assert_equal(started["frontend"], state.ema_params["frontend"])
    for name in ("marginal_encoder", "joint_encoder"):
        assert_equal(started[name], fresh[name])


def test_mixtures_start_from_one_gaussian(make_config, tmp_path):
    single = make_config(changes={"model.mixtures": 1})
    trained = pim_task.make(single).init(jax.random.key(1)).params
    checkpoints.write(tmp_path, trained, ModelConfig.from_dict(single.model))
    config = make_config(changes={"start_from": str(tmp_path)})
    started = pim_task.make(config).init(jax.random.key(7)).params
    for name in ("frontend", "joint_encoder"):
        assert_equal(started[name], trained[name])
    for level, layers in started["marginal_encoder"].items():
        bias = trained["marginal_encoder"][level]["base_1"]["bias"]
        np.testing.assert_array_equal(layers["base_1"]["bias"], np.tile(bias, 2))


def test_a_frontend_that_does_not_fit_is_refused(once, make_config):
    changes = {"start_from": str(once[0]), "model.filters": (5, 3)}
    with pytest.raises(ValueError, match="its frontend is another"):
        pim_task.make(make_config(changes=changes))


def test_starting_from_nothing_names_it(make_config):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        pim_task.make(make_config(changes={"start_from": "nowhere"}))
