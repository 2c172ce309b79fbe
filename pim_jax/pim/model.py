"""The networks of PIM: frontend, marginal encoder q(z|x), joint encoder p(z|x,y).

Bhardwaj, Fischer, Ballé & Chinen, "An Unsupervised Information-Theoretic Perceptual
Quality Metric", NeurIPS 2020, https://arxiv.org/abs/2006.06752.

    image --pyramid--> 8 levels --one CNN each--> features of 3 channels
      features of x       --marginal encoder--> q(z|x): mixture at every position
      features of x and y --joint encoder-----> p(z|x,y): Gaussian at every position

Two variants exist. `published` is the architecture of the released code and weights,
`paper` the one of the paper's Figure 2; `VARIANTS` says how they differ.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pim_jax.distributions import Mixture
from pim_jax.io.options import Options
from pim_jax.ops import pyramids
from pim_jax.ops.fast_cpu import convolution

Levels = tuple[Float[Array, "n _h _w c"], ...]


class Variant(NamedTuple):
    """What distinguishes the two published descriptions of PIM."""

    linear_output: bool  # a linear layer makes the means; else they end in a ReLU
    joint_layers: int
    components: int


VARIANTS = {
    # The released code creates a linear output layer and never calls it, so its means
    # are never negative; parity needs the same.
    "published": Variant(linear_output=False, joint_layers=2, components=5),
    "paper": Variant(linear_output=True, joint_layers=3, components=10),
}
FRONTENDS = ("steerable", "laplacian", "none")
PADDINGS = ("same", "valid")
DTYPES = ("float32", "bfloat16")


def _check_counts(options: dict[str, Any]) -> None:
    """ValueError unless whole numbers stand where they have to."""
    filters = options.get("filters", ())
    if not isinstance(filters, list | tuple):
        raise ValueError(f"model.filters must be a list, found {filters!r}")
    found = [("filters", count) for count in filters]
    for name in ("num_scales", "steerable_order", "z_dim", "mixtures"):
        # None stands for the variant's number of mixtures.
        if name in options and (name, options[name]) != ("mixtures", None):
            found.append((name, options[name]))
    for name, count in found:
        if not isinstance(count, int):
            raise ValueError(f"model.{name} must have whole numbers, found {count!r}")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The architecture; hashable, so that it can be a static argument.

    Attributes:
      frontend: 'steerable' (num_scales * (steerable_order + 1) + 2 levels), 'laplacian'
        (num_scales levels) or 'none' (the image itself, one level).
      num_scales: octaves of the pyramid.
      steerable_order: angular order of the steerable filters: 0, 1, 3 or 5.
      filters: output channels of each 5x5 convolution of a level's CNN.
      padding: 'same' or 'valid', for the pyramid and the CNNs.
      z_dim: latent components per position.
      mixtures: components of q(z|x) (1 makes PIM-1); None takes the variant's number.
      variant: 'published' or 'paper', see `VARIANTS`.
      dtype: of the convolutions and dense layers, 'float32' or 'bfloat16'. Parameters,
        pyramid and everything after the encoders stay float32. Accelerators multiply
        float32 with fewer bits by default; `jax.default_matmul_precision("float32")`
        around a call gives full precision.
    """

    frontend: str = "steerable"
    num_scales: int = 3
    steerable_order: int = 1
    filters: tuple[int, ...] = (64, 64, 64, 3)
    padding: str = "same"
    z_dim: int = 10
    mixtures: int | None = None
    variant: str = "published"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        """Raises ValueError naming the first option that is not one of the choices."""
        for name, value, choices in (
            ("frontend", self.frontend, FRONTENDS),
            ("variant", self.variant, tuple(VARIANTS)),
            ("padding", self.padding, PADDINGS),
            ("dtype", self.dtype, DTYPES),
            ("steerable_order", self.steerable_order, pyramids.STEERABLE_ORDERS),
        ):
            if value not in choices:
                raise ValueError(
                    f"model.{name} must be one of {choices}, found {value!r}"
                )
        if min(self.num_scales, self.z_dim, self.components, *self.filters) < 1:
            raise ValueError(
                "num_scales, z_dim, mixtures and every entry of filters must be at "
                f"least 1, found {self}"
            )

    @classmethod
    def from_dict(cls, options: Options) -> "ModelConfig":
        """The configuration with `options`.

        Raises: ValueError, which names an option that is unknown or has a wrong value.
        """
        given = dict(options)
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(given) - known)
        if unknown:
            raise ValueError(f"unknown model options {unknown}; known: {sorted(known)}")
        _check_counts(given)
        if "filters" in given:
            given["filters"] = tuple(given["filters"])
        return cls(**given)

    @property
    def components(self) -> int:
        """Components of the mixture q(z|x)."""
        if self.mixtures is None:
            return VARIANTS[self.variant].components
        return self.mixtures

    @property
    def num_levels(self) -> int:
        """Levels of the frontend."""
        if self.frontend == "steerable":
            return self.num_scales * (self.steerable_order + 1) + 2
        return self.num_scales if self.frontend == "laplacian" else 1

    @property
    def minimum_size(self) -> int:
        """Smallest height and width of an image for which every level has a pixel."""
        smallest = 1 if self.padding == "same" else 1 + 4 * len(self.filters)
        if self.frontend == "steerable":
            if self.padding == "same":
                return 2**self.num_scales
            return _valid_steerable_size(
                self.num_scales, self.steerable_order, smallest
            )
        if self.frontend == "laplacian":
            # Every octave but the last is cropped by two pixels on each side.
            size = smallest
            for _ in range(self.num_scales - 1):
                size = max(2 * size + 1, smallest + 4)
            return size
        return smallest


def _valid_steerable_size(num_scales: int, order: int, smallest: int) -> int:
    filters = pyramids.steerable_filters(order)
    band = filters["bands"].shape[1]
    band += 2 * ((band // 2) % 2)
    size = smallest
    for _ in range(num_scales):
        size = max(2 * (size - 1) + filters["lo"].shape[0], smallest + band - 1)
    border = max(filters["lo0"].shape[0], filters["hi0"].shape[0])
    return max(size + filters["lo0"].shape[0] - 1, smallest + border - 1)


def _convolve(image: Array, kernel: Array, strides: Any, padding: Any, **_: Any) -> Any:
    """As Flax calls `lax.conv_general_dilated`, without dilations and groups."""
    return convolution.convolve(image, kernel, padding)


class Cnn(nn.Module):
    """5x5 convolutions with ReLU between them; the last one is linear."""

    config: ModelConfig

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """(n, h, w, c) -> (n, h, w, filters[-1]); smaller with `valid` padding."""
        last = len(self.config.filters) - 1
        for i, channels in enumerate(self.config.filters):
            x = nn.Conv(
                channels,
                (5, 5),
                padding=self.config.padding.upper(),
                dtype=jnp.dtype(self.config.dtype),
                conv_general_dilated=_convolve,
                name=f"conv_{i}",
            )(x)
            x = x if i == last else nn.relu(x)
        return x


class MarginalEncoder(nn.Module):
    """q(z|x) at every position, from the features of x at one level."""

    config: ModelConfig

    @nn.compact
    def __call__(self, features: Array) -> Mixture:
        """(n, h, w, c) -> logits (n, h, w, m) and loc (n, h, w, m, z), float32."""
        config, variant = self.config, VARIANTS[self.config.variant]
        dtype = jnp.dtype(config.dtype)
        components, outputs = config.components, config.components * config.z_dim
        *places, _ = features.shape
        rows = _rows(features)
        h = rows
        for i in range(2):
            h = nn.relu(nn.Dense(outputs, dtype=dtype, name=f"base_{i}")(h))
        if variant.linear_output:
            h = nn.Dense(outputs, dtype=dtype, name="mean_layer")(h)
        loc = h.astype(jnp.float32).reshape(*places, components, config.z_dim)
        if components == 1:
            return Mixture(jnp.zeros(loc.shape[:-1], jnp.float32), loc)
        h = rows
        for i in range(2):
            h = nn.relu(nn.Dense(components, dtype=dtype, name=f"mix_{i}")(h))
        logits = nn.Dense(components, dtype=dtype, name="logit_layer")(h)
        return Mixture(logits.astype(jnp.float32).reshape(*places, components), loc)


class JointEncoder(nn.Module):
    """Mean of p(z|x,y) at every position: a network of x modulated by y."""

    config: ModelConfig

    @nn.compact
    def __call__(self, features_x: Array, features_y: Array) -> Array:
        """Two (n, h, w, c) -> (n, h, w, z), float32. Not symmetric in x and y."""
        units, dtype = self.config.z_dim, jnp.dtype(self.config.dtype)
        *places, _ = features_x.shape
        h, features_y = _rows(features_x), _rows(features_y)
        for i in range(VARIANTS[self.config.variant].joint_layers):
            h = nn.relu(nn.Dense(units, dtype=dtype, name=f"base_{i}")(h))
            h *= nn.Dense(units, dtype=dtype, name=f"base_cond_mul_{i}")(features_y)
            h += nn.Dense(units, dtype=dtype, name=f"base_cond_add_{i}")(features_y)
        return h.astype(jnp.float32).reshape(*places, units)


def _rows(x: Float[Array, "n h w c"]) -> Float[Array, "p c"]:
    """All positions as one axis.

    On CPUs, gradients of a dense layer's weights take less than half the time like this.
    """
    return x.reshape(-1, x.shape[-1])


class Frontend(nn.Module):
    """Pyramid, then one CNN with weights of its own for every level."""

    config: ModelConfig

    @nn.compact
    def __call__(self, image: Float[Array, "n h w 3"]) -> Levels:
        """Features of every level, coarsest level first."""
        return tuple(
            Cnn(self.config, name=f"cnns_{i}")(level)
            for i, level in enumerate(pyramid(self.config, image))
        )


def pyramid(config: ModelConfig, image: Float[Array, "n h w c"]) -> Levels:
    """The fixed decomposition that the CNNs see, coarsest level first."""
    if config.frontend == "steerable":
        return pyramids.steerable_pyramid(
            image, config.num_scales, config.steerable_order, config.padding
        )
    if config.frontend == "laplacian":
        return pyramids.laplacian_pyramid(image, config.num_scales)
    return (image,)


class LevelEncoders(nn.Module):
    """One encoder with weights of its own for every level."""

    config: ModelConfig
    encoder: type[MarginalEncoder] | type[JointEncoder]

    @nn.compact
    def __call__(self, *features: Levels) -> tuple[Any, ...]:
        """Applies encoder i to level i of every argument."""
        return tuple(
            self.encoder(self.config, name=f"encoders_{i}")(*level)
            for i, level in enumerate(zip(*features, strict=True))
        )


class Pim(nn.Module):
    """The three networks; training needs all, the metric the first two."""

    config: ModelConfig

    def setup(self) -> None:
        """Names as in the published checkpoints."""
        self.frontend = Frontend(self.config)
        self.marginal_encoder = LevelEncoders(self.config, MarginalEncoder)
        self.joint_encoder = LevelEncoders(self.config, JointEncoder)

    def __call__(self, image_x: Array, image_y: Array) -> tuple[Any, ...]:
        """q(z|x), q(z|y) and the means of p(z|x,y), each a tuple over levels.

        Args:
          image_x, image_y: (n, h, w, 3) float32 in [0, 1], sRGB.
        """
        n = image_x.shape[0]
        features = self.frontend(jnp.concatenate([image_x, image_y]))
        features_x = tuple(level[:n] for level in features)
        features_y = tuple(level[n:] for level in features)
        marginals = self.marginal_encoder(features)
        marginal_x = tuple(jax.tree.map(lambda a: a[:n], m) for m in marginals)
        marginal_y = tuple(jax.tree.map(lambda a: a[n:], m) for m in marginals)
        return marginal_x, marginal_y, self.joint_encoder(features_x, features_y)

    def features(self, image: Array) -> Levels:
        """The frontend's output, coarsest level first."""
        return self.frontend(image)

    def represent(self, image: Array) -> tuple[Mixture, ...]:
        """q(z|x) at every level, coarsest level first."""
        return self.marginal_encoder(self.frontend(image))


def positions(levels: Sequence[Any], repeats: Sequence[int] = ()) -> Any:
    """One axis for the positions of all levels: arrays (n, h, w, ...) -> (n, p, ...).

    Args:
      levels: pytrees of one structure, with leaves (n, h, w, ...), such as mixtures.
      repeats: how often level i occurs; once if left out.
    """
    repeats = repeats or [1] * len(levels)

    def flat(x: Array, repeat: int) -> Array:
        x = x.reshape(x.shape[0], x.shape[1] * x.shape[2], *x.shape[3:])
        return jnp.concatenate([x] * repeat, axis=1) if repeat > 1 else x

    rows = [
        jax.tree.map(lambda x, r=r: flat(x, r), level)
        for level, r in zip(levels, repeats, strict=True)
    ]
    return jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), *rows)


def position_weights(sizes: Sequence[int]) -> Float[Array, " p"]:
    """Weights with which a sum over `positions` is the mean over levels of level means.

    Args:
      sizes: number of positions of each level.
    """
    weights = np.concatenate([np.full(size, 1 / (len(sizes) * size)) for size in sizes])
    return jnp.asarray(weights, jnp.float32)


def param_shapes(config: ModelConfig) -> dict[str, Any]:
    """Shapes and dtypes of all weights, as a nested dictionary."""
    size = max(16, config.minimum_size)
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    variables = jax.eval_shape(Pim(config).init, jax.random.key(0), image, image)
    shapes: dict[str, Any] = variables["params"]
    return shapes
