"""A codec trained by the one loop."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from codec_jax import task, weights
from pim_jax.training import loop
from tests.codec_jax import small_codecs

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "codec.py"


@pytest.fixture
def config(tmp_path):
    spec = importlib.util.spec_from_file_location("codec", CONFIG)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config("mbt2018-mean,narrow")
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for number in range(3):
        image = small_codecs.picture(rng, 80, 80)
        PIL.Image.fromarray(image).save(tmp_path / "images" / f"{number}.png")
    changes = {
        "steps": 80,
        "devices": 1,
        "log_every": 1,
        "evaluate_every": 0,
        "checkpoint_every": 80,
        "model.filters": 6,
        "model.latents": 8,
        "model.lambdas": (0.002, 0.02),
        "optimizer.warmup_steps": 2,
        "optimizer.learning_rate": 1e-2,
        "data.image_dir": str(tmp_path / "images"),
        "data.crop": 64,
        "data.validation_crops": 1,
        "data.validation_crop": 64,
    }
    config.update_from_flattened_dict(changes)
    return config


def test_training_lowers_the_loss_and_the_run_becomes_a_codec(config, tmp_path):
    run = tmp_path / "run"
    loop.train(task.make(config), config, run)
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    losses = [line["scalars"]["loss"] for line in lines if line["kind"] == "train"]
    assert np.mean(losses[-20:]) < 0.7 * np.mean(losses[:20])
    codec, record = weights.freeze_run(run, "tiny")
    assert record["config"]["steps"] == 80
    image = small_codecs.picture(np.random.default_rng(1), 30, 50)
    assert codec.decompress(codec.compress(image)).shape == image.shape


def test_distortions_by_name_and_weight():
    rng = np.random.default_rng(0)
    a, b = (rng.random((2, 32, 32, 3), np.float32) for _ in range(2))
    mse = task.make_distortion("mse", (1.0,))(a, b)
    ssim = task.make_distortion("ssim", (1.0,))(a, b)
    both = task.make_distortion("mse,ssim", (0.5, 3.0))(a, b)
    np.testing.assert_allclose(both, 0.5 * mse + 3 * ssim, rtol=1e-5)
    np.testing.assert_allclose(mse, np.mean((255 * (a - b)) ** 2, (1, 2, 3)), rtol=1e-5)


def test_wrong_settings_are_named(config):
    with pytest.raises(ValueError, match=r"2 names.*weights"):
        task.make_distortion("mse,ssim", (1.0,))
    with pytest.raises(ValueError, match="neither a metric"):
        task.make_distortion("sism", (1.0,))
    config.data.image_dir = config.data.image_dir + "x"
    with pytest.raises(FileNotFoundError, match="no such folder"):
        task.make(config)
