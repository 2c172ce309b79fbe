"""PIM's distance in TensorFlow, the yardstick for speed; used where it is installed.

Written from the description of the published code, to do what it does: one pass for
each image, the pyramid by depthwise convolutions, the divergence of mixtures by one
random sample. TensorFlow is imported inside of functions.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from pim_jax.ops import pyramids
from pim_jax.pim.model import ModelConfig

Distance = Callable[[Any, Any], Any]


def make(params: Any, config: ModelConfig) -> Distance:
    """The distance, compiled by `tf.function`.

    Args:
      params: as for `pim_jax.metric.distance`.
      config: the steerable pyramid of the variant 'published'; else ValueError.
    Returns: (image_a, image_b) -> (n,) tensor; images are float32 (n, h, w, 3).
    """
    import tensorflow as tf

    weights = _weights(params, config)

    def distance(image_a: Any, image_b: Any) -> Any:
        a, b = (
            _represent(weights, _frontend(weights, image, config), config)
            for image in (image_a, image_b)
        )
        levels = [_compare(p, q) for p, q in zip(a, b, strict=True)]
        return tf.add_n(levels) / len(levels)

    return tf.function(distance)


def frontend(params: Any, config: ModelConfig, image: np.ndarray) -> list[np.ndarray]:
    """The features of every level, coarsest first, for the comparison with ours."""
    levels = _frontend(_weights(params, config), image, config)
    return [level.numpy() for level in levels]


def _weights(params: Any, config: ModelConfig) -> Any:
    import tensorflow as tf

    if config.frontend != "steerable" or config.variant != "published":
        raise ValueError(
            "only the published variant with the steerable pyramid is written in "
            f"TensorFlow, found {config}"
        )
    return jax.tree.map(lambda leaf: tf.constant(np.asarray(leaf)), params)


def _depthwise(maps: Any, kernel: np.ndarray, stride: int = 1) -> Any:
    """Correlates every channel with a kernel, zeros beyond the border."""
    import tensorflow as tf

    taps = np.repeat(kernel[:, :, None, None], maps.shape[-1], axis=2)
    # Strided `SAME` would centre kernels differently on even and odd sizes.
    radius = kernel.shape[0] // 2
    border = [[0, 0], [radius, radius], [radius, radius], [0, 0]]
    if stride == 1:
        return tf.nn.depthwise_conv2d(maps, taps, [1, 1, 1, 1], "SAME")
    maps = tf.pad(maps, border)
    return tf.nn.depthwise_conv2d(maps, taps, [1, stride, stride, 1], "VALID")


def _pyramid(image: Any, config: ModelConfig) -> list[Any]:
    """The steerable pyramid, coarsest level first."""
    filters = pyramids.steerable_filters(config.steerable_order)
    levels = [_depthwise(image, filters["hi0"])]
    low = _depthwise(image, filters["lo0"])
    for _ in range(config.num_scales):
        levels += [_depthwise(low, band) for band in filters["bands"]]
        low = _depthwise(low, filters["lo"], stride=2)
    return [low, *reversed(levels)]


def _frontend(weights: Any, image: Any, config: ModelConfig) -> list[Any]:
    import tensorflow as tf

    features = []
    for i, level in enumerate(_pyramid(image, config)):
        h = level
        for j in range(len(config.filters)):
            layer = weights["frontend"][f"cnns_{i}"][f"conv_{j}"]
            h = tf.nn.conv2d(h, layer["kernel"], 1, config.padding.upper())
            h = tf.nn.bias_add(h, layer["bias"])
            h = h if j == len(config.filters) - 1 else tf.nn.relu(h)
        features.append(h)
    return features


def _represent(weights: Any, features: list[Any], config: ModelConfig) -> list[Any]:
    """(logits, loc) of every level; logits are None for one component."""
    import tensorflow as tf

    m, z = config.components, config.z_dim
    levels = []
    for i, level in enumerate(features):
        encoder = weights["marginal_encoder"][f"encoders_{i}"]
        loc = _dense(encoder["base_1"], _dense(encoder["base_0"], level))
        loc = tf.reshape(loc, tf.concat([tf.shape(level)[:-1], [m, z]], axis=0))
        logits = None
        if m > 1:
            h = _dense(encoder["mix_1"], _dense(encoder["mix_0"], level))
            logits = _dense(encoder["logit_layer"], h, linear=True)
        levels.append((logits, loc))
    return levels


def _dense(layer: Any, h: Any, linear: bool = False) -> Any:
    import tensorflow as tf

    h = tf.nn.bias_add(tf.tensordot(h, layer["kernel"], 1), layer["bias"])
    return h if linear else tf.nn.relu(h)


def _compare(p: Any, q: Any) -> Any:
    """The published distance of one level: closed form, or one random sample."""
    import tensorflow as tf

    if p[0] is None:
        return tf.reduce_mean(tf.math.squared_difference(p[1], q[1]), axis=[1, 2, 3, 4])
    z_p, z_q = _sample(p), _sample(q)
    ratio = (
        _log_prob(p, z_p) - _log_prob(q, z_p) + _log_prob(q, z_q) - _log_prob(p, z_q)
    )
    return tf.reduce_mean(ratio, axis=[1, 2])


def _sample(p: Any) -> Any:
    import tensorflow as tf

    logits, loc = p
    m = loc.shape[-2]
    component = tf.random.categorical(tf.reshape(logits, [-1, m]), 1)
    component = tf.reshape(component, tf.shape(logits)[:-1])
    chosen = tf.gather(loc, component, axis=-2, batch_dims=3)
    return chosen + tf.random.normal(tf.shape(chosen))


def _log_prob(p: Any, z: Any) -> Any:
    import tensorflow as tf

    logits, loc = p
    squared = tf.reduce_sum(tf.math.squared_difference(z[..., None, :], loc), axis=-1)
    terms = tf.nn.log_softmax(logits) - 0.5 * squared
    constant = 0.5 * loc.shape[-1] * np.log(2 * np.pi)
    return tf.reduce_logsumexp(terms, axis=-1) - constant
