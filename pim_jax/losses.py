"""Distortions to train with: squared error, metrics by name, and weighted sums of them."""

import dataclasses
from collections.abc import Callable, Mapping

import jax.numpy as jnp
from jaxtyping import Array, Float

from pim_jax import loading
from pim_jax.metric import Metric
from pim_jax.ops import bounds

Comparison = Callable[[Array, Array], Float[Array, " n"]]


def squared_error(
    images: Float[Array, "n h w 3"], decoded: Float[Array, "n h w 3"]
) -> Float[Array, " n"]:
    """Mean squared error of each image on the scale 0..255; images in [0, 1]."""
    return jnp.mean(jnp.square(255 * (images - decoded)), (1, 2, 3))


def psnr(error: Float[Array, " n"]) -> Float[Array, " n"]:
    """PSNR in dB, of the `squared_error` of each image."""
    return 10 * jnp.log10(255**2 / error)


@dataclasses.dataclass(frozen=True)
class Distortion:
    """A weighted sum of metrics between images in [0, 1] and decoded ones: (n,).

    Equal ones are equal keys of `jax.jit`.

    Attributes:
      names: of the metrics.
      metrics: each (images, decoded) -> (n,).
      factors: what each is multiplied by.
      minimum_size: smallest height and width of the images in pixels.
    """

    names: tuple[str, ...]
    metrics: tuple[Comparison, ...]
    factors: tuple[float, ...]
    minimum_size: int = 1

    def __call__(self, images: Array, decoded: Array) -> Float[Array, " n"]:
        """The weighted sum."""
        return self.total(self.each(images, decoded))

    def each(self, images: Array, decoded: Array) -> dict[str, Float[Array, " n"]]:
        """Every metric by its name, without its weight."""
        values = (metric(images, decoded) for metric in self.metrics)
        return dict(zip(self.names, values, strict=True))

    def total(self, each: Mapping[str, Float[Array, " n"]]) -> Float[Array, " n"]:
        """The weighted sum of what `each` returned."""
        weighted = zip(self.factors, self.names, strict=True)
        return sum(factor * each[name] for factor, name in weighted)  # type: ignore


SQUARED_ERROR = Distortion(("mse",), (squared_error,), (1.0,))


@dataclasses.dataclass(frozen=True)
class _OfDecoded:
    """A metric of decoded images, which may be beyond [0, 1]."""

    metric: Metric

    def __call__(self, images: Array, decoded: Array) -> Float[Array, " n"]:
        return self.metric(images, bounds.unit_range(decoded))


def make_distortion(names: str, factors: tuple[float, ...]) -> Distortion:
    """The sum of metrics, each times its weight.

    Args:
      names: with commas; 'mse' is on the scale 0..255, any other is a metric of
        `pim_jax.load` on images clipped to [0, 1].
      factors: of each.

    Raises: ValueError for another number of factors than of names, or an unknown name or
      one that comes twice.
    """
    listed = metric_names(names)
    if len(listed) != len(factors):
        raise ValueError(
            f"objective.distortion has {len(listed)} names, {names!r}, but "
            f"objective.weights {tuple(factors)}"
        )
    loaded = {name: loading.load(name) for name in listed if name != "mse"}
    metrics: dict[str, Comparison] = {
        name: _OfDecoded(loaded[name]) if name in loaded else squared_error
        for name in listed
    }
    smallest = max([1, *(metric.minimum_size for metric in loaded.values())])
    return Distortion((*metrics,), (*metrics.values(),), tuple(factors), smallest)


def metric_names(names: str) -> list[str]:
    """The names in a list with commas; ValueError if one is empty or comes twice."""
    listed = names.split(",")
    if "" in listed or len(set(listed)) < len(listed):
        raise ValueError(
            "objective.distortion: expected different names with commas, found "
            f"{names!r}"
        )
    return listed
