"""The distance of PIM, and the metric that holds its weights.

The distance is the symmetrised KL divergence between q(z|a) and q(z|b) at every position,
averaged over space, then over pyramid levels (Bhardwaj et al. 2020,
https://arxiv.org/abs/2006.06752).
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from pim_jax import distributions
from pim_jax.distributions import Mixture
from pim_jax.metric import Images, Metric, check_images, compiled, on_device
from pim_jax.ops import bounds
from pim_jax.pim.initialization import init_params
from pim_jax.pim.model import ModelConfig, Pim, position_weights, positions

Representation = tuple[Mixture, ...]

# The deterministic estimate uses the same fixed noise for every pair of images.
_NOISE_SEED = 20061
# A position has noise of its own, so that errors average out over a map. Maps with fewer
# positions than this are repeated, each time with other noise.
POINTS = 4096
# Distances, in nats, for which the more precise estimate has lost its digits to rounding.
_ROUNDED = 1e-4


@dataclasses.dataclass(frozen=True)
class PimFunction:
    """`distance` of one architecture; equal architectures are equal functions."""

    config: ModelConfig
    points: int = POINTS

    def __call__(self, params: Any, image_a: Array, image_b: Array) -> Array:
        """See `distance`."""
        return distance(params, image_a, image_b, self.config, self.points)


@dataclasses.dataclass(frozen=True)
class _Represent:
    """`represent` of images that may have any values, for one architecture."""

    config: ModelConfig

    def __call__(self, params: Any, image: Array) -> Representation:
        return represent(params, bounds.unit_range(image), self.config)


@dataclasses.dataclass(frozen=True)
class _Compare:
    """`compare` with so many points."""

    points: int

    def __call__(self, params: None, a: Representation, b: Representation) -> Array:
        del params
        return compare(a, b, self.points)


@dataclasses.dataclass(frozen=True)
class _Estimate:
    """The published estimate, for one architecture and number of samples."""

    config: ModelConfig
    samples: int

    def __call__(
        self, params: Any, image_a: Array, image_b: Array, key: PRNGKeyArray
    ) -> Array:
        image_a, image_b = bounds.unit_range(image_a), bounds.unit_range(image_b)
        a, b = _represent_both(params, image_a, image_b, self.config)
        return compare_sampled(a, b, key=key, samples=self.samples)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class PimMetric(Metric):
    """PIM: `Metric` with access to the representation."""

    @property
    def config(self) -> ModelConfig:
        """The architecture."""
        return self.function.config  # type: ignore[attr-defined]

    def represent(self, image: Images) -> Representation:
        """q(z|image) at every level, coarsest first: logits (n, h, w, m), loc (…, m, z).

        Same requirements for the image as for calling the metric.
        """
        (image,) = check_images(image, minimum_size=self.minimum_size)
        found: Representation = compiled(_Represent(self.config), self.params, image)
        return found

    def compare(self, a: Representation, b: Representation) -> Float[Array, " n"]:
        """Distance of each pair of representations; equal to calling the metric."""
        points: int = self.function.points  # type: ignore[attr-defined]
        distance: Array = compiled(_Compare(points), None, a, b)
        return distance

    def with_points(self, points: int) -> "PimMetric":
        """The same metric with a more, or less, precise distance of mixtures.

        Args:
          points: of the fixed noise, in each pyramid level; at least one a position is
            used. Time and memory grow with it, the error falls with its square root.
            `docs/distance.md` has figures.
        Raises: ValueError below 1.
        """
        if points < 1:
            raise ValueError(f"points must be at least 1, found {points}")
        return dataclasses.replace(self, function=PimFunction(self.config, points))

    def estimate(
        self,
        image_a: Images,
        image_b: Images,
        *,
        key: PRNGKeyArray,
        samples: int = 1,
    ) -> Float[Array, " n"]:
        """The published Monte Carlo estimate; see `compare_sampled`."""
        images = check_images(image_a, image_b, minimum_size=self.minimum_size)
        function = _Estimate(self.config, samples)
        found: Array = compiled(function, self.params, *images, key)
        return found


def pim_metric(params: Any, config: ModelConfig, name: str) -> PimMetric:
    """The metric with these weights. Weights of the joint encoder are left out."""
    used = {k: v for k, v in params.items() if k != "joint_encoder"}
    return PimMetric(on_device(used), PimFunction(config), name, config.minimum_size)


def untrained(config: ModelConfig, seed: int = 0) -> PimMetric:
    """The metric with the random weights that training with `seed` starts from."""
    return pim_metric(
        init_params(config, jax.random.key(seed)), config, f"untrained-{seed}"
    )


def distance(
    params: Any,
    image_a: Float[Array, "n h w 3"],
    image_b: Float[Array, "n h w 3"],
    config: ModelConfig,
    points: int = POINTS,
) -> Float[Array, " n"]:
    """PIM distance of each pair, >= 0, symmetric, 0 for identical images.

    Nothing is checked here; `Metric` does that.

    Args:
      params: nested dictionary as made by `pim_jax.pim.initialization.init_params`.
      image_a, image_b: float32 in [0, 1], sRGB.
      config: the architecture (static under jit).
      points: see `PimMetric.with_points` (static under jit).
    """
    found = compare(*_represent_both(params, image_a, image_b, config), points)
    return bounds.zero_where_equal(found, image_a, image_b)


def represent(params: Any, image: Array, config: ModelConfig) -> Representation:
    """q(z|image) at every level; see `PimMetric.represent`."""
    levels: Any = Pim(config).apply({"params": params}, image, method=Pim.represent)
    return levels


def _represent_both(
    params: Any, image_a: Array, image_b: Array, config: ModelConfig
) -> tuple[Representation, Representation]:
    # One pass over both: the convolutions see one batch.
    n = image_a.shape[0]
    both = represent(params, jnp.concatenate([image_a, image_b]), config)
    return jax.tree.map(lambda x: x[:n], both), jax.tree.map(lambda x: x[n:], both)


def compare(
    a: Representation, b: Representation, points: int = POINTS
) -> Float[Array, " n"]:
    """Distance of each pair of representations.

    One component: the mean over positions and the z components of the squared
    difference of means, averaged over levels. That is the published distance, and the
    symmetrised KL divergence divided by z_dim.

    Several components: the symmetrised KL divergence in nats, averaged over positions,
    then over levels, by the two estimates of `distributions.symmetrised_kl` with fixed
    noise: deterministic, symmetric, differentiable, never negative, exactly 0 for
    identical representations. `docs/distance.md` has its error and cost.

    Args:
      a, b: as from `represent`.
      points: of the noise, in each level; at least one a position.
    """
    if a[0].loc.shape[-2] == 1:
        levels = [
            jnp.mean(jnp.square(p.loc - q.loc), axis=(1, 2, 3, 4))
            for p, q in zip(a, b, strict=True)
        ]
        return jnp.mean(jnp.stack(levels), axis=0)
    counts = [level.logits.shape[1] * level.logits.shape[2] for level in a]
    repeats = [-(-points // count) for count in counts]
    sizes = [r * count for r, count in zip(repeats, counts, strict=True)]
    kl = distributions.symmetrised_kl(
        positions(a, repeats),
        positions(b, repeats),
        _fixed_noise(sum(sizes), a[0].loc.shape[-1]),
    )
    weights = position_weights(sizes)[None]
    return _combine(*(jnp.sum(estimate * weights, axis=1) for estimate in kl))


def _combine(difference: Array, non_negative: Array) -> Array:
    """The precise estimate, kept above zero; the other one for very small distances."""
    correction = difference - non_negative
    half = 0.5 * non_negative
    resolved = non_negative / (non_negative + _ROUNDED)
    return non_negative + resolved * jnp.clip(correction, -half, half)


def compare_sampled(
    a: Representation, b: Representation, *, key: PRNGKeyArray, samples: int = 1
) -> Float[Array, " n"]:
    """The published estimate: unbiased, noisy, possibly negative.

    Its gradient ignores how the samples depend on the weights of the mixture; use the
    default distance as a loss. For one component it is the closed form, without noise.
    """
    if a[0].loc.shape[-2] == 1:
        return compare(a, b)
    levels = [
        jnp.mean(
            distributions.sampled_symmetrised_kl(
                jax.random.fold_in(key, level), p, q, samples
            ),
            axis=(1, 2),
        )
        for level, (p, q) in enumerate(zip(a, b, strict=True))
    ]
    return jnp.mean(jnp.stack(levels), axis=0)


def _fixed_noise(count: int, z_dim: int) -> Float[Array, "1 p z"]:
    """A standard normal point for each position."""
    # The barrier keeps XLA from storing the repeated table in the program.
    table = jax.lax.optimization_barrier(jnp.asarray(_noise_table(z_dim)))
    return jnp.resize(table, (1, count, z_dim))  # repeats the rows of the table


@functools.cache
def _noise_table(z_dim: int) -> np.ndarray:
    # RandomState, since NumPy promises that its stream never changes. A prime number of
    # rows, so that rows of the table and rows of a map do not fall into step.
    random = np.random.RandomState(_NOISE_SEED)
    return random.standard_normal((8191, z_dim)).astype(np.float32)
