"""A codec for every rate whose context model decodes in four steps.

    analysis         space-to-depth by 8, depth-convolution blocks at 1/8, latents at 1/16
    latent codec     hyper latents at 1/64, four steps: see `latents.quadtree`
    synthesis        latents -> depth-convolution blocks at 1/8, depth-to-space by 8

The network follows the intra codec of DCVC (Jia et al. 2025,
https://arxiv.org/abs/2502.20762, and its repository), the gains for each rate Cui et al.
2021, https://arxiv.org/abs/2003.02012. Sizes, and what is integer, are ours.
"""

import dataclasses
import itertools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from codec_jax.blocks import Dense, DepthConvBlock, depth_to_space, space_to_depth
from codec_jax.latents.quadtree import (
    STEPS,
    HyperAnalysis,
    HyperSynthesis,
    QuadtreeLatents,
)
from codec_jax.layers import Cells
from codec_jax.models.codec import Codec
from codec_jax.models.config import LAMBDAS, Storage
from pim_jax.io.options import Options

_STRIDE = 16  # pixels between two latents
_PATCH = 8  # pixels between two features of the transforms
# The layers next to the image and next to the latents keep 16 bits: errors of these few
# weights are more than half of what 8 bits cost.
_ENDS = (
    "analysis_transform/block_0/",
    "analysis_transform/down/",
    "synthesis_transform/up/",
    "synthesis_transform/last/",
    "synthesis_transform/image/",
)


@dataclasses.dataclass(frozen=True)
class QuadtreeConfig:
    """The architecture.

    Attributes:
      features: channels of the transforms at 1/8 of the image's size (C).
      latents: channels at 1/16 (N), a multiple of 4.
      hyper_latents: channels at 1/64.
      analysis_blocks, synthesis_blocks: depth-convolution blocks at 1/8, without those
        that change the number of channels.
      context: whether latents are predicted from those of earlier steps; without it all
        means come from the hyper latents.
      lambdas: the Lagrangian weights of the rates, in units of squared error on the scale
        0..255, ascending; between two the gains are interpolated geometrically.
    """

    features: int = 256
    latents: int = 192
    hyper_latents: int = 128
    analysis_blocks: int = 4
    synthesis_blocks: int = 8
    context: bool = True
    lambdas: tuple[float, ...] = (0.0009, *LAMBDAS)

    def __post_init__(self) -> None:
        """Raises ValueError for sizes that no network has."""
        for field in ("features", "latents", "hyper_latents"):
            if getattr(self, field) < 1:
                raise ValueError(
                    f"model.{field} is {getattr(self, field)}, expected >= 1"
                )
        if self.latents % STEPS:
            raise ValueError(
                f"model.latents is {self.latents}, expected a multiple of {STEPS}"
            )
        rising = all(a < b for a, b in itertools.pairwise(self.lambdas))
        if len(self.lambdas) < 2 or not rising or not self.lambdas[0] > 0:
            raise ValueError(
                f"model.lambdas is {self.lambdas}, expected two or more, positive and "
                "ascending"
            )

    @classmethod
    def from_dict(cls, values: Options) -> "QuadtreeConfig":
        """From a JSON object.

        Raises:
          ValueError: an unknown key, or a value that is not allowed.
        """
        given = dict(values)
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(given) - known)
        if unknown:
            raise ValueError(f"model has no {unknown}, only {sorted(known)}")
        lists = {k: tuple(v) for k, v in given.items() if k == "lambdas"}
        return cls(**{**given, **lists})

    def to_dict(self) -> dict[str, Any]:
        """As numbers and text, for JSON."""
        return {"architecture": "quadtree", **dataclasses.asdict(self)}

    def identity(self) -> dict[str, Any]:
        """What the fingerprint covers."""
        return self.to_dict()

    def __str__(self) -> str:
        """In a line."""
        return (
            f"quadtree, features {self.features}, latents {self.latents}, blocks "
            f"{self.analysis_blocks} and {self.synthesis_blocks}, hyper integer"
        )

    def storage(self, name: str) -> Storage:
        """How the weights of this name are stored."""
        if name.startswith("scale_synthesis/"):
            return Storage.INTEGERS
        return Storage.HALF if name.startswith(_ENDS) else Storage.BYTES


# In the sizes of the README; kMAC for each pixel to decode: 142 and 64.
QUADTREES = {
    "quadtree-256": QuadtreeConfig(),
    "quadtree-192": QuadtreeConfig(features=192, latents=128, synthesis_blocks=6),
}


class Analysis(nn.Module):
    """Images to latents of 1/16 the size, before gains and rounding.

    Attributes:
      features: channels at 1/8.
      latents: channels at 1/16.
      blocks: depth-convolution blocks after the gains.
      compute: precision of activations.
    """

    features: int
    latents: int
    blocks: int
    compute: Any = jnp.float32

    stride = _STRIDE

    @property
    def margin(self) -> int:
        """Latents that the receptive field reaches: a feature for each block."""
        return -(-self.blocks * _PATCH // _STRIDE) + 2

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "n h w 3"],
        cells: Cells | None,
        gain: Float[Array, "n 1 1 c"],
    ) -> Float[Array, "n _h _w m"]:
        """Latents, float32; h and w are multiples of 16, of which `cells` are there."""
        c, scale = self.features, _STRIDE // _PATCH
        x = (images - 0.5).astype(self.compute)
        x = DepthConvBlock(c, name="block_0")(space_to_depth(x, _PATCH), cells, scale)
        x = x * gain.astype(x.dtype)
        for k in range(self.blocks):
            x = DepthConvBlock(c, name=f"block_{k + 1}")(x, cells, scale)
        down = space_to_depth(x, _STRIDE // _PATCH)
        return Dense(self.latents, exact=True, name="down")(down)


class Synthesis(nn.Module):
    """Latents to images, in [0, 1] but for errors.

    Attributes:
      features: channels at 1/8.
      blocks: depth-convolution blocks before the gains, besides the first.
      compute: precision of activations.
    """

    features: int
    blocks: int
    compute: Any = jnp.float32

    stride = _STRIDE

    @property
    def margin(self) -> int:
        """Latents that the receptive field reaches: a feature for each block."""
        return -(-self.blocks * _PATCH // _STRIDE) + 2

    @nn.compact
    def __call__(
        self,
        y: Float[Array, "n h w m"],
        cells: Cells | None,
        gain: Float[Array, "n 1 1 c"],
    ) -> Float[Array, "n _h _w 3"]:
        """Images, float32, of latents of which `cells` are there."""
        c, up = self.features, _STRIDE // _PATCH
        y = y.astype(self.compute)
        x = depth_to_space(Dense(up**2 * c, name="up")(y), up)
        for k in range(self.blocks + 1):
            x = DepthConvBlock(c, name=f"block_{k}")(x, cells, up)
        x = DepthConvBlock(c, name="last")(x * gain.astype(x.dtype), cells, up)
        out = Dense(3 * _PATCH**2, exact=True, name="image")(x)
        return depth_to_space(out, _PATCH) + 0.5


def networks(config: QuadtreeConfig, compute: Any = jnp.float32) -> Codec:
    """The codec.

    Args:
      config: the architecture.
      compute: precision of activations and of the weights' copies; sums of likelihoods,
        latents and images are float32 always.
    """
    latent_codec = QuadtreeLatents(
        config.latents,
        config.hyper_latents,
        HyperAnalysis(config.hyper_latents),
        HyperSynthesis(config.hyper_latents, config.latents),
        len(config.lambdas),
        config.context,
        compute,
    )
    features = config.features
    return Codec(
        Analysis(features, config.latents, config.analysis_blocks, compute),
        Synthesis(features, config.synthesis_blocks, compute),
        latent_codec,
        config.lambdas,
        inner_gains=features,
    )
