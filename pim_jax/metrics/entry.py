"""An entry of the table METRICS: all that is known of a metric without loading it."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from pim_jax.metric import Metric


@dataclasses.dataclass(frozen=True)
class Entry:
    """One metric of the table; called, it loads the metric.

    Attributes:
      name: key in METRICS, in lower case with hyphens.
      load: from a path of weights, or None for the metric's own, to the metric.
      reference: the implementation with equal values, or the paper.
      smallest, largest: bounds of the distance.
      minimum_size: least height and width in pixels.
      version: changes whenever values do, so that tables can be compared.
      differentiable: False where the gradient is zero or undefined almost everywhere.
      thresholded: differences below a threshold have distance and gradient 0.
      sees_negative: False where an image and its negative are at distance 0.
      decibels: a person reads -10 log10 of the distance, in dB.
      backbone: the classifier whose weights it needs, a key of `torchvision.FILES`; None
        where it needs none.
      file: another project's file of weights that is never fetched and has to be given;
        empty where there is none.
      is_cached: whether the weights that are fetched on first use are in the cache; None
        where none are fetched.
    """

    name: str
    load: Callable[[str | Path | None], Metric]
    reference: str
    smallest: float = 0.0
    largest: float = float("inf")
    minimum_size: int = 1
    version: str = "1"
    differentiable: bool = True
    thresholded: bool = False
    sees_negative: bool = True
    decibels: bool = False
    backbone: str | None = None
    file: str = ""
    is_cached: Callable[[], bool] | None = None

    def __call__(self, weights: str | Path | None = None) -> Metric:
        """The metric.

        Args:
          weights: a file or folder to take weights from, in place of the packaged or
            cached ones.

        Raises:
          ValueError: the metric has no weights, or these do not fit or are damaged.
          FileNotFoundError: no such path, or its own weights cannot be had.
        """
        return self.load(weights)

    @property
    def needs_download(self) -> bool:
        """Whether its weights are elsewhere until they are fetched or given."""
        return self.is_cached is not None or bool(self.file)

    @property
    def weights(self) -> str:
        """The weights that it needs besides those of the package, and where they are."""
        if self.file:
            return f"{self.file}, to be given"
        if self.is_cached is None:
            return "none needed"
        where = "in the cache" if self.is_cached() else "downloaded on first use"
        return f"{self.backbone} {where}" if self.backbone else where
