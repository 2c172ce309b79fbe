"""Backbones: taps by name, pooling, random weights. Parity is in metrics/test_lpips.py."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pim_jax.features import backbones
from pim_jax.features.backbones import Backbone

CHANNELS = {
    "alexnet": [64, 192, 384, 256, 256],
    "vgg16": [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6,
    "vgg19": [64] * 2 + [128] * 2 + [256] * 4 + [512] * 8,
    "squeezenet": [64, 128, 128, 256, 256, 384, 384, 512, 512],
}
# Of torchvision's convolutions, weights and biases.
COUNTS = {
    "alexnet": 2_469_696,
    "vgg16": 14_714_688,
    "vgg19": 20_024_384,
    "squeezenet": 722_496,
}


@pytest.mark.parametrize("name", backbones.LAYERS)
def test_sizes(name):
    assert list(backbones.taps(name).values()) == CHANNELS[name]
    shapes = backbones.parameter_shapes(name)
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == COUNTS[name]
    smallest = backbones.MINIMUM_SIZE[name]
    everything = Backbone(name, tuple(backbones.taps(name)))

    def shapes_at(size):
        image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
        made = jax.eval_shape(everything.init_with_output, jax.random.key(0), image)
        return {tap: feature.shape for tap, feature in made[0].items()}

    assert all(min(shape) == 1 for shape in shapes_at(smallest).values())
    assert {k: s[-1] for k, s in shapes_at(64).items()} == backbones.taps(name)
    with pytest.raises(ValueError, match=f"at least {smallest} pixels"):
        shapes_at(smallest - 1)


def test_only_what_is_asked_for():
    """In the order asked for; deeper layers neither have weights nor are computed."""
    image = jnp.ones((1, 24, 20, 3))
    backbone = Backbone("vgg16", ("relu2_1", "relu1_2"))
    found, variables = backbone.init_with_output(jax.random.key(0), image)
    assert {k: v.shape for k, v in found.items()} == {
        "relu1_2": (1, 24, 20, 64),
        "relu2_1": (1, 12, 10, 128),
    }
    assert list(found) == ["relu2_1", "relu1_2"]
    assert set(variables["params"]) == {"conv1_1", "conv1_2", "conv2_1"}
    assert all((v >= 0).all() for v in found.values())


def test_wrong_names():
    image = jnp.ones((1, 32, 32, 3))
    for backbone, text in (
        (Backbone("vgg16", ("relu1_3",)), r"vgg16 has no \['relu1_3'\]"),
        (Backbone("vgg17", ("relu1_1",)), "no backbone 'vgg17'"),
        (Backbone("vgg16", ("relu1_1",), pooling="mean"), "pooling is .mean."),
    ):
        with pytest.raises(ValueError, match=text):
            backbone.init(jax.random.key(0), image)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("height", [5, 6, 7, 8])
def test_max_pool(size, height):
    x = jax.random.normal(jax.random.key(height), (2, height, height + 3, 3))
    expected = nn.max_pool(x, (size, size), (2, 2))
    np.testing.assert_array_equal(backbones.max_pool(x, size), expected)
    odd = [(0, (n - size) % 2) for n in x.shape[1:3]]
    expected = nn.max_pool(x, (size, size), (2, 2), odd)
    np.testing.assert_array_equal(backbones.max_pool(x, size, True), expected)


def test_l2_pool():
    x = jax.random.normal(jax.random.key(0), (1, 7, 6, 2))
    found = backbones.l2_pool(x)
    assert found.shape == (1, 4, 3, 2)
    weights = np.outer([1, 2, 1], [1, 2, 1]) / 16
    window = np.square(x[0, 1:4, 1:4, 0])
    np.testing.assert_allclose(found[0, 1, 1, 0] ** 2, (weights * window).sum(), 1e-5)
    edge = (weights[1:, 1:] * np.square(x[0, :2, :2, 1])).sum()
    np.testing.assert_allclose(found[0, 0, 0, 1] ** 2, edge, 1e-5)
    gradient = jax.grad(lambda x: backbones.l2_pool(x).sum())(0 * x)
    np.testing.assert_array_equal(gradient, 0)


def test_random_weights_are_the_same_everywhere():
    params = backbones.random_params("squeezenet", 3)
    assert params["conv1"]["bias"][0] == np.float32(0.1 * 1.7886284734303186)
    again = backbones.random_params("squeezenet", 3)
    jax.tree.map(np.testing.assert_array_equal, again, params)
