"""Training a metric on human judgements, with the features of a codec as well.

The layers of the analysis transform in place of a classifier's, as in Huang & Wu 2024,
https://arxiv.org/abs/2401.07200; all else is `pim_jax.tasks.linear_weights`.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
from jaxtyping import Array

import pim_jax.tasks.linear_weights
from codec_jax import loading
from codec_jax.layers import padded
from codec_jax.models import transforms
from pim_jax.tasks.linear_weights import NETWORKS, Network
from pim_jax.training.task import Task

_SIZE = 64  # of the patches of BAPPS
FEATURES_OF = "ms128"


@dataclasses.dataclass(frozen=True)
class AnalysisFeatures:
    """Outputs of the layers of an analysis transform, by name."""

    transform: transforms.Analysis

    def __call__(self, params: Any, image: Array) -> Mapping[str, Array]:
        """What each normalisation gives out, and the latents; all else is linear."""
        _, captured = self.transform.apply(
            {"params": params},
            padded(image, self.transform.stride),
            capture_intermediates=True,
            mutable=["intermediates"],
        )
        layers: Any = captured["intermediates"]
        last = max(name for name in layers if name.startswith("conv_"))
        return {
            name: layers[name]["__call__"][0]
            for name in sorted(layers)
            if name.startswith("gdn_") or name == last
        }


def analysis_network(name_or_folder: str, seed: int) -> Network:
    """The analysis transform of a trained codec, as `codec_jax.load` takes it."""
    del seed
    codec = loading.load(name_or_folder or FEATURES_OF)
    transform = codec.networks.analysis_transform
    if not isinstance(transform, transforms.Analysis):
        raise ValueError(
            f"{codec.name!r} has no divisive normalisations to take features of"
        )
    function = AnalysisFeatures(transform)
    params = codec.params["analysis_transform"]
    image = jax.ShapeDtypeStruct((1, _SIZE, _SIZE, 3), jnp.float32)
    shapes = jax.eval_shape(function, params, image)
    channels = {name: feature.shape[-1] for name, feature in shapes.items()}
    return Network(params, function, channels, 1)


def make(config: ml_collections.ConfigDict, workdir: Path | None = None) -> Task:
    """As `pim_jax.tasks.linear_weights.make`; `config.network.name` may also be 'codec'."""
    return pim_jax.tasks.linear_weights.make(config, workdir, ALL)


ALL = {**NETWORKS, "codec": analysis_network}
