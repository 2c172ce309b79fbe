"""AlexNet, VGG-16, VGG-19 and SqueezeNet 1.1 as features that are asked for by name.

The convolutional parts of the classifiers in torchvision, with its padding and pooling.
Any loss on features takes the layers it wants:

    backbone = Backbone("vgg16", ("relu1_2", "relu3_3"))
    features = backbone.apply({"params": params}, normalise(images))

Sources: Krizhevsky 2014, https://arxiv.org/abs/1404.5997; Simonyan & Zisserman 2015,
https://arxiv.org/abs/1409.1556; Iandola et al. 2016, https://arxiv.org/abs/1602.07360.
`torchvision` has the weights.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pim_jax.ops.fast_cpu import convolution

# Of the images of ImageNet, which all of them were trained on.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
# Added under the root of L2 pooling, as in the published DISTS.
_L2_OFFSET = 1e-12


class Conv(NamedTuple):
    """A convolution and ReLU; `tap` is the name of what comes out."""

    name: str
    tap: str
    filters: int
    size: int = 3
    stride: int = 1
    padding: int = 1


class Pool(NamedTuple):
    """The largest of `size` x `size` values at every second position, without padding."""

    size: int
    partial: bool = False  # windows that reach beyond the edge count as well


class Fire(NamedTuple):
    """SqueezeNet's block: 1x1 to few channels, then 1x1 and 3x3 side by side."""

    name: str
    squeeze: int
    expand: int

    @property
    def tap(self) -> str:
        """The name of what comes out."""
        return self.name


Layer = Conv | Pool | Fire


def _vgg(*convolutions: int) -> tuple[Layer, ...]:
    layers: list[Layer] = []
    for i, (count, filters) in enumerate(
        zip(convolutions, (64, 128, 256, 512, 512), strict=True), 1
    ):
        layers += [
            Conv(f"conv{i}_{k}", f"relu{i}_{k}", filters) for k in range(1, count + 1)
        ]
        layers.append(Pool(2))
    return tuple(layers)


LAYERS: dict[str, tuple[Layer, ...]] = {
    "alexnet": (
        Conv("conv1", "relu1", 64, size=11, stride=4, padding=2),
        Pool(3),
        Conv("conv2", "relu2", 192, size=5, padding=2),
        Pool(3),
        Conv("conv3", "relu3", 384),
        Conv("conv4", "relu4", 256),
        Conv("conv5", "relu5", 256),
    ),
    "vgg16": _vgg(2, 2, 3, 3, 3),
    "vgg19": _vgg(2, 2, 4, 4, 4),
    "squeezenet": (
        Conv("conv1", "relu1", 64, stride=2, padding=0),
        Pool(3, partial=True),
        Fire("fire2", 16, 64),
        Fire("fire3", 16, 64),
        Pool(3, partial=True),
        Fire("fire4", 32, 128),
        Fire("fire5", 32, 128),
        Pool(3, partial=True),
        Fire("fire6", 48, 192),
        Fire("fire7", 48, 192),
        Fire("fire8", 64, 256),
        Fire("fire9", 64, 256),
    ),
}
# With fewer pixels nothing is left at the deepest layer.
MINIMUM_SIZE = {"alexnet": 31, "vgg16": 16, "vgg19": 16, "squeezenet": 17}


def taps(name: str) -> dict[str, int]:
    """The layers of a backbone that can be asked for, with their channels.

    Raises: ValueError for an unknown backbone.
    """
    if name not in LAYERS:
        raise ValueError(f"no backbone {name!r}, expected one of {[*LAYERS]}")
    return {
        layer.tap: 2 * layer.expand if isinstance(layer, Fire) else layer.filters
        for layer in LAYERS[name]
        if not isinstance(layer, Pool)
    }


def normalise(
    image: Float[Array, "n h w 3"],
    mean: tuple[float, ...] = IMAGENET_MEAN,
    deviation: tuple[float, ...] = IMAGENET_DEVIATION,
) -> Float[Array, "n h w 3"]:
    """(image - mean) / deviation for each channel; by default what backbones expect."""
    shift, scale = (
        jnp.asarray(v, jnp.float32)[None, None, None] for v in (mean, deviation)
    )
    return (image - shift) / scale


class Backbone(nn.Module):
    """Features of normalised images, by name, as far as the deepest that is asked for.

        image -> conv, ReLU -> ... -> pool -> conv, ReLU -> ... -> pool -> ...
                    |                            |
                  relu1_1                      relu2_1

    float32 in full precision on every device.

    Attributes:
      name_of: the backbone, a key of LAYERS.
      wanted: names among `taps(name_of)`.
      pooling: 'max', or 'l2' for the root of a smoothed square (Henaff & Simoncelli 2016,
        https://arxiv.org/abs/1511.06394), which DISTS has in its place.
    """

    name_of: str
    wanted: tuple[str, ...]
    pooling: str = "max"

    @nn.compact
    def __call__(self, image: Float[Array, "n h w 3"]) -> dict[str, Array]:
        """The features (n, h', w', c) after ReLU, in the order of `wanted`.

        Raises: ValueError for an unknown name, or too few pixels.
        """
        _check(self.name_of, self.wanted, self.pooling, image.shape)
        found: dict[str, Array] = {}
        x = image
        for layer in LAYERS[self.name_of]:
            if set(found) == set(self.wanted):
                break
            if isinstance(layer, Pool):
                x = l2_pool(x) if self.pooling == "l2" else max_pool(x, *layer)
                continue
            x = (
                _Fire(layer.squeeze, layer.expand, name=layer.name)(x)
                if isinstance(layer, Fire)
                else _Conv(*layer[2:], name=layer.name)(x)
            )
            if layer.tap in self.wanted:
                found[layer.tap] = x
        return {name: found[name] for name in self.wanted}


def _check(
    name: str, wanted: tuple[str, ...], pooling: str, shape: tuple[int, ...]
) -> None:
    known = taps(name)
    unknown = [tap for tap in wanted if tap not in known]
    if unknown:
        raise ValueError(f"{name} has no {unknown}, only {[*known]}")
    if pooling not in ("max", "l2"):
        raise ValueError(f"pooling is {pooling!r}, expected 'max' or 'l2'")
    if pooling == "max" and min(shape[1:3]) < MINIMUM_SIZE[name]:
        raise ValueError(
            f"{name} needs images of at least {MINIMUM_SIZE[name]} pixels, found "
            f"{shape[1]}x{shape[2]}"
        )


class _Conv(nn.Module):
    """Convolution with a bias, and ReLU."""

    filters: int
    size: int
    stride: int
    padding: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (self.size, self.size, x.shape[-1], self.filters)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape, jnp.float32)
        bias = self.param(
            "bias", nn.initializers.zeros_init(), (self.filters,), jnp.float32
        )
        pad = (self.padding, self.padding)
        y = convolution.convolve(
            x, kernel, (pad, pad), self.stride, precision=jax.lax.Precision.HIGHEST
        )
        return nn.relu(y + bias[None, None, None])


class _Fire(nn.Module):
    squeeze: int
    expand: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = _Conv(self.squeeze, 1, 1, 0, name="squeeze")(x)
        small = _Conv(self.expand, 1, 1, 0, name="expand1x1")(x)
        large = _Conv(self.expand, 3, 1, 1, name="expand3x3")(x)
        return jnp.concatenate([small, large], axis=-1)


def max_pool(
    x: Float[Array, "n h w c"], size: int, partial: bool = False
) -> Float[Array, "n _h _w c"]:
    """The largest of each window of `size` at every second position.

    Along one axis after the other, as a maximum of shifted arrays: the gradient of XLA's
    own pooling is slow on CPUs. Of equal values each gets its part of the gradient.

    Args:
      x: the values.
      size: of the windows, 2 or 3.
      partial: the last window may reach one beyond the edge (`ceil_mode`).
    """
    for axis in (1, 2):
        length = x.shape[axis]
        if partial and (length - size) % 2:
            edge = [(0, 0, 0)] * 4
            edge[axis] = (0, 1, 0)
            x = jax.lax.pad(x, jnp.float32(-jnp.inf), edge)
            length += 1
        last = (length - size) // 2 * 2
        shifted = [
            jax.lax.slice_in_dim(x, k, k + last + 1, 2, axis) for k in range(size)
        ]
        x = functools.reduce(jnp.maximum, shifted)
    return x


def l2_pool(x: Float[Array, "n h w c"]) -> Float[Array, "n _h _w c"]:
    """sqrt(smoothed x^2 + 1e-12) at every second position.

    Weights (1, 2, 1) / 4 along each axis, with a zero before and after.
    """
    x = jnp.square(x)
    for axis in (1, 2):
        edge = [(0, 0)] * 4
        edge[axis] = (1, 1)
        padded = jnp.pad(x, edge)
        last = (x.shape[axis] - 1) // 2 * 2
        a, b, c = (
            jax.lax.slice_in_dim(padded, k, k + last + 1, 2, axis) for k in range(3)
        )
        x = 0.25 * (a + c) + 0.5 * b
    return jnp.sqrt(x + _L2_OFFSET)


@functools.cache
def parameter_shapes(name: str) -> Mapping[str, tuple[int, ...]]:
    """Shape of each parameter of a whole backbone by its flat name, 'conv1/kernel'.

    Raises: ValueError for an unknown backbone.
    """
    size = 2 * MINIMUM_SIZE[name] if taps(name) else 0
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    backbone = Backbone(name, (list(taps(name))[-1],))
    shapes: Any = jax.eval_shape(backbone.init, jax.random.key(0), image)
    flat = flax.traverse_util.flatten_dict(shapes["params"], sep="/")
    return {key: value.shape for key, value in flat.items()}


def random_params(name: str, seed: int = 0) -> dict[str, Any]:
    """Random weights, the same on every platform: He's for kernels, small biases.

    For tests, and for losses on features that nobody trained.

    Raises: ValueError for an unknown backbone.
    """
    # RandomState, since NumPy promises that its stream never changes.
    random = np.random.RandomState(seed)
    flat = {}
    for key, shape in sorted(parameter_shapes(name).items()):
        deviation = np.sqrt(2 / np.prod(shape[:-1])) if len(shape) > 1 else 0.1
        flat[key] = (deviation * random.standard_normal(shape)).astype(np.float32)
    nested: dict[str, Any] = flax.traverse_util.unflatten_dict(flat, sep="/")
    return nested
