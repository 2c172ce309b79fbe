"""Compiled programs on disk: for the commands only, bounded, and never in the way."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

import pim_jax
from pim_jax.features import torchvision
from pim_jax.io import compilation_cache
from pim_jax.pim import published

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import sys, pim_jax, jax
from pim_jax.io import compilation_cache as compiled
assert jax.config.jax_compilation_cache_dir is None
compiled.keep()
print(jax.config.jax_compilation_cache_dir)
print(jax.jit(lambda x: x @ x.T)(jax.numpy.ones((3, 4))).sum())
"""


def run(folder, **variables):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ
        | {"PYTHONPATH": str(ROOT), "PIM_JAX_CACHE": str(folder)}
        | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    found, result = done.stdout.splitlines()
    assert result == "36.0"
    return None if found == "None" else Path(found)


def test_programs_are_kept_and_broken_ones_are_made_again(tmp_path):
    folder = run(tmp_path)
    assert folder.parent == tmp_path / "compiled"
    entries = [path for path in folder.iterdir() if path.name.endswith("-cache")]
    assert entries
    for path in entries:
        path.write_bytes(path.read_bytes()[:100])
    assert run(tmp_path) == folder


def test_a_folder_that_cannot_be_made_is_done_without(tmp_path):
    (tmp_path / "file").write_text("")
    assert run(tmp_path / "file") is None


@pytest.fixture
def settings():
    """Of JAX, put back in the end."""
    names = (
        "jax_compilation_cache_dir",
        "jax_enable_compilation_cache",
        "jax_persistent_cache_min_compile_time_secs",
        "jax_persistent_cache_min_entry_size_bytes",
    )
    before = {name: getattr(jax.config, name) for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_the_users_own_choice_stays(tmp_path, monkeypatch, settings):
    monkeypatch.setenv("PIM_JAX_CACHE", str(tmp_path))
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.keep()
    jax.config.update("jax_enable_compilation_cache", True)
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "own"))
    compilation_cache.keep()
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "own")
    assert not (tmp_path / "compiled").exists()


def test_a_folder_of_somebody_else_is_not_trusted(tmp_path, monkeypatch, settings):
    monkeypatch.setenv("PIM_JAX_CACHE", str(tmp_path))
    monkeypatch.setattr(os, "getuid", lambda: -1)
    compilation_cache.keep()
    assert jax.config.jax_compilation_cache_dir is None


def test_a_user_without_a_home_folder(monkeypatch, settings):
    """As in a container that runs as a user whom it does not know."""

    def unknown():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("PIM_JAX_CACHE", raising=False)
    monkeypatch.setattr(Path, "home", unknown)
    compilation_cache.keep()
    assert jax.config.jax_compilation_cache_dir is None
    assert not torchvision.is_cached("alexnet")
    assert not published.is_cached("pim-1-published")
    with pytest.raises(FileNotFoundError, match="set PIM_JAX_CACHE to a folder"):
        pim_jax.load("lpips-alex")


def test_what_was_used_longest_ago_is_deleted(tmp_path):
    for day, name in enumerate("cab"):
        (tmp_path / name).write_bytes(bytes(10))
        os.utime(tmp_path / name, (86400 * day, 86400 * day))
    compilation_cache.bound(tmp_path, 30)
    assert len(list(tmp_path.iterdir())) == 3
    compilation_cache.bound(tmp_path, 15)
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
