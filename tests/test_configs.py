"""Every config file, with every variant: loads, is locked, refuses what it lacks."""

import importlib.util
import inspect
from pathlib import Path

import ml_collections
import pytest

import codec_jax.evaluation.runners
import codec_jax.toy.task
import pim_jax.evaluation.runners
from codec_jax.models.config import MODELS, CodecConfig
from pim_jax.pim.model import ModelConfig
from pim_jax.training import optimizer

FOLDER = Path(__file__).resolve().parents[1] / "configs"


def module(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


VARIANTS = {
    "pim": ["", *module("pim").VARIANTS, "demo,pim-1", "small,paper"],
    "codec": [
        "",
        "gpu",
        "gpu,gpu-more",
        "quadtree-192",
        *(f"{m},narrow" for m in MODELS),
    ],
    "colour": [""],
    "eval_bapps": [""],
    "eval_behaviour": ["", "demo"],
    "eval_clic2021": [""],
    "eval_complexity": [""],
    "eval_judgements": [""],
    "eval_kodak": [""],
    "eval_photograph": [""],
    "eval_ranking": [""],
    "lpips": ["", *module("lpips").VARIANTS, "vgg,demo"],
    "realism": ["", "demo"],
    "recovery": [""],
    "eval_toy": ["", *module("toy").SOURCES],
    "toy": ["", *module("toy").VARIANTS, "sawbridge,ltc"],
}
CASES = [(name, variant) for name, several in VARIANTS.items() for variant in several]
TRAINING = [case for case in CASES if case[0] == "pim"]


@pytest.mark.parametrize(("variant", "filters"), [("narrow", 64), ("gpu", 128)])
def test_settings_of_a_codec_are_accepted(variant, filters):
    config = module("codec").get_config(f"mbt2018-mean,{variant}")
    assert CodecConfig.from_dict(config.model).filters == filters
    optimizer.make(config.optimizer, config.steps)


def test_every_file_is_tested():
    assert {path.stem for path in FOLDER.glob("*.py")} == set(VARIANTS)


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_loads_and_is_locked(name, variant):
    config = module(name).get_config(variant)
    assert isinstance(config, ml_collections.ConfigDict)
    assert config.is_locked
    with pytest.raises((KeyError, AttributeError)):
        config.no_such_key = 1
    if "data" in config:
        assert config.data.is_locked


@pytest.mark.parametrize("name", VARIANTS)
def test_an_unknown_variant_is_named(name):
    with pytest.raises(ValueError, match=f"{name}.*no variant 'larj'"):
        module(name).get_config("larj")


@pytest.mark.parametrize("name", VARIANTS)
def test_the_header_says_how_to_run_it(name):
    text = inspect.getdoc(module(name))
    assert f"--config=configs/{name}.py" in text
    for word in ("hardware", "time", "result"):
        assert word in text.lower()


@pytest.mark.parametrize(("name", "variant"), TRAINING)
def test_training_settings_are_accepted(name, variant):
    config = module(name).get_config(variant)
    model = ModelConfig.from_dict(config.model)
    assert config.data.crop >= model.minimum_size
    optimizer.make(config.optimizer, config.steps)
    assert config.optimizer.warmup_steps < config.steps
    assert config.checkpoint_every <= config.steps


@pytest.mark.parametrize("variant", VARIANTS["toy"])
def test_settings_of_toys_are_accepted(variant):
    config = module("toy").get_config(variant)
    assert codec_jax.toy.task.make(config).evaluations
    assert config.evaluate_every <= config.steps


def test_variants_state_only_differences():
    pim = module("pim")
    for changes in pim.VARIANTS.values():
        for key, value in changes.items():
            default = pim.get_config()
            for name in key.split("."):
                default = default[name]
            assert value != default, key


def test_the_published_architecture_is_the_default():
    assert ModelConfig.from_dict(module("pim").get_config().model) == ModelConfig()


@pytest.mark.parametrize(
    "name", [n for n in VARIANTS if n not in ("pim", "codec", "lpips", "toy")]
)
def test_evaluations_exist(name):
    known = (
        pim_jax.evaluation.runners.EVALUATIONS
        | codec_jax.evaluation.runners.EVALUATIONS
    )
    assert module(name).get_config().evaluation in known
