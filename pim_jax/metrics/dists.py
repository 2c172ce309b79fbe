"""DISTS: similarity of structure and of texture between features of VGG-16.

Ding, Ma, Wang & Simoncelli 2020, https://arxiv.org/abs/2004.07728. Equal to the package
`DISTS-pytorch` 0.1 within 1e-5. The layers are the image itself and five of VGG-16, with
L2 pooling in place of max pooling; each channel is known by its global mean and variance,
and by the covariance of the two images.

The published module never resizes; its command line, and some other libraries, shrink
large images first (`resized`), so published values of one pair differ.

The weights of the channels are in this package, those of VGG-16 come from the cache or
the network, or from a file: `pim_jax.load("dists", weights=PATH)`.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pim_jax.features import torchvision
from pim_jax.features.backbones import Backbone, normalise, taps
from pim_jax.io import files, npz
from pim_jax.metric import Metric, on_device
from pim_jax.metrics.about import ABOUT
from pim_jax.ops import bounds

_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
_C1 = _C2 = 1e-6
SHORT_SIDE = 256  # what `resized` shrinks to


def features(params: Any, image: Float[Array, "n h w 3"]) -> list[Array]:
    """The image in [0, 1] and the five layers, (n, h', w', c) each."""
    backbone = Backbone("vgg16", _LAYERS, pooling="l2")
    found: Any = backbone.apply({"params": params}, normalise(image))
    return [image, *(found[name] for name in _LAYERS)]


def _dissimilarities(
    x: Float[Array, "n h w c"], y: Float[Array, "n h w c"]
) -> tuple[Float[Array, "n c"], Float[Array, "n c"]]:
    """1 - S1 and 1 - S2 of the paper.

    Written without differences of large numbers, so that both are 0 for equal
    features: 1 - S1 = (mx - my)^2 / (mx^2 + my^2 + c1), and 1 - S2 = var(x - y) /
    (var x + var y + c2).
    """
    mean_x, mean_y = (jnp.mean(v, axis=(1, 2), keepdims=True) for v in (x, y))
    x, y = x - mean_x, y - mean_y
    between = jnp.mean(jnp.square(x - y), axis=(1, 2))
    variances = jnp.mean(jnp.square(x) + jnp.square(y), axis=(1, 2))
    mean_x, mean_y = mean_x[:, 0, 0], mean_y[:, 0, 0]
    means = jnp.square(mean_x) + jnp.square(mean_y)
    return (
        jnp.square(mean_x - mean_y) / (means + _C1),
        between / (variances + _C2),
    )


def _distance(params: Any, image_a: Array, image_b: Array) -> Array:
    n = image_a.shape[0]
    both = features(params["backbone"], jnp.concatenate([image_a, image_b]))
    parts = [_dissimilarities(layer[:n], layer[n:]) for layer in both]
    texture, structure = (jnp.concatenate(p, axis=1) for p in zip(*parts, strict=True))
    alpha, beta = params["alpha"], params["beta"]
    total = jnp.sum(alpha) + jnp.sum(beta)
    distance = jnp.sum(
        texture * (alpha / total)[None] + structure * (beta / total)[None], axis=1
    )
    return bounds.zero_where_equal(distance, image_a, image_b)


def resized(image: Float[Array, "n h w 3"]) -> Float[Array, "n h2 w2 3"]:
    """Images with a short side above 256 pixels, shrunk to 256; others as they are.

    Antialiased bilinear, as Pillow does it, but without rounding to 8 bits: what the
    published command line does before DISTS. The long side is rounded down.
    """
    n, height, width, channels = image.shape
    short = min(height, width)
    if short <= SHORT_SIDE:
        return image
    size = (height * SHORT_SIDE // short, width * SHORT_SIDE // short)
    return jax.image.resize(image, (n, *size, channels), "linear", antialias=True)


def metric(
    backbone: Mapping[str, Any],
    alpha: Any | None = None,
    beta: Any | None = None,
) -> Metric:
    """DISTS with these weights of VGG-16.

    Args:
      backbone: as from `features.torchvision.load` or `backbones.random_params`.
      alpha, beta: (1475,) weights of texture and of structure, >= 0, in the order of the
        layers; the published ones if None. They are divided by their sum.

    Raises:
      ValueError: weights of another shape, or negative ones.
    """
    count = 3 + sum(taps("vgg16")[name] for name in _LAYERS)
    weights = dict(_packaged())
    for name, given in (("alpha", alpha), ("beta", beta)):
        if given is not None:
            weights[name] = np.asarray(given, np.float32)
        if weights[name].shape != (count,) or not (weights[name] >= 0).all():
            raise ValueError(
                f"{name} must be >= 0 and of shape ({count},), found shape "
                f"{weights[name].shape}"
            )
    about = ABOUT["dists"]
    return Metric(
        params=on_device({"backbone": backbone, **weights}),
        function=_distance,
        name="dists",
        minimum_size=about.minimum_size,
        version=about.version,
    )


@functools.cache
def _packaged() -> dict[str, np.ndarray]:
    return npz.read(files.packaged("pim_jax.metrics", "packaged", "dists.npz"))


def load_dists(weights: str | Path | None = None) -> Metric:
    """The metric `dists`. `weights`: of VGG-16, as for `features.torchvision.load`."""
    return metric(torchvision.load("vgg16", weights))
