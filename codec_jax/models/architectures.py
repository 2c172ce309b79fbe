"""From a configuration to the networks of a codec: the one place that knows them all."""

import functools
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from codec_jax.models import bls2017, bmshj2018, mbt2018, quadtree
from codec_jax.models import config as config_module
from codec_jax.models.codec import Codec
from codec_jax.models.config import CodecConfig, Storage
from codec_jax.models.quadtree import QuadtreeConfig
from pim_jax.io.options import Options


@runtime_checkable
class Architecture(Protocol):
    """A configuration: frozen, hashable, and enough to make the networks.

    Attributes:
      lambdas: the Lagrangian weights of the rates, ascending.
      latents: channels of the latents.
    """

    @property
    def lambdas(self) -> tuple[float, ...]:
        """See the class."""

    @property
    def latents(self) -> int:
        """See the class."""

    def __hash__(self) -> int:
        """Of a frozen dataclass."""

    def to_dict(self) -> dict[str, Any]:
        """As numbers and text, for JSON; `from_dict` reads it."""

    def identity(self) -> dict[str, Any]:
        """What the fingerprint of a codec covers besides weights."""

    def storage(self, name: str) -> Storage:
        """How the weights of this name are stored."""


TRANSFORMS = {
    "bls2017": bls2017.transform_pair,
    "bmshj2018": bmshj2018.transform_pair,
}
LATENT_CODECS = {
    "factorized": bls2017.latent_codec,
    "scale": bmshj2018.latent_codec,
    "mean_scale": mbt2018.latent_codec,
}


def transform_codec(config: CodecConfig) -> Codec:
    """Networks of a transform codec of 2017 and 2018."""
    analysis, synthesis = TRANSFORMS[config.transforms](config)
    latents: Any = LATENT_CODECS[config.prior](config)
    return Codec(analysis, synthesis, latents, config.lambdas)


# By the key 'architecture' of `to_dict`: the configuration, and its networks.
ARCHITECTURES: dict[str, tuple[Any, Callable[[Any], Codec]]] = {
    "transform": (CodecConfig, transform_codec),
    "quadtree": (QuadtreeConfig, quadtree.networks),
}


# Configurations by name: the published models, and ours.
NAMED: dict[str, Architecture] = {**config_module.MODELS, **quadtree.QUADTREES}


@functools.cache
def networks(config: Architecture) -> Codec:
    """The networks of a configuration."""
    compose = dict(ARCHITECTURES.values())
    return compose[type(config)](config)


def from_dict(values: Options) -> Architecture:
    """A configuration from what `to_dict` has written, or a config's block `model`.

    Raises:
      ValueError: an unknown architecture or key, or a value that is not allowed.
    """
    rest = dict(values)
    name = rest.pop("architecture", "transform")
    if name not in ARCHITECTURES:
        raise ValueError(
            f"model.architecture is {name!r}, expected one of {[*ARCHITECTURES]}"
        )
    found: Architecture = ARCHITECTURES[name][0].from_dict(rest)
    return found
