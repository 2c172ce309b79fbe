"""What an architecture is made of; the published ones by name."""

import dataclasses
import enum
import math
from typing import Any, Literal

from pim_jax.io.options import Options

# Of the published mean-scale models, low rate to high: CompressAI's eight qualities.
LAMBDAS = (0.0018, 0.0035, 0.0067, 0.0130, 0.0250, 0.0483, 0.0932, 0.1800)


class Storage(enum.Enum):
    """How weights are stored, once they are trained."""

    HALF = "16 bits"
    BYTES = "8 bits, with a step for each column of a matrix"
    INTEGERS = "by integers that are made of them as they are"


# Of the dither: each has a table for every scale.
_MOST_LEVELS = 63


@dataclasses.dataclass(frozen=True)
class CodecConfig:
    """The architecture of a codec.

    Attributes:
      transforms: 'bls2017' (three stages, kernels of 9, 5, 5) or 'bmshj2018' (four, of 5).
        Both divide height and width by 16.
      filters: channels inside the transforms and of the hyperprior's latents (N).
      latents: channels of the latents (M).
      centre: subtracted from images before the analysis, added after the synthesis. The
        middle of the range lets training begin at a grey image; CompressAI has 0.
      normalization: 'simplified' or 'original' GDN, see `layers.Gdn`.
      prior: 'factorized': each channel has one distribution; 'scale': a normal
        distribution whose scale is predicted from hyper latents; 'mean_scale': its mean
        as well.
      hyper: how scales are predicted. 'integer': by a network of integers, the same on
        every device (see `integer`). 'index': by floating point numbers, an index into
        the scales. 'scale': the scale itself, as in CompressAI; rounded up to code.
      hyper_activation: between the layers of the hyperprior's float networks.
      factorized_filters: hidden widths of the factorized prior.
      offsets: whether a learned number for each channel is added to the integers that
        the factorized prior codes, before anything reads them, as CompressAI's medians.
      dither: 0: latents are rounded. Else universal quantisation: they are rounded at one
        of so many offsets (tensorflow-compression has 15), which a fixed draw chooses for
        each. Then what the synthesis sees has the uniform noise of training with 'noise'.
      lambdas: the Lagrangian weights of the rates, in units of squared error on the scale
        0..255, ascending. One: a codec for one rate. Several: the latents are multiplied
        by gains that are learned for each, and interpolated in between.
    """

    transforms: Literal["bls2017", "bmshj2018"] = "bmshj2018"
    filters: int = 128
    latents: int = 192
    centre: float = 0.5
    normalization: Literal["simplified", "original"] = "simplified"
    prior: Literal["factorized", "scale", "mean_scale"] = "mean_scale"
    hyper: Literal["integer", "index", "scale"] = "integer"
    hyper_activation: Literal["relu", "leaky_relu"] = "relu"
    factorized_filters: tuple[int, ...] = (3, 3)
    offsets: bool = False
    dither: int = 0
    lambdas: tuple[float, ...] = LAMBDAS

    def __post_init__(self) -> None:
        self._among("transforms", self.transforms, ("bls2017", "bmshj2018"))
        self._among("normalization", self.normalization, ("simplified", "original"))
        self._among("prior", self.prior, ("factorized", "scale", "mean_scale"))
        self._among("hyper", self.hyper, ("integer", "index", "scale"))
        self._among("hyper_activation", self.hyper_activation, ("relu", "leaky_relu"))
        sizes = {"filters": self.filters, "latents": self.latents}
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f"model.{name} is {value}, expected >= 1")
        if any(width < 1 for width in self.factorized_filters):
            raise ValueError(
                f"model.factorized_filters is {self.factorized_filters}, expected >= 1"
            )
        if not 0 <= self.dither <= _MOST_LEVELS:
            raise ValueError(
                f"model.dither is {self.dither}, expected 0 to {_MOST_LEVELS} levels"
            )
        if self.offsets and self.hyper == "integer" and self.prior != "factorized":
            raise ValueError("model.offsets: an integer hyper-synthesis reads integers")
        rising = all(
            a < b for a, b in zip(self.lambdas, self.lambdas[1:], strict=False)
        )
        finite = all(0 < value < math.inf for value in self.lambdas)
        if not self.lambdas or not finite or not rising:
            raise ValueError(
                f"model.lambdas is {self.lambdas}, expected positive and ascending"
            )

    def to_dict(self) -> dict[str, Any]:
        """As numbers and text, for JSON."""
        return dataclasses.asdict(self)

    def identity(self) -> dict[str, Any]:
        """All that differs from the defaults, for the fingerprint.

        So a new option leaves the fingerprints of older codecs alone.
        """
        default = CodecConfig().to_dict()
        fields = self.to_dict().items()
        return {name: value for name, value in fields if value != default[name]}

    def __str__(self) -> str:
        """In a line."""
        keys = ("transforms", "filters", "latents", "prior", "hyper")
        return ", ".join(f"{key} {getattr(self, key)}" for key in keys)

    def storage(self, name: str) -> Storage:
        """How the weights of this name are stored."""
        del name
        return Storage.HALF

    @staticmethod
    def _among(name: str, value: str, allowed: tuple[str, ...]) -> None:
        if value not in allowed:
            raise ValueError(f"model.{name} is {value!r}, expected one of {allowed}")

    @classmethod
    def from_dict(cls, values: Options) -> "CodecConfig":
        """From a config's `model` block or a JSON object.

        Raises:
          ValueError: an unknown key, or a value that is not allowed.
        """
        given = dict(values)
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(given) - known)
        if unknown:
            raise ValueError(f"model has no {unknown}, only {sorted(known)}")
        lists = ("factorized_filters", "lambdas")
        chosen: dict[str, Any] = {
            key: tuple(value) if key in lists else value for key, value in given.items()
        }
        return cls(**chosen)


MODELS = {
    # Ballé, Laparra & Simoncelli 2017, https://arxiv.org/abs/1611.01704
    "bls2017": CodecConfig(
        transforms="bls2017", latents=128, prior="factorized", lambdas=(0.0130,)
    ),
    # Ballé, Minnen, Singh, Hwang & Johnston 2018, https://arxiv.org/abs/1802.01436
    "bmshj2018-factorized": CodecConfig(prior="factorized", lambdas=(0.0130,)),
    "bmshj2018-hyperprior": CodecConfig(prior="scale", lambdas=(0.0130,)),
    # Minnen, Ballé & Toderici 2018, https://arxiv.org/abs/1809.02736, without context
    "mbt2018-mean": CodecConfig(),
}
