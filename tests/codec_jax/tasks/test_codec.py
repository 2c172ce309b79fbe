"""Training of codecs by the one loop: it learns, and the same way on all devices."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import PIL.Image
import pytest
import skimage.data

import pim_jax
from codec_jax import freezing, loading, objective
from codec_jax.models import architectures
from codec_jax.models.architectures import NAMED, networks
from codec_jax.models.codec import init_params, parameter_shapes
from codec_jax.models.config import CodecConfig
from codec_jax.tasks import codec as codec_task
from configs import codec
from pim_jax import losses
from pim_jax.training import devices, loop, report
from tests.codec_jax import small_codecs

pytestmark = pytest.mark.usefixtures("no_plots")

SMALL = {
    "steps": 4,
    "log_every": 1,
    "evaluate_every": 0,
    "checkpoint_every": 0,
    "devices": 1,
    "model.filters": 4,
    "model.latents": 6,
    "optimizer.learning_rate": 3e-3,
    "optimizer.warmup_steps": 1,
    "data.batch_size": 8,
    "data.crop": 16,
    "data.validation_crops": 5,
    "data.validation_crop": 32,
}
THREE_RATES = {"model.lambdas": (0.002, 0.013, 0.1)}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Six smooth pictures of 48x40."""
    folder, random = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for number in range(6):
        coarse = random.integers(0, 256, (5, 6, 3)).astype(np.uint8)
        picture = PIL.Image.fromarray(coarse).resize((48, 40), PIL.Image.BICUBIC)
        picture.save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def make_config(photographs):
    """make_config(variants, changes): a shrunken configs/codec.py."""

    def make(variants="bls2017", changes=None):
        config = codec.get_config(variants)
        with config.unlocked():
            flat = {**SMALL, "data.image_dir": str(photographs), **(changes or {})}
            config.update_from_flattened_dict(flat)
        return config

    return make


def only_training(made):
    """The task without what is compiled for evaluations and pictures."""
    return made._replace(evaluations={}, pictures={})


def scalars(folder, name):
    records = report.read_log(folder)
    return [r["scalars"][name] for r in records if r["kind"] == "train"]


def assert_equal(found, expected, tolerance=0.0):
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    for a, b in pairs:
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


@pytest.fixture(scope="module")
def once(make_config, tmp_path_factory):
    """(made, folder, state) of four steps of a one-rate codec on one device."""
    folder = tmp_path_factory.mktemp("once")
    made = codec_task.make(make_config())
    return made, folder, loop.train(made, make_config(), folder)


def test_scores_and_pictures(once):
    made, folder, state = once
    records = report.read_log(folder)
    assert [r["step"] for r in records if r["kind"] == "eval"] == [0, 4]
    assert {"loss", "bpp", "hyper_bpp", "psnr"} <= set(records[1]["scalars"])
    picture = made.pictures["decoded"](state)
    assert picture.dtype == np.uint8
    assert picture.shape == (2 * 32, 4 * 32, 3)
    scores = made.evaluations["validation"](state)
    assert set(scores) == {"bpp_0", "psnr_0", "log_lagrangian"}
    assert all(np.isfinite(value) for value in scores.values())


class ByHand(NamedTuple):
    """Crops through a codec of two rates, all at once."""

    model: CodecConfig
    params: Any
    crops: np.ndarray
    bpp: list[np.ndarray]
    shown: list[np.ndarray]  # of 0..255

    def scores(self, *given):
        return codec_task.validation_scores(self.params, self.model, self.crops, *given)

    def error(self, rate):
        return np.mean((self.shown[rate] - self.crops) ** 2, (1, 2, 3))


@pytest.fixture(scope="module")
def by_hand():
    model = CodecConfig(filters=4, latents=6, lambdas=(0.002, 0.1), prior="factorized")
    params = init_params(networks(model), jax.random.key(0))
    crops = np.random.default_rng(0).integers(0, 256, (5, 16, 32, 3)).astype(np.uint8)
    apply = jax.jit(networks(model).apply)
    images = jnp.asarray(crops, jnp.float32) / 255
    passed = [apply({"params": params}, images, jnp.full(5, float(r))) for r in (0, 1)]
    bpp = [np.asarray(x.bits) / (16 * 32) for x in passed]
    shown = [np.rint(255 * np.clip(x.images, 0, 1)) for x in passed]
    return ByHand(model, params, crops, bpp, shown)


def test_scores_are_those_of_rounding_and_8_bits(by_hand):
    """Computed again for all crops at once; the Lagrangian is of means, in its log."""
    scores, logs = by_hand.scores(), []
    for rate, weight in enumerate(by_hand.model.lambdas):
        error, bpp = by_hand.error(rate), by_hand.bpp[rate]
        assert scores[f"bpp_{rate}"] == pytest.approx(bpp.mean(), rel=1e-4)
        psnr = np.mean(10 * np.log10(255**2 / error))
        assert scores[f"psnr_{rate}"] == pytest.approx(psnr, abs=0.01)
        logs.append(np.log(np.mean(bpp + weight * error)))
    assert scores["log_lagrangian"] == pytest.approx(np.mean(logs), abs=2e-3)


def test_scores_are_of_the_distortion_that_is_trained(by_hand):
    """Beside PSNR its own values, and its weights in the Lagrangian."""
    distortion, lambdas = (
        losses.make_distortion("mse,ssim", (0.5, 3.0)),
        (0.7, 40.0),
    )
    scores, logs = by_hand.scores(distortion, lambdas), []
    of_one_rate = {name for name in scores if name.endswith("_1")}
    assert of_one_rate == {"bpp_1", "psnr_1", "ssim_1"}
    for rate, weight in enumerate(lambdas):
        pair = (np.float32(x) / 255 for x in (by_hand.crops, by_hand.shown[rate]))
        values = np.asarray(pim_jax.load("ssim")(*pair))
        assert scores[f"ssim_{rate}"] == pytest.approx(values.mean(), abs=1e-4)
        total = 0.5 * by_hand.error(rate) + 3 * values
        logs.append(np.log(np.mean(by_hand.bpp[rate] + weight * total)))
    assert scores["log_lagrangian"] == pytest.approx(np.mean(logs), abs=2e-3)


def test_a_run_scores_what_it_trains(make_config):
    """With the default weights of its distortion."""
    seen = []

    def spy(*given):
        seen.append(given)
        return {}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec_task, "validation_scores", spy)
        made = codec_task.make(make_config(changes={"objective.distortion": "ms-ssim"}))
        made.evaluations["validation"](made.init(jax.random.key(0)))
    *_, distortion, lambdas = seen[0]
    assert distortion.names == ("ms-ssim",)
    assert lambdas == pytest.approx((16.64,))


@pytest.mark.parametrize("how", ["jit", "pmap"])
def test_eight_devices_reach_the_parameters_of_one(once, make_config, tmp_path, how):
    """Within 1e-5, and Adam's moments of the gradients, of norm 1, within 1e-6.

    Sums in another order differ in their last bits. Adam divides by the size of a
    gradient, so where that is nearly nothing (the off-diagonal of GDN, which starts at
    zero and is stored as a root) these bits become steps of full length.
    """
    made, _, expected = once
    config = make_config(changes={"compile": how, "devices": 8})
    state = loop.train(only_training(codec_task.make(config)), config, tmp_path)
    assert int(state.step) == 4
    for name in ("mu", "nu"):
        found, right = (optax.tree.get(s.opt_state, name) for s in (state, expected))
        assert_equal(found, right, 1e-6)
    told_apart = jax.tree.map(lambda nu: (nu == 0) | (np.sqrt(nu) > 1e-5), right)
    for found, right in (
        (state.params, expected.params),
        (state.ema_params, expected.ema_params),
    ):
        trees = (jax.tree.leaves(tree) for tree in (found, right, told_apart))
        for a, b, where in zip(*trees, strict=True):
            np.testing.assert_allclose(a[where], b[where], rtol=0, atol=1e-5)
    share = np.concatenate([np.ravel(x) for x in jax.tree.leaves(told_apart)]).mean()
    assert share > 0.9
    before = made.init(jax.random.key(0)).params
    steps = jax.tree.map(lambda a, b: float(abs(a - b).max()), state.params, before)
    assert max(jax.tree.leaves(steps)) > 1e-3, "nothing was learned that could differ"


@pytest.mark.slow
@pytest.mark.parametrize(
    "variants", ["bmshj2018-factorized", "bmshj2018-hyperprior", "mbt2018-mean"]
)
def test_eight_devices_have_the_gradients_of_one(make_config, tmp_path, variants):
    """In the first moment of one update, 0.1 of a gradient of norm 1, within 1e-6.

    Of one only: later a latent may be rounded to another integer for the last bits of its
    weights.
    """
    moments = {}
    for how, count in (("jit", 1), ("jit", 8), ("pmap", 8)):
        config = make_config(
            variants,
            {
                "compile": how,
                "devices": count,
                "steps": 1,
                "optimizer.warmup_steps": 0,
                **THREE_RATES,
            },
        )
        folder = tmp_path / f"{how}{count}"
        state = loop.train(only_training(codec_task.make(config)), config, folder)
        moments[how, count] = optax.tree.get(state.opt_state, "mu")
    right = moments.pop(("jit", 1))
    assert float(optax.tree.norm(right)) == pytest.approx(0.1, rel=1e-3)
    for found in moments.values():
        assert_equal(found, right, 1e-6)


def test_resumed_equals_uninterrupted(once, make_config, tmp_path):
    made, folder, expected = once

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
    assert_equal(resumed, expected)
    assert scalars(tmp_path, "loss") == scalars(folder, "loss")


LEARNING = {
    "steps": 300,
    "log_every": 20,
    "optimizer.learning_rate": 1e-2,
    "optimizer.schedule": "constant",
}
SOFT = {"objective.quantization": "soft_round", **THREE_RATES}


@pytest.mark.parametrize(
    ("variants", "changes"),
    [
        ("bls2017", {}),
        pytest.param("bls2017", SOFT, marks=pytest.mark.slow),
        pytest.param("bmshj2018-hyperprior", {}, marks=pytest.mark.slow),
        pytest.param("mbt2018-mean,narrow", THREE_RATES, marks=pytest.mark.slow),
    ],
)
def test_the_loss_falls(make_config, tmp_path, variants, changes):
    """By a third at least, between the first and the last twenty steps."""
    config = make_config(variants, {**LEARNING, **changes})
    loop.train(only_training(codec_task.make(config)), config, tmp_path)
    losses = scalars(tmp_path, "loss")
    assert losses[-1] < 0.67 * losses[0], losses


def test_a_quadtree_is_trained_by_the_same_task(make_config):
    """Its loss, and files of its first weights; `models/test_quadtree.py` has gradients."""
    config = codec.get_config("quadtree-192")
    changes = {
        **{key: value for key, value in SMALL.items() if "model." not in key},
        "data.image_dir": make_config().data.image_dir,
        "model.features": 8,
        "model.latents": 8,
        "model.hyper_latents": 4,
        "model.analysis_blocks": 1,
        "model.synthesis_blocks": 1,
        "model.lambdas": (0.002, 0.02),
    }
    with config.unlocked():
        config.update_from_flattened_dict(changes)
    batch = next(codec_task.make(config).batches(0, 1, 0))
    model = architectures.from_dict(config.model)
    params = small_codecs.random_quadtree_params(model)
    loss = codec_task.make_loss(model, config.objective, config.steps, None)
    value, told = jax.jit(loss)(params, batch, jax.random.key(0), jnp.int32(0))
    assert np.isfinite(value)
    assert told["bpp"] > told["hyper_bpp"] > 0
    trained = freezing.freeze(params, model, "tiny")
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    assert trained.decompress(trained.compress(image)).shape == image.shape


@pytest.fixture(scope="module")
def hyperprior_run(make_config, tmp_path_factory):
    """(config, folder) of a run with a hyperprior and two rates, by Muon."""
    folder = tmp_path_factory.mktemp("hyperprior")
    changes = {"model.lambdas": (0.002, 0.02), "checkpoint_every": 4}
    config = make_config("mbt2018-mean,narrow", changes)
    loop.train(only_training(codec_task.make(config)), config, folder)
    return config, folder


@pytest.mark.slow
def test_a_run_becomes_a_codec(hyperprior_run):
    config, folder = hyperprior_run
    codec, record = freezing.freeze_run(folder, "tiny")
    assert record["config"]["steps"] == config.steps
    image = small_codecs.picture(np.random.default_rng(1), 30, 50)
    assert codec.decompress(codec.compress(image)).shape == image.shape


def loss_at(make_config, changes, step=0):
    """(value, scalars, weights, batch) of the loss of a codec at its start, of 100."""
    config = make_config("bls2017", changes)
    model = CodecConfig.from_dict(config.model)
    params = init_params(networks(model), jax.random.key(1))
    random = np.random.default_rng(3)
    batch = {"image": random.integers(0, 256, (4, 16, 16, 3)).astype(np.uint8)}
    loss = codec_task.make_loss(model, config.objective, 100, None)
    value, found = loss(params, batch, jax.random.key(2), jnp.int32(step))
    return float(value), {name: float(x) for name, x in found.items()}, params, batch


def test_a_run_starts_from_the_weights_of_another(once, make_config):
    _, folder, state = once
    second = make_config(changes={"seed": 1, "start_from": str(folder)})
    begun = codec_task.make(second).init(jax.random.key(1))
    for params in (begun.params, begun.ema_params):
        jax.tree.map(np.testing.assert_array_equal, params, state.ema_params)
    assert begun.step == 0


@pytest.mark.slow
def test_a_run_starts_from_a_codec(hyperprior_run, tmp_path):
    """Frozen again at once, its first weights are that codec."""
    config, folder = hyperprior_run
    frozen, about = freezing.freeze_run(folder, "tiny")
    loading.save(frozen, tmp_path / "tiny.npz", about)
    config = config.copy_and_resolve_references()
    config.start_from = str(tmp_path / "tiny.npz")
    begun = codec_task.make(config).init(jax.random.key(1)).params
    again = freezing.freeze(begun, frozen.config, "tiny")
    assert again.fingerprint == frozen.fingerprint


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"start_from": "nowhere"}, ValueError, "'nowhere' is neither a codec nor"),
        (
            {"model.filters": 5},
            ValueError,
            "filters is 4, found config.model.filters = 5",
        ),
        ({"model.normalization": "original"}, ValueError, "normalization is"),
        ({"model.lambdas": (0.1, 0.2)}, ValueError, "lambdas is"),
    ],
)
def test_a_start_that_does_not_fit(once, make_config, changes, error, text):
    other = make_config(changes={"start_from": str(once[1]), **changes})
    with pytest.raises(error, match=text):
        codec_task.make(other)


def test_a_start_that_is_no_codec(make_config, tmp_path):
    config = make_config(changes={"start_from": str(tmp_path)})
    with pytest.raises(FileNotFoundError, match="expected the folder of a run"):
        codec_task.make(config)
    (tmp_path / "config.json").write_text('{"task": "pim"}')
    with pytest.raises(ValueError, match="a run of 'pim', not of a codec"):
        codec_task.make(config)


def test_the_loss_is_rate_plus_lambda_times_squared_error(make_config):
    """By hand, for one rate: bits of the noisy latents, error on 0..255."""
    changes = {"objective.quantization": "noise"}
    value, found, params, batch = loss_at(make_config, changes)
    keys = devices.keys_of_rows(jax.random.key(2), 4, None)
    model = CodecConfig.from_dict(make_config("bls2017", changes).model)
    images = batch["image"].astype(np.float32) / 255
    noise = jax.vmap(jax.random.split)(keys)[:, 1]
    passed = networks(model).apply(
        {"params": params}, jnp.asarray(images), jnp.zeros(4), noise, "noise"
    )
    bpp = np.asarray(passed.bits) / 256
    error = np.mean((255 * (np.asarray(passed.images) - images)) ** 2, (1, 2, 3))
    assert found["bpp"] == pytest.approx(bpp.mean(), rel=1e-4)
    assert value == pytest.approx(np.mean(bpp + 0.013 * error), rel=1e-4)
    psnr = np.mean(10 * np.log10(255**2 / error))
    assert found["psnr"] == pytest.approx(psnr, abs=1e-3)


@pytest.mark.parametrize(
    ("changes", "weight"),
    [
        ({"objective.distortion": "ms-ssim"}, 16.64),
        ({"objective.distortion": "ssim", "objective.lambdas": (9.0,)}, 9.0),
    ],
)
def test_the_loss_takes_the_scale_of_its_distortion(make_config, changes, weight):
    """R + lambda D for one rate, with CompressAI's lambda of MS-SSIM at 0.013."""
    value, found, _, _ = loss_at(make_config, changes)
    expected = found["bpp"] + weight * found[changes["objective.distortion"]]
    assert value == pytest.approx(expected, rel=1e-4)


def lambdas_of(make_config, changes, variants="mbt2018-mean,gpu"):
    config = make_config(variants, changes)
    return codec_task.make_lambdas(
        config.objective, CodecConfig.from_dict(config.model)
    )


def test_lambdas_of_distortions(make_config):
    """Its own by default; of a sum, squared error's if that is in it."""
    of_mse = (0.0018, 0.0035, 0.0067, 0.0130, 0.0250, 0.0483)
    of_ms_ssim = (2.4, 4.58, 8.73, 16.64, 31.73, 60.5)
    for names, expected in (
        ("mse", of_mse),
        ("ms-ssim", of_ms_ssim),
        ("ssim,mse", of_mse),
        ("ms-ssim,vif", of_ms_ssim),
    ):
        found = lambdas_of(make_config, {"objective.distortion": names})
        assert found == pytest.approx(expected), names
    one = lambdas_of(make_config, {"objective.distortion": "ms-ssim"}, "bls2017")
    assert one == pytest.approx((16.64,))
    given = {"objective.distortion": "vif", "objective.lambdas": (1, 2, 3, 4, 5, 6)}
    assert lambdas_of(make_config, given) == (1, 2, 3, 4, 5, 6)


def test_default_lambdas_keep_the_rates_of_a_trained_codec():
    """They are near the slopes -dR/dD of a packaged codec at its rates.

    With the lambdas of squared error for MS-SSIM, a thousand times smaller, training
    emptied the latents of such a codec.
    """
    params, model = freezing.to_train_further("ms64")
    coffee = skimage.data.coffee()
    crops = np.stack([coffee[:176, :176], coffee[-176:, -176:]])
    distortion = losses.make_distortion("ms-ssim", (1.0,))
    points = []
    for rate in (2, 3):
        bpp, error, each = codec_task.rounded(params, model, distortion, crops, rate)
        points.append([bpp.mean(), error.mean(), each["ms-ssim"].mean()])
    bits, *distortions = np.diff(points, axis=0)[0]
    for name, change in zip(("mse", "ms-ssim"), distortions, strict=True):
        low, high = objective.lambdas_for(name, model.lambdas)[2:4]
        assert low / 2 < -bits / change < high * 2, name


def test_starting_from_random_weights_is_noted(make_config, tmp_path, monkeypatch):
    """The defaults of other distortions than squared error are for a trained codec."""
    said = []
    monkeypatch.setattr(
        codec_task.logging, "warning", lambda text, *_: said.append(text)
    )
    make = {"objective.distortion": "ms-ssim"}
    codec_task.make(make_config())
    codec_task.make(make_config(changes={**make, "objective.lambdas": (20.0,)}))
    assert not said
    codec_task.make(make_config(changes=make))
    assert "random weights" in said.pop()


def test_images_of_a_batch_train_different_rates(make_config):
    """Weights between the lowest and the highest lambda, another for every image."""
    seen = []

    def spy(rate, lambdas, original=objective.lambda_at):
        seen.append(np.asarray(original(rate, lambdas)))
        return original(rate, lambdas)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objective, "lambda_at", spy)
        loss_at(make_config, THREE_RATES)
    assert len(np.unique(seen)) == 4
    assert 0.002 < np.min(seen) < np.max(seen) < 0.1


def test_alpha_goes_from_its_first_to_its_last_value(make_config):
    """Linearly: at the start it is noise, and at each step what a fixed one gives."""
    changes = {"objective.quantization": "soft_round", "objective.alpha": (0.0, 4.0)}
    values = [loss_at(make_config, changes, step)[0] for step in (0, 50, 100)]
    noise = loss_at(make_config, {"objective.quantization": "noise"})[0]
    assert values[0] == pytest.approx(noise, rel=1e-4)
    for value, alpha in zip(values[1:], (2.0, 4.0), strict=True):
        fixed = changes | {"objective.alpha": (alpha, alpha)}
        assert value == pytest.approx(loss_at(make_config, fixed, 7)[0], rel=1e-5)
    assert len({round(value, 3) for value in values}) == 3


def test_lambda_warms_up(make_config):
    changes = {
        "objective.lambda_warmup_steps": 10,
        "objective.lambda_start": 16.0,
        "objective.balance": 0.0,
    }
    found = {step: loss_at(make_config, changes, step) for step in (0, 5, 10, 90)}
    distortion = {step: x[0] - x[1]["bpp"] for step, x in found.items()}
    for step, factor in ((0, 16), (5, 4), (90, 1)):
        assert distortion[step] / distortion[10] == pytest.approx(factor, rel=1e-4)


@pytest.mark.parametrize("name", ["ssim", "ms-ssim", "psnr"])
def test_any_differentiable_metric_is_a_distortion(name):
    """By its name, on images clipped to [0, 1], with gradients that lead back inside."""
    distortion = losses.make_distortion(name, (3.0,))
    random = np.random.default_rng(0)
    images = jnp.asarray(random.uniform(size=(2, 48, 48, 3)), jnp.float32)
    decoded = images + jnp.asarray(random.normal(size=images.shape), jnp.float32)
    metric = pim_jax.load(name)
    expected = 3.0 * metric(images, jnp.clip(decoded, 0, 1))
    np.testing.assert_allclose(distortion(images, decoded), expected, rtol=1e-5)
    gradient = jax.grad(lambda x: jnp.sum(distortion(images, x)))(decoded)
    assert jnp.isfinite(gradient).all()
    outside = (decoded < 0) | (decoded > 1)
    inwards = jnp.where(decoded < 0, gradient <= 0, gradient >= 0)
    assert inwards[outside].all()
    assert gradient[outside].any()


def test_a_sum_of_distortions():
    images, decoded = jnp.zeros((2, 16, 16, 3)), jnp.full((2, 16, 16, 3), 0.1)
    both = losses.make_distortion("mse,ssim", (0.5, 100.0))(images, decoded)
    ssim = pim_jax.load("ssim")(images, decoded)
    expected = 0.5 * 25.5**2 + 100 * np.asarray(ssim)
    np.testing.assert_allclose(both, expected, rtol=1e-5)


def test_a_codec_trains_for_structural_similarity(make_config, tmp_path):
    changes = {
        "steps": 2,
        "objective.distortion": "mse,ms-ssim",
        "objective.weights": (0.5, 1000.0),
    }
    config = make_config(changes=changes)
    state = loop.train(only_training(codec_task.make(config)), config, tmp_path)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state))


def test_factors_scale_the_steps_of_modules():
    params = {"prior": {"a": jnp.ones(3)}, "synthesis": jnp.ones(2)}
    moves = codec_task.scaled({"prior": 10.0, "synthesis": 0.0, "elsewhere": 1.0})
    moved, _ = moves.update(params, moves.init(params))
    np.testing.assert_array_equal(moved["prior"]["a"], 10.0)
    np.testing.assert_array_equal(moved["synthesis"], 0.0)
    with pytest.raises(ValueError, match=r"factors has \['priors'\]; .*'prior'"):
        codec_task.scaled({"priors": 10.0}).init(params)


def test_every_module_has_a_factor_in_the_config(make_config):
    """So that each can be set from the command line."""
    config = make_config()
    assert set(config.optimizer.factors.values()) == {1.0}
    every = [parameter_shapes(networks(model)) for model in NAMED.values()]
    names = {name.split("/")[0] for shapes in every for name in shapes}
    assert names == set(config.optimizer.factors)


def test_a_module_with_the_factor_zero_stands_still(make_config, tmp_path):
    config = make_config(changes={"steps": 2, "optimizer.factors.prior": 0.0})
    made = only_training(codec_task.make(config))
    before = made.init(jax.random.key(config.seed)).params
    after = loop.train(made, config, tmp_path).params
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), before, after)
    assert not any(jax.tree.leaves(moved["prior"]))
    assert any(jax.tree.leaves(moved["analysis_transform"]))


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"objective.distortion": "mse,ssim"}, ValueError, "has 2 names, 'mse,ssim'"),
        ({"objective.weights": ()}, ValueError, "objective.weights"),
        ({"objective.distortion": "mze"}, ValueError, "'mze' is neither a metric"),
        ({"objective.distortion": ""}, ValueError, "objective.distortion: expected"),
        (
            {"objective.distortion": "ssim,ssim", "objective.weights": (1.0, 1.0)},
            ValueError,
            "objective.distortion: expected different names",
        ),
        (
            {"objective.distortion": "fsim"},
            ValueError,
            "objective.lambdas is empty, .*'fsim', only for mse, .*give 1",
        ),
        ({"objective.lambdas": (1.0, 2.0)}, ValueError, "lambdas has 2 .* expected 1"),
        ({"objective.lambdas": (-1.0,)}, ValueError, "objective.lambdas is .*positive"),
        (
            {"objective.lambdas": (2.0, 1.0, 3.0), **THREE_RATES},
            ValueError,
            "objective.lambdas is .*ascending",
        ),
        (
            {"objective.distortion": "vif", "objective.lambdas": (1.0,)},
            ValueError,
            "data.crop is 16, but the distortion 'vif' needs at least 41 pixels",
        ),
        ({"objective.quantization": "hard"}, ValueError, "quantization is 'hard'"),
        (
            {"objective.expected_gradient": True, **SOFT},
            ValueError,
            "objective.expected_gradient needs",
        ),
        ({"model.dither": -1}, ValueError, "model.dither is -1"),
        ({"model.prior": "gauss"}, ValueError, "model.prior is 'gauss'"),
        ({"optimizer.name": "sgd"}, ValueError, "optimizer.name is 'sgd'"),
        ({"data.image_dir": "no/folder"}, FileNotFoundError, "no/folder"),
        ({"data.image_dir": ""}, ValueError, "data.image_dir"),
        ({"data.tfds": "pictures"}, ValueError, "data.tfds is 'pictures' and"),
        (
            {"data.tfds": "no_such_pictures", "data.image_dir": ""},
            ValueError,
            "data.tfds: .*no_such_pictures",
        ),
        ({"data.validation_crops": 0}, ValueError, "data.validation_crops is 0"),
        ({"ema_decay": 1.0}, ValueError, "ema_decay"),
    ],
)
def test_bad_settings(make_config, changes, error, text):
    with pytest.raises(error, match=text):
        codec_task.make(make_config(changes=changes))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"data.batch_size": 0}, "batch_size is 0, expected a positive multiple"),
        ({"data.batch_size": 3, "devices": 2}, "number of devices, 2"),
    ],
)
def test_batches_are_checked_before_pictures_are_read(
    make_config, monkeypatch, changes, text
):
    monkeypatch.setattr(codec_task, "_images", None)
    with pytest.raises(ValueError, match=text):
        codec_task.make(make_config(changes=changes))


def test_bad_batches(make_config):
    made = codec_task.make(make_config(changes={"data.crop": 0}))
    with pytest.raises(ValueError, match=r"data\.crop is 0"):
        next(made.batches(0, 1, 0))
    made = codec_task.make(make_config(changes={"data.scale": (2.0, 1.0)}))
    with pytest.raises(ValueError, match=r"data\.scale"):
        next(made.batches(0, 1, 0))
