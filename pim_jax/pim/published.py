"""Released PIM models: their download, and their checkpoints as our parameters and back.

A released model is downloaded once, verified and kept in the cache of `io.downloads`.
Weights and their terms (Apache 2.0):
https://github.com/google-research/perceptual-quality.

A published model is a folder with `config.json` and a TensorFlow checkpoint with prefix
`weights`, whose variables are named by the attributes that hold them in the published
Keras code (https://github.com/google-research/perceptual-quality, `pim/`):

    frontend/cnns/0/layer_with_weights-0/kernel/.ATTRIBUTES/VARIABLE_VALUE
    marginal_encoder/encoders/0/base/0/bias/.ATTRIBUTES/VARIABLE_VALUE

Ours are nested dictionaries with the same order of axes; their names, joined by '/', are
`frontend/cnns_0/conv_0/kernel` and `marginal_encoder/encoders_0/base_0/bias`.
"""

import re
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from absl import logging

from pim_jax.io import downloads, files, tensor_bundle
from pim_jax.io.downloads import Checksum, cache_folder
from pim_jax.pim.distance import PimMetric, pim_metric
from pim_jax.pim.model import ModelConfig
from pim_jax.pim.parameters import assemble, flatten, parameter_shapes, read_json

CHECKPOINT = "weights"
_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
# What Keras stores beside the model's variables.
_BOOKKEEPING = re.compile(
    r"_CHECKPOINTABLE_OBJECT_GRAPH|save_counter\b|optimizer\b|.*\.OPTIMIZER_SLOT"
)
_FRONTENDS: dict[str | None, str] = {
    "Steerable": "steerable",
    "Laplacian": "laplacian",
    None: "none",
}
# The defaults of `perceptual_quality/pim/config.py`.
_DEFAULTS: dict[str, Any] = {
    "num_channels": 3,
    "multiscale": "Steerable",
    "nscales": 3,
    "steerable_filter_type": 1,
    "cnn": "Conv",
    "num_filters": [64, 64, 64, 3],
    "padding": "same",
    "num_distribution_encoder_layers": 2,
    "num_marginal_encoder_mixtures": 5,
    "z_dim": 10,
}
# Options of which only one value has an equivalent here; the last is older than the
# released models and belongs to the Laplacian pyramid.
_FIXED = {
    "num_channels": 3,
    "cnn": "Conv",
    "num_distribution_encoder_layers": 2,
    "use_residual": True,
}
# Of the code that cut training patches; says nothing about the networks.
_UNUSED = ("subsample_shape",)


def is_published(options: Mapping[str, Any]) -> bool:
    """Whether the contents of a config.json are those of a published model."""
    return "multiscale" in options or "num_marginal_encoder_mixtures" in options


def read_published(folder: str | Path) -> tuple[dict[str, Any], ModelConfig]:
    """Parameters and architecture of a published model.

    Variables that the architecture does not have are logged and ignored, those of the
    joint encoder may be missing (then it is left out), since only training needs it.

    Raises:
      FileNotFoundError: config.json or a file of the checkpoint is missing.
      ValueError: a file is damaged, an option is not supported, or any other variable is
        missing or has another shape than the options say; the message names it.
    """
    folder = Path(folder)
    config = model_config(read_json(folder / "config.json"), str(folder))
    arrays = tensor_bundle.read_bundle(folder / CHECKPOINT)
    keys = {published_key(name, config) for name in parameter_shapes(config)}
    extra = [key for key in arrays if key not in keys]
    for key in extra:
        if not _BOOKKEEPING.match(key):
            logging.warning("%s: variable %s is not used", folder, key)
    params = assemble(arrays, config, str(folder), lambda n: published_key(n, config))
    return params, config


def model_config(options: Mapping[str, Any], source: str) -> ModelConfig:
    """The architecture that a published config.json describes.

    Args:
      options: its contents; missing options have the published defaults.
      source: where they are from, for messages.

    Raises:
      ValueError: an option has a value that is not supported here.
    """
    for name in sorted(set(options) - {*_DEFAULTS, *_FIXED, *_UNUSED}):
        logging.warning("%s: option %s in config.json is not used", source, name)
    merged = {**_DEFAULTS, **options}
    for name, only in _FIXED.items():
        if merged.get(name, only) != only:
            _unsupported(source, name, merged[name], repr(only))
    multiscale = merged["multiscale"]
    if not isinstance(multiscale, str | None) or multiscale not in _FRONTENDS:
        _unsupported(source, "multiscale", multiscale, f"one of {list(_FRONTENDS)}")
    filters = merged["num_filters"]
    if not isinstance(filters, list) or not all(_is_count(n) for n in filters):
        _unsupported(source, "num_filters", filters, "a list of positive integers")
    for name in ("nscales", "num_marginal_encoder_mixtures", "z_dim"):
        if not _is_count(merged[name]):
            _unsupported(source, name, merged[name], "a positive integer")
    try:
        return ModelConfig(
            frontend=_FRONTENDS[multiscale],
            num_scales=merged["nscales"],
            steerable_order=merged["steerable_filter_type"],
            filters=tuple(filters),
            padding=str(merged["padding"]).lower(),
            z_dim=merged["z_dim"],
            mixtures=merged["num_marginal_encoder_mixtures"],
        )
    except ValueError as error:
        raise ValueError(f"{source}/config.json: {error}") from error


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _unsupported(source: str, name: str, found: Any, expected: str) -> None:
    raise ValueError(
        f"{source}/config.json: {name} is {found!r}, supported is {expected}"
    )


def to_published(params: Mapping[str, Any], config: ModelConfig) -> dict[str, Any]:
    """Our parameters by their published names: {variable key: float32 array}.

    Raises:
      ValueError: the `paper` variant, which the published code cannot express, or
        parameters of another architecture.
    """
    published_config(config)
    nested = assemble(flatten(params), config, "params")
    return {published_key(k, config): v for k, v in flatten(nested).items()}


def published_config(config: ModelConfig) -> dict[str, Any]:
    """The published config.json of an architecture; ValueError where there is none."""
    if config.variant != "published":
        raise ValueError(
            "only the variant 'published' has a published layout, found "
            f"{config.variant!r}"
        )
    multiscale = {ours: theirs for theirs, ours in _FRONTENDS.items()}[config.frontend]
    options = {
        **_DEFAULTS,
        "multiscale": multiscale,
        "nscales": config.num_scales,
        "steerable_filter_type": config.steerable_order,
        "num_filters": list(config.filters),
        "padding": config.padding,
        "num_marginal_encoder_mixtures": config.components,
        "z_dim": config.z_dim,
    }
    return {**options, "use_residual": True} if multiscale == "Laplacian" else options


def published_key(name: str, config: ModelConfig) -> str:
    """The published variable key of one of our parameters."""
    key = re.sub(r"/conv_(\d+)/", r"/layer_with_weights-\1/", name)
    key = re.sub(r"_(\d+)(?=/)", r"/\1", key)
    if config.frontend == "none":
        # A frontend with one scale holds its network directly, not in a list.
        key = key.replace("frontend/cnns/0/", "frontend/cnn/")
    return key + _SUFFIX


URL = "https://storage.googleapis.com/tensorflow_compression/pim"
_LARGEST_FILE = 256 * 2**20  # bytes; the archives have some 10 MB
_MEMBERS = re.compile(r"config\.json|checkpoint|weights\.(index|data-\d{5}-of-\d{5})")


class Archive(NamedTuple):
    """A zip with one folder, named as the zip."""

    stem: str
    sha512: str


ARCHIVES = {
    "pim-1-published": Archive(
        "pim-1",
        "436b4a95e667d8a4b6ee639f1d5d303585059b3f33075dbabbc9b1d0fb5008fa"
        "1509c046b80e2565c69e77f3ac396288eeb260cad8e316ea5c7e207b57ae68cb",
    ),
    "pim-5-published": Archive(
        "pim-5",
        "7939f9f9ed07650e9e290cac4e2cf559424795c26bb41f0641b7b77e93c96426"
        "8e5f4a8d6f0ba9a37d4407aef9973c04ee1dd88f1563643f0bc600a1a456aab3",
    ),
}


def load_pim_1(weights: str | Path | None = None) -> PimMetric:
    """PIM-1 as released: one Gaussian per position, squared distance of its mean.

    Args:
      weights: the unzipped folder or the zip; downloaded if None.

    Raises:
      NotDownloadedError (a FileNotFoundError): no network and nothing in the cache.
      ValueError: a file is not the published one, or damaged.
    """
    return _load("pim-1-published", weights)


def load_pim_5(weights: str | Path | None = None) -> PimMetric:
    """PIM-5 as released: mixtures of five Gaussians; arguments as for `load_pim_1`."""
    return _load("pim-5-published", weights)


def _load(name: str, weights: str | Path | None) -> PimMetric:
    path = fetch(name) if weights is None else Path(weights)
    if path.is_file():
        with tempfile.TemporaryDirectory() as folder:
            _unpack(path, ARCHIVES[name], Path(folder), str(path))
            params, config = read_published(folder)
    else:
        params, config = read_published(path)
    return pim_metric(params, config, name).replace(version="published")  # type: ignore[attr-defined,no-any-return]


def is_cached(name: str) -> bool:
    """Whether `name` can be loaded without a network."""
    try:
        stem = cache_folder() / ARCHIVES[name].stem
    except FileNotFoundError:  # there is no cache
        return False
    return stem.is_dir() or stem.with_name(f"{stem.name}.zip").is_file()


def fetch(name: str) -> Path:
    """The folder of a released model in the cache, downloaded if it is not there.

    A zip that was put into the cache by hand is verified and unpacked.

    Raises:
      NotDownloadedError, ValueError: see `load_pim_1`.
    """
    archive = ARCHIVES[name]
    folder = cache_folder() / archive.stem
    if folder.is_dir():
        return folder
    cached = folder.parent / f"{archive.stem}.zip"
    try:
        with (
            tempfile.TemporaryDirectory() as temporary,
            files.whole_folder(folder) as new,
        ):
            path, source = cached, str(cached)
            if not path.is_file():
                path, source = Path(temporary, path.name), _url(name)
                downloads.download(name, source, path, cached, _LARGEST_FILE)
            _unpack(path, archive, new, source)
    except OSError:
        if not folder.is_dir():  # else another process was faster
            raise
    return folder


def _url(name: str) -> str:
    return f"{URL}/{ARCHIVES[name].stem}.zip"


def _unpack(path: Path, archive: Archive, folder: Path, source: str) -> None:
    """Verifies the zip and writes its files; errors say that it is from `source`."""
    checksum = Checksum("sha512", archive.sha512)
    downloads.verify(path, f"{archive.stem}.zip", checksum, source)
    try:
        with zipfile.ZipFile(path) as opened:
            _extract(opened, archive.stem, folder)
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        raise ValueError(f"cannot unpack {source}: {error}") from error


def _extract(opened: zipfile.ZipFile, stem: str, folder: Path) -> None:
    """Writes the files of the model, and nothing else, straight into `folder`."""
    for member in opened.infolist():
        # The name is never used as a path, so it cannot lead elsewhere.
        parent, _, base = member.filename.rpartition("/")
        if parent != stem or not _MEMBERS.fullmatch(base):
            continue
        if member.file_size > _LARGEST_FILE:
            raise ValueError(f"{base} has {member.file_size} bytes")
        with opened.open(member) as source, (folder / base).open("wb") as file:
            shutil.copyfileobj(source, file)
    for base in ("config.json", f"{CHECKPOINT}.index"):
        if not (folder / base).is_file():
            raise ValueError(f"it has no {stem}/{base}")
