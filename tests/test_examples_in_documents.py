"""The Python in the documents runs as it is shown."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

import codec_jax
from configs import toy
from pim_jax.training import loop

ROOT = Path(__file__).resolve().parents[1]


def python_in(document, metric="pim-1-small"):
    """Code blocks, with a metric that compiles faster in place of pim-1."""
    text = (ROOT / document).read_text(encoding="utf-8")
    found = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [source.replace('"pim-1"', f'"{metric}"') for source in found]


@pytest.fixture
def names(tmp_path, monkeypatch):
    """The images that the examples use; a codec that compiles faster."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(codec_jax, "DEFAULT", "ms64")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 1, 16, 16, 3), np.uint8)
    PIL.Image.fromarray(pixels[0, 0]).save("photo.png")
    image_a, image_b = jnp.float32(pixels) / 255
    return {"image_a": image_a, "image_b": image_b}


def test_metric(names):
    exec(python_in("README.md", "ssim")[0], names)
    assert names["distance"] > 0
    gradient = names["gradient"]
    assert gradient.shape == names["image_a"].shape
    assert jnp.abs(gradient).max() > 0
    exec(python_in("docs/metrics.md")[0], names)
    assert all(level.loc.shape[0] == 1 for level in names["levels"])


def test_codec(names):
    exec(python_in("README.md")[1], names)
    assert names["again"].shape == names["image"].shape
    assert names["bits"] > 0
    exec("\n".join(python_in("docs/codecs.md")), names)
    gradient = jax.grad(names["cost"])(names["image_a"])
    assert jnp.abs(gradient).max() > 0


def test_a_codec_is_no_argument(names):
    """As README says; where this changes, README does."""
    codec = codec_jax.load("ms64")
    with pytest.raises(TypeError):
        jax.jit(lambda codec, x: x)(codec, 0.0)


@pytest.mark.usefixtures("no_plots")
def test_task(tmp_path):
    names = {}
    (source,) = python_in("docs/extending.md")
    exec(source, names)
    config = toy.get_config().unlock()
    config.update(steps=300, batch_size=64, evaluate_every=0)
    config.optimizer.learning_rate = 0.1
    state = loop.train(names["make"](config), config, tmp_path)
    assert abs(float(state.params["slope"]) - 2) < 0.1
