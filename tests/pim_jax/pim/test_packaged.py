"""Weights that ship with the package: they load offline, and 16 bits do not matter."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

import pim_jax
from pim_jax.pim import checkpoints, published
from pim_jax.pim import packaged as packaged_weights
from pim_jax.pim.distance import pim_metric, untrained
from tests.benchmarks import published_table

NAMES = list(packaged_weights.SHIPPED)


@pytest.fixture(scope="module")
def pairs():
    """Photographs of 64x64 with five versions of each."""
    return published_table.photograph_pairs()


@pytest.mark.parametrize("name", NAMES)
def test_loads_without_network_or_cache(name, tmp_path, monkeypatch, pairs):
    monkeypatch.setenv("PIM_JAX_CACHE", str(tmp_path))
    metric = pim_jax.load(name)
    assert metric.name == name
    assert metric.version == pim_jax.METRICS[name]().version != ""
    a, b = pairs
    assert (metric(a, a) == 0).all()
    assert (metric(a, b) > 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_files_are_small_and_have_a_card(name):
    folder = packaged_weights.folder_of(name)
    packaged = folder.parent
    assert sum(p.stat().st_size for p in packaged.rglob("*") if p.is_file()) < 8e6
    card = (packaged / f"{name}.md").read_text(encoding="utf-8")
    for word in ("SHA-256", "licence", "seed", "train.py", "data"):
        assert word.lower() in card.lower()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_sixteen_bits_change_distances_by_less_than_a_hundredth(name, pairs):
    """Whatever the weights were before they were rounded."""
    params, config = checkpoints.read(packaged_weights.folder_of(name))
    exact = pim_metric(params, config, name)
    generator = np.random.default_rng(0)

    def within_rounding(x):
        # Any float32 that rounds to this float16 value may have been the original.
        return x * (1 + generator.uniform(-(2.0**-11), 2.0**-11, np.shape(x)))

    original = jax.tree.map(
        lambda x: np.asarray(within_rounding(np.asarray(x)), np.float32), params
    )
    a, b = pairs
    stored, unrounded = exact(a, b), pim_metric(original, config, name)(a, b)
    assert np.max(np.abs(stored / unrounded - 1)) < 0.01


def test_damaged_weights_are_refused(tmp_path, monkeypatch):
    name = NAMES[0]
    folder = tmp_path / "packaged" / name
    shutil.copytree(packaged_weights.folder_of(name), folder)
    (folder / packaged_weights.CHECKSUM).write_text("0" * 64 + "  weights.npz\n")
    monkeypatch.setattr(packaged_weights, "folder_of", lambda name: folder)
    with pytest.raises(ValueError, match="SHA-256 of its weights is"):
        pim_jax.load(name)


def test_other_weights_of_the_same_architecture(tmp_path):
    name = NAMES[0]
    params, config = checkpoints.read(packaged_weights.folder_of(name))
    checkpoints.write(tmp_path / "mine", params, config)
    assert pim_jax.load(name, tmp_path / "mine").version == ""
    wider = dataclasses.replace(config, mixtures=2)
    checkpoints.write(tmp_path / "other", untrained(wider).params, wider)
    with pytest.raises(ValueError, match="expected ModelConfig"):
        pim_jax.load(name, tmp_path / "other")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_equal_in_the_published_layout(name, tmp_path, write_bundle, pairs):
    params, config = checkpoints.read(packaged_weights.folder_of(name))
    (tmp_path / "config.json").write_text(
        json.dumps(published.published_config(config))
    )
    write_bundle(tmp_path / "weights", published.to_published(params, config))
    a, b = pairs
    np.testing.assert_array_equal(
        pim_jax.load(tmp_path)(a, b), pim_jax.load(name)(a, b)
    )


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.parametrize("name", NAMES)
def test_equal_to_the_published_computation_in_tensorflow(name, pairs):
    """Mixtures in the mean of random draws, within five standard errors."""
    pytest.importorskip("tensorflow")
    a, b = pairs
    found = published_table.compare(name, a, b)
    if not found.error.any():
        np.testing.assert_allclose(found.published, found.ours, rtol=1e-4)
        return
    assert (np.abs(found.ours - found.published) < 5 * found.error).all()
    assert (found.error < 0.1 * found.published).any(), "too noisy to tell anything"
