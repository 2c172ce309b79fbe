"""Download, verification and cache of the released models, against a local server."""

import functools
import hashlib
import http.server
import io
import json
import socket
import threading
import zipfile

import jax
import numpy as np
import pytest

import pim_jax
from pim_jax.io import downloads
from pim_jax.pim import published
from pim_jax.pim.initialization import init_params
from pim_jax.pim.model import ModelConfig

SMALL = ModelConfig(
    num_scales=1, steerable_order=0, filters=(2, 3), z_dim=2, mixtures=2
)
NAME = "pim-5-published"


@pytest.fixture(scope="module")
def params():
    return jax.tree.map(np.asarray, init_params(SMALL, jax.random.key(0)))


@pytest.fixture
def model(tmp_path, params, write_bundle):
    """The files of a published model by name."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(published.published_config(SMALL)))
    (folder / "checkpoint").write_text('model_checkpoint_path: "weights"')
    write_bundle(folder / "weights", published.to_published(params, SMALL))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def make_zip(files) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            # Of 1980: the time of now would give other bytes two seconds later.
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_args):
        pass


@pytest.fixture
def site(tmp_path):
    """A folder and the address it is served at."""
    folder = tmp_path / "site"
    folder.mkdir()
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PIM_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def offer(site, monkeypatch, data: bytes) -> None:
    """Serves `data` as the archive, with its own checksum as the expected one."""
    folder, url = site
    (folder / "pim-5.zip").write_bytes(data)
    monkeypatch.setattr(published, "URL", url)
    expect(monkeypatch, data)


def expect(monkeypatch, data: bytes) -> None:
    archive = published.Archive("pim-5", hashlib.sha512(data).hexdigest())
    monkeypatch.setitem(published.ARCHIVES, NAME, archive)


def unreachable() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def zipped(model) -> bytes:
    return make_zip({f"pim-5/{name}": data for name, data in model.items()})


def test_download_once_then_cache(site, cache, model, params, monkeypatch):
    offer(site, monkeypatch, zipped(model))
    assert not published.is_cached(NAME)
    metric = pim_jax.load(NAME)
    assert (metric.name, metric.config) == (NAME, SMALL)
    jax.tree.map(
        np.testing.assert_array_equal,
        metric.params,
        {k: v for k, v in params.items() if k != "joint_encoder"},
    )
    assert published.is_cached(NAME)
    assert [path.name for path in cache.iterdir()] == ["pim-5"]
    (site[0] / "pim-5.zip").unlink()
    assert pim_jax.load(NAME).config == SMALL


def test_wrong_checksum(site, cache, model, monkeypatch):
    offer(site, monkeypatch, zipped(model))
    expect(monkeypatch, b"something else")
    with pytest.raises(ValueError, match=r"not the published pim-5\.zip.*SHA-512"):
        pim_jax.load(NAME)
    assert not list(cache.iterdir())


@pytest.mark.parametrize("reachable", [True, False])
def test_without_the_file_or_a_network(site, cache, monkeypatch, reachable):
    monkeypatch.setattr(published, "URL", site[1] if reachable else unreachable())
    with pytest.raises(FileNotFoundError) as caught:
        pim_jax.load(NAME)
    message = str(caught.value)
    assert isinstance(caught.value, downloads.NotDownloadedError)
    assert "\n" not in message
    assert f"put that file at {cache / 'pim-5.zip'}" in message
    assert f"{published.URL}/pim-5.zip" in message
    assert not list(cache.iterdir())


def test_zip_put_into_the_cache_by_hand(cache, model, monkeypatch):
    monkeypatch.setattr(published, "URL", unreachable())
    cache.mkdir()
    (cache / "pim-5.zip").write_bytes(zipped(model))
    expect(monkeypatch, zipped(model))
    assert published.is_cached(NAME)
    assert pim_jax.load(NAME).config == SMALL
    assert (cache / "pim-5" / "weights.index").is_file()
    (cache / "pim-5.zip").write_bytes(b"damaged")
    assert pim_jax.load(NAME).config == SMALL


def test_zip_or_folder_as_argument(tmp_path, cache, model, monkeypatch):
    path = tmp_path / "copy.zip"
    path.write_bytes(zipped(model))
    with pytest.raises(ValueError, match="SHA-512"):
        pim_jax.load(NAME, weights=path)
    expect(monkeypatch, zipped(model))
    assert pim_jax.load(NAME, weights=str(path)).config == SMALL
    assert pim_jax.load(NAME, weights=tmp_path / "model").config == SMALL
    with pytest.raises(FileNotFoundError, match="nowhere"):
        pim_jax.load(NAME, weights=tmp_path / "nowhere")
    assert not cache.exists()


def test_hostile_members_are_not_written(site, cache, model, monkeypatch, tmp_path):
    hostile = {
        "../escaped": b"x",
        "pim-5/../../escaped": b"x",
        str(tmp_path / "escaped"): b"x",
        "pim-5/sub/config.json": b"{}",
        "pim-5/program.py": b"x",
    }
    good = {f"pim-5/{name}": data for name, data in model.items()}
    offer(site, monkeypatch, make_zip(hostile | good))
    assert pim_jax.load(NAME).config == SMALL
    assert sorted(p.name for p in (cache / "pim-5").iterdir()) == sorted(model)
    assert not [p for p in tmp_path.rglob("*") if p.name in ("escaped", "program.py")]


@pytest.mark.parametrize("cut", [0, 30, 400])
def test_archives_that_do_not_unpack(site, cache, model, monkeypatch, cut):
    offer(site, monkeypatch, zipped(model)[:cut])
    with pytest.raises(ValueError, match="cannot unpack"):
        pim_jax.load(NAME)
    assert not list(cache.iterdir())


def test_member_and_file_size_are_bounded(site, cache, model, monkeypatch):
    offer(site, monkeypatch, zipped(model | {"checkpoint": bytes(10**6)}))
    monkeypatch.setattr(published, "_LARGEST_FILE", 10**5)
    with pytest.raises(
        ValueError, match=r"cannot unpack.*checkpoint has 1000000 bytes"
    ):
        pim_jax.load(NAME)
    assert not list(cache.iterdir())


def test_archive_without_a_model(site, cache, monkeypatch):
    offer(site, monkeypatch, make_zip({"readme.txt": b"nothing"}))
    with pytest.raises(ValueError, match=r"cannot unpack.*has no pim-5/config\.json"):
        pim_jax.load(NAME)
    assert not list(cache.iterdir())


def test_the_cache_is_in_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("PIM_JAX_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert published.cache_folder() == tmp_path / ".cache" / "pim_jax"


def test_the_published_checksums():
    """As recorded in the facts on the released files."""
    assert {n: (a.stem, a.sha512[:8]) for n, a in published.ARCHIVES.items()} == {
        "pim-1-published": ("pim-1", "436b4a95"),
        "pim-5-published": ("pim-5", "7939f9f9"),
    }
    assert all(len(a.sha512) == 128 for a in published.ARCHIVES.values())
