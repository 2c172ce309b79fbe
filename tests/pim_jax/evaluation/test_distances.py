import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pim_jax.evaluation import distances
from pim_jax.metrics import METRICS
from pim_jax.pim.distance import untrained
from pim_jax.pim.model import ModelConfig

TINY = ModelConfig(filters=(3,), z_dim=2, mixtures=1, num_scales=1, steerable_order=0)
PIXELS = np.random.default_rng(0).integers(0, 256, (7, 16, 16, 3), np.uint8)
PAIRS = np.array([(0, 1), (0, 2), (3, 3), (6, 5), (1, 0)])


class MeanColour:
    """Represents an image by its mean, and notes which images it is shown."""

    seen: typing.ClassVar[list] = []

    def represent(self, image):
        jax.debug.callback(lambda x: self.seen.append(np.asarray(x)), image)
        return {"mean": jnp.mean(image, axis=(1, 2, 3))}

    def compare(self, a, b):
        return jnp.abs(a["mean"] - b["mean"])


jax.tree_util.register_static(MeanColour)


def unit(pixels):
    return jnp.asarray(pixels, jnp.float32) / 255


@pytest.mark.parametrize(
    ("name", "batch_size"), [("psnr", 1), ("psnr", 16), ("ssim", 3), ("pim", 3)]
)
def test_pair_distances_equal_plain_calls(name, batch_size):
    metric = untrained(TINY) if name == "pim" else METRICS[name]()
    found = distances.pair_distances(metric, PIXELS, PAIRS, batch_size)
    expected = metric(unit(PIXELS[PAIRS[:, 0]]), unit(PIXELS[PAIRS[:, 1]]))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert found.shape == (5,)


def test_pim_is_represented_once_for_each_image():
    metric = MeanColour()
    everything = np.array([(i, j) for i in range(7) for j in range(7)])
    found = distances.pair_distances(metric, PIXELS, everything, batch_size=7)
    jax.effects_barrier()
    assert [x.shape for x in metric.seen] == [PIXELS.shape]  # 7 images, not 49 pairs
    means = PIXELS.mean((1, 2, 3)) / 255
    expected = np.abs(means[:, None] - means[None])
    np.testing.assert_allclose(found.reshape(7, 7), expected, atol=1e-5)
    assert isinstance(untrained(TINY), distances.Representing)
    assert not isinstance(METRICS["psnr"](), distances.Representing)


def test_source_distances_with_images_of_several_sizes():
    source = [
        {"a": PIXELS[i, :size], "b": PIXELS[i + 1, :size]}
        for i, size in enumerate([16, 16, 12, 16, 12])
    ]
    metric = METRICS["psnr"]()
    found = distances.source_distances(metric, source, [("a", "b"), ("b", "b")], 2)
    expected = [
        float(metric(unit(e["a"][None]), unit(e["b"][None]))[0]) for e in source
    ]
    np.testing.assert_allclose(found, [expected, [0] * 5], rtol=1e-5)
    assert (found[1] == 0).all()


def test_bad_images_are_refused():
    with pytest.raises(ValueError, match="expected uint8 images"):
        distances.pair_distances(METRICS["psnr"](), PIXELS / 255, PAIRS)
    source = [{"a": PIXELS[0], "b": PIXELS[0, :8]}]
    with pytest.raises(ValueError, match="example 0: the images must have one size"):
        distances.source_distances(METRICS["psnr"](), source, [("a", "b")])
    with pytest.raises(ValueError, match="at least 11 pixels"):
        distances.pair_distances(METRICS["ssim"](), PIXELS[:, :8], PAIRS)
