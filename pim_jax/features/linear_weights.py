"""Distances of features with one weight for each channel, as in LPIPS.

Zhang, Isola, Efros, Shechtman & Wang 2018, https://arxiv.org/abs/1801.03924. Pure
functions of features by name, from any network: `backbones`, or the analysis transform of
a codec.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PRNGKeyArray

_RANKING = (5, 32, 32, 1)  # widths of the ranking network
_OFFSET = 1e-10  # added to the length, as in the published code

Features = Mapping[str, Float[Array, "n _h _w _c"]]
Heads = Mapping[str, Float[Array, " _c"]]


def unit_length(features: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """Features / (|features| + 1e-10) at every position; 0 where all are 0.

    The gradient is finite everywhere; at 0 it is defined as 0, where the published code
    has NaN.
    """
    squares = jnp.sum(jnp.square(features), axis=-1, keepdims=True)
    none = squares <= 0  # not so of NaN, which is passed on
    # Chosen before the root as well, whose slope at 0 is infinite.
    length = jnp.sqrt(jnp.where(none, 1.0, squares)) + _OFFSET
    return jnp.where(none, 0.0, features / length)


def difference_map(
    features_a: Float[Array, "n h w c"],
    features_b: Float[Array, "n h w c"],
    weight: Float[Array, " c"] | None = None,
) -> Float[Array, "n h w"]:
    """Sum over channels of weight * (difference of unit vectors)^2.

    Args:
      features_a, features_b: of one layer.
      weight: >= 0 for a distance; None for 1.
    """
    squares = jnp.square(unit_length(features_a) - unit_length(features_b))
    if weight is None:
        return jnp.sum(squares, axis=-1)
    return jnp.einsum(
        "nhwc,c->nhw", squares, weight, precision=jax.lax.Precision.HIGHEST
    )


def per_layer(
    features_a: Features,
    features_b: Features,
    heads: Heads | None,
    names: Sequence[str],
) -> Float[Array, "n k"]:
    """Mean over positions of the `difference_map` of each layer, in the order of `names`.

    Args:
      features_a, features_b: by name, of two batches of images.
      heads: the weights of each layer; None for 1.
      names: of the layers.
    """
    return jnp.stack(
        [
            jnp.mean(
                difference_map(
                    features_a[name], features_b[name], heads[name] if heads else None
                ),
                axis=(1, 2),
            )
            for name in names
        ],
        axis=1,
    )


def of_both(
    function: Callable[[Array], Features],
    image_a: Float[Array, "n h w 3"],
    image_b: Float[Array, "n h w 3"],
) -> tuple[Features, Features]:
    """The features of both batches from one pass: the convolutions see one batch."""
    n = len(image_a)
    found = function(jnp.concatenate([image_a, image_b]))
    return {k: v[:n] for k, v in found.items()}, {k: v[n:] for k, v in found.items()}


def distance(
    features_a: Features,
    features_b: Features,
    heads: Heads | None,
    names: Sequence[str],
) -> Float[Array, " n"]:
    """The sum of `per_layer`."""
    return jnp.sum(per_layer(features_a, features_b, heads, names), axis=1)


def spatial(
    features_a: Features,
    features_b: Features,
    heads: Heads | None,
    names: Sequence[str],
    size: tuple[int, int],
) -> Float[Array, "n h w"]:
    """The sum of the maps, each enlarged to `size` by bilinear interpolation.

    Equal to PyTorch's `interpolate(mode='bilinear', align_corners=False)`.
    """
    maps = [
        difference_map(
            features_a[name], features_b[name], heads[name] if heads else None
        )
        for name in names
    ]
    return sum(
        jax.image.resize(m, (len(m), *size), "linear", antialias=False) for m in maps
    )


def dropped(
    features_a: Features,
    features_b: Features,
    heads: Heads,
    names: Sequence[str],
    keys: Key[Array, " n"],
    rate: float,
) -> Float[Array, " n"]:
    """`distance` with dropout of the squared differences, as in training.

    Args:
      features_a, features_b, heads, names: as for `distance`.
      keys: (n,), one for each pair.
      rate: the share that is left out; what stays counts 1 / (1 - rate) times.
    """
    total = jnp.zeros(len(keys), jnp.float32)
    for k, name in enumerate(names):
        difference = unit_length(features_a[name]) - unit_length(features_b[name])
        shape = difference.shape[1:]
        stays = jax.vmap(
            lambda key, k=k, shape=shape: jax.random.bernoulli(
                jax.random.fold_in(key, k), 1 - rate, shape
            )
        )(keys)
        squares = jnp.where(stays, jnp.square(difference) / (1 - rate), 0.0)
        positions = jnp.mean(squares, axis=(1, 2))
        total = total + jnp.sum(positions * heads[name][None], axis=1)
    return total


def initial(key: PRNGKeyArray, channels: Mapping[str, int]) -> dict[str, Array]:
    """Random weights of each layer, uniform in [0, 1 / sqrt(c)].

    The published start is PyTorch's, which is symmetric around 0 and loses its negative
    half at the first projection.
    """
    return {
        name: jax.random.uniform(jax.random.fold_in(key, k), (c,), jnp.float32)
        / jnp.sqrt(jnp.float32(c))
        for k, (name, c) in enumerate(channels.items())
    }


def initial_ranking(key: PRNGKeyArray) -> dict[str, dict[str, Array]]:
    """Random weights of the ranking network, uniform as PyTorch's."""
    found = {}
    for k, (inputs, outputs) in enumerate(itertools.pairwise(_RANKING)):
        bound = 1 / inputs**0.5
        of_kernel, of_bias = jax.random.split(jax.random.fold_in(key, k))
        found[f"dense_{k}"] = {
            "kernel": jax.random.uniform(
                of_kernel, (inputs, outputs), jnp.float32, -bound, bound
            ),
            "bias": jax.random.uniform(of_bias, (outputs,), jnp.float32, -bound, bound),
        }
    return found


def ranking_logits(
    ranking: Mapping[str, Mapping[str, Array]],
    distance_0: Float[Array, " n"],
    distance_1: Float[Array, " n"],
) -> Float[Array, " n"]:
    """Log odds that a rater prefers image 1, from both distances to the reference.

    A network of widths 5-32-32-1 with leaky ReLU of slope 0.2, on (d0, d1, d0 - d1,
    d0 / (d1 + 0.1), d1 / (d0 + 0.1)), for it is only in training that distances need a
    scale.
    """
    d0, d1 = distance_0, distance_1
    x = jnp.stack([d0, d1, d0 - d1, d0 / (d1 + 0.1), d1 / (d0 + 0.1)], axis=-1)
    for k in range(len(_RANKING) - 1):
        layer = ranking[f"dense_{k}"]
        product = jnp.matmul(x, layer["kernel"], precision=jax.lax.Precision.HIGHEST)
        x = product + layer["bias"][None]
        if k < len(_RANKING) - 2:
            x = jax.nn.leaky_relu(x, 0.2)
    return x[:, 0]


def judgement_loss(
    logits: Float[Array, " n"], judge: Float[Array, " n"]
) -> Float[Array, " n"]:
    """Cross-entropy in nats of the share of raters who preferred image 1."""
    return jax.nn.softplus(logits) - judge * logits
