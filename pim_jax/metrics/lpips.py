"""LPIPS: distances of the features of a classifier, weighted by human judgements.

    d(a, b) = sum over layers of mean over positions of
              sum over channels of w (a / |a| - b / |b|)^2

Zhang, Isola, Efros, Shechtman & Wang 2018, https://arxiv.org/abs/1801.03924. Equal to the
package `lpips` 0.1.4 within 1e-5, values, layers, maps and gradients, where that has no
NaN. Three sets of weights w:

- `lpips-alex`, `lpips-vgg`, `lpips-squeeze`: version 0.1, the package's default;
- the same with `-v0.0`: the first release, whose networks see images in [-1, 1] instead
  of normalised ones; values differ much;
- the same with `-baseline`: w = 1, without human judgements (`lpips=False` there).

Images are not resized; the weights were fitted on 64x64 patches, and values depend on the
resolution. The weights w are in this package, those of the classifier come from the cache
or the network, or from a file: `pim_jax.load("lpips-alex", weights=PATH)`.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float

from pim_jax.features import linear_weights as head_functions
from pim_jax.features import torchvision
from pim_jax.features.backbones import MINIMUM_SIZE, Backbone, normalise, taps
from pim_jax.io import files, npz, torch_files
from pim_jax.metric import Images, Metric, check_images, compiled, on_device
from pim_jax.metrics.entry import Entry
from pim_jax.ops import bounds

# Of the published scaling layer, for images in [-1, 1]: nearly ImageNet's.
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
VERSIONS = ("0.1", "0.0", "baseline")


class Trunk(NamedTuple):
    """A backbone and the layers that LPIPS compares."""

    backbone: str
    layers: tuple[str, ...]


TRUNKS = {
    "alex": Trunk("alexnet", ("relu1", "relu2", "relu3", "relu4", "relu5")),
    "vgg": Trunk("vgg16", ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")),
    "squeeze": Trunk(
        "squeezenet",
        ("relu1", "fire3", "fire5", "fire6", "fire7", "fire8", "fire9"),
    ),
}


@dataclasses.dataclass(frozen=True)
class LpipsFunction:
    """LPIPS of one architecture; equal architectures are equal functions.

    Attributes:
      trunk: the backbone and its layers.
      normalised: whether the backbone sees normalised images (version 0.1) or images in
        [-1, 1] (version 0.0).
    """

    trunk: Trunk
    normalised: bool = True

    def features(self, params: Any, image: Float[Array, "n h w 3"]) -> dict[str, Array]:
        """The compared layers, of images in [0, 1]."""
        signed = 2 * image - 1
        scaled = normalise(signed, _SHIFT, _SCALE) if self.normalised else signed
        backbone = Backbone(self.trunk.backbone, self.trunk.layers)
        found: Any = backbone.apply({"params": params["backbone"]}, scaled)
        return found

    def both(self, params: Any, image_a: Array, image_b: Array) -> Any:
        """The features of both."""
        of = functools.partial(self.features, params)
        return head_functions.of_both(of, image_a, image_b)

    def of_any(self, params: Any, image_a: Array, image_b: Array) -> Any:
        """The features of both, of images that may have any values."""
        images = (bounds.unit_range(image) for image in (image_a, image_b))
        return self.both(params, *images)

    def __call__(self, params: Any, image_a: Array, image_b: Array) -> Array:
        """The distances (n,)."""
        a, b = self.both(params, image_a, image_b)
        found = head_functions.distance(a, b, params["heads"], self.trunk.layers)
        return bounds.zero_where_equal(found, image_a, image_b)


@dataclasses.dataclass(frozen=True)
class _PerLayer:
    """`LpipsMetric.per_layer` as a function of its weights."""

    function: LpipsFunction

    def __call__(self, params: Any, image_a: Array, image_b: Array) -> Array:
        a, b = self.function.of_any(params, image_a, image_b)
        layers = self.function.trunk.layers
        return head_functions.per_layer(a, b, params["heads"], layers)


@dataclasses.dataclass(frozen=True)
class _Spatial:
    """`LpipsMetric.spatial` as a function of its weights."""

    function: LpipsFunction

    def __call__(self, params: Any, image_a: Array, image_b: Array) -> Array:
        a, b = self.function.of_any(params, image_a, image_b)
        size = (image_a.shape[1], image_a.shape[2])
        layers = self.function.trunk.layers
        return head_functions.spatial(a, b, params["heads"], layers, size)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class LpipsMetric(Metric):
    """LPIPS: `Metric` with access to its parts.

    `params` holds 'backbone', see `backbones`, and 'heads', w (c,) of each layer.
    """

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the compared layers."""
        return self.function.trunk.layers  # type: ignore[attr-defined,no-any-return]

    def per_layer(self, image_a: Images, image_b: Images) -> Float[Array, "n k"]:
        """What each of `layers` adds to the distance (`retPerLayer` of the package).

        Same requirements for the images as for calling the metric.
        """
        return self._compiled(_PerLayer, image_a, image_b)

    def spatial(self, image_a: Images, image_b: Images) -> Float[Array, "n h w"]:
        """Where the images differ: the layers' maps, enlarged and summed.

        Its mean is near the distance, not equal. Same requirements for the images as for
        calling the metric.
        """
        return self._compiled(_Spatial, image_a, image_b)

    def _compiled(
        self, part: Callable[..., Any], image_a: Images, image_b: Images
    ) -> Any:
        images = check_images(image_a, image_b, minimum_size=self.minimum_size)
        return compiled(part(self.function), self.params, *images)


def metric(
    network: str,
    version: str = "0.1",
    *,
    backbone: Mapping[str, Any],
    heads: Mapping[str, Any] | None = None,
    name: str = "",
) -> LpipsMetric:
    """LPIPS with these weights of the backbone.

    Args:
      network: 'alex', 'vgg' or 'squeeze'.
      version: '0.1', '0.0' or 'baseline'.
      backbone: as from `features.torchvision.load` or `backbones.random_params`.
      heads: w of each layer >= 0, in place of the published ones.
      name: of the metric.

    Raises:
      ValueError: an unknown network or version; w is negative or has another shape.
    """
    if network not in TRUNKS:
        raise ValueError(f"no network {network!r}, expected one of {[*TRUNKS]}")
    if version not in VERSIONS:
        raise ValueError(f"no version {version!r}, expected one of {[*VERSIONS]}")
    trunk = TRUNKS[network]
    if heads is None:
        heads = published_heads(network, version)
    return LpipsMetric(
        params=on_device(
            {"backbone": backbone, "heads": _checked(heads, trunk, "heads")}
        ),
        function=LpipsFunction(trunk, normalised=version != "0.0"),
        name=name or f"lpips-{network}",
        minimum_size=MINIMUM_SIZE[trunk.backbone],
    )


def published_heads(network: str, version: str = "0.1") -> dict[str, np.ndarray]:
    """The published w of each layer, or 1 for the version 'baseline'."""
    trunk = TRUNKS[network]
    channels = taps(trunk.backbone)
    if version == "baseline":
        return {name: np.ones(channels[name], np.float32) for name in trunk.layers}
    stored = _packaged()
    return {name: stored[f"v{version}/{network}/{name}"] for name in trunk.layers}


def read_heads(path: str | Path, network: str) -> dict[str, np.ndarray]:
    """Weights of each layer from a file of the package `lpips`, for `metric`.

    Args:
      path: a .pth with 'lin0.model.1.weight', (1, c, 1, 1), and so on. Files of training
        scripts hold the backbone as well, which is left out.
      network: 'alex', 'vgg' or 'squeeze'.

    Raises:
      FileNotFoundError: no such file.
      ValueError: it is damaged; w is missing, negative or has another shape.
    """
    state = torch_files.read_state_dict(path)
    trunk = TRUNKS[network]
    found = {}
    for k, name in enumerate(trunk.layers):
        key = f"lin{k}.model.1.weight"
        if key not in state:
            # There the number of the layer depends on an option, and what is missing
            # stays random without a word.
            raise ValueError(f"{path}: {key} is missing, found {sorted(state)[:5]} ...")
        if state[key].ndim != 4 or state[key].size != state[key].shape[1]:
            raise ValueError(
                f"{path}: {key} has shape {state[key].shape}, expected (1, c, 1, 1)"
            )
        found[name] = state[key].reshape(-1)
    return _checked(found, trunk, str(path))


def _checked(
    heads: Mapping[str, Any], trunk: Trunk, source: str
) -> dict[str, np.ndarray]:
    channels = taps(trunk.backbone)
    if set(heads) != set(trunk.layers):
        raise ValueError(
            f"{source} has {sorted(heads)}, expected the layers {[*trunk.layers]}"
        )
    found = {}
    for name in trunk.layers:
        weight = np.asarray(heads[name], np.float32)
        if weight.shape != (channels[name],):
            raise ValueError(
                f"{source}: w of {name} has shape {weight.shape}, expected "
                f"({channels[name]},)"
            )
        if not (weight >= 0).all() or not np.isfinite(weight).all():
            raise ValueError(f"{source}: w of {name} must be finite and >= 0")
        found[name] = weight
    return found


@functools.cache
def _packaged() -> dict[str, np.ndarray]:
    return npz.read(files.packaged("pim_jax.metrics", "packaged", "lpips_heads.npz"))


# Of each version the end of the names, and what its weights are.
_SUFFIXES = {"0.1": "", "0.0": "-v0.0", "baseline": "-baseline"}
_WEIGHTS = {
    "0.1": "weights 0.1, the package's default",
    "0.0": "weights 0.0, images not normalised",
    "baseline": "all weights 1, without judgements",
}


def _entry(network: str, version: str) -> Entry:
    name = f"lpips-{network}{_SUFFIXES[version]}"
    of = TRUNKS[network].backbone

    def load(weights: str | Path | None) -> LpipsMetric:
        backbone = torchvision.load(of, weights)
        loaded = metric(network, version, backbone=backbone, name=name)
        return loaded.replace(version=version)

    return Entry(
        name,
        load,
        f"LPIPS (Zhang 2018), {of}, {_WEIGHTS[version]}",
        minimum_size=MINIMUM_SIZE[of],
        version=version,
        backbone=of,
        is_cached=functools.partial(torchvision.is_cached, of),
    )


ENTRIES = tuple(_entry(network, version) for version in VERSIONS for network in TRUNKS)
