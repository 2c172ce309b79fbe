"""Distances of features with one weight for each channel, as in LPIPS.

Zhang, Isola, Efros, Shechtman & Wang 2018, https://arxiv.org/abs/1801.03924. Pure
functions of features by name, from any network: `backbones`, or the analysis transform of
a codec.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_OFFSET = 1e-10  # added to the length, as in the published code

Features = Mapping[str, Float[Array, "n _h _w _c"]]
Heads = Mapping[str, Float[Array, " _c"]]


def unit_length(features: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """Features / (|features| + 1e-10) at every position; 0 where all are 0.

    The gradient is finite everywhere; at 0 it is defined as 0, where the published code
    has NaN.
    """
    squares = jnp.sum(jnp.square(features), axis=-1, keepdims=True)
    some = squares > 0
    # Chosen before the root as well, whose slope at 0 is infinite.
    length = jnp.sqrt(jnp.where(some, squares, 1.0)) + _OFFSET
    return jnp.where(some, features / length, 0.0)


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
