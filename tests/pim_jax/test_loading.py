"""From names and folders to metrics."""

import json

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pim_jax
from pim_jax.metrics import METRICS
from pim_jax.pim import checkpoints
from pim_jax.pim import published as published_models
from pim_jax.pim.distance import pim_metric
from pim_jax.pim.initialization import init_params
from pim_jax.pim.model import ModelConfig
from pim_jax.training import checkpoint

SMALL = ModelConfig(
    num_scales=1, steerable_order=0, filters=(2, 3), z_dim=2, mixtures=2
)
OPTIONS = {
    "num_scales": 1,
    "steerable_order": 0,
    "filters": [2, 3],
    "z_dim": 2,
    "mixtures": 2,
}


class State(flax.struct.PyTreeNode):
    step: np.ndarray
    params: dict
    ema_params: dict


@pytest.fixture(scope="module")
def params():
    return jax.tree.map(np.asarray, init_params(SMALL, jax.random.key(0)))


@pytest.fixture
def converted(tmp_path, params):
    checkpoints.write(tmp_path / "converted", params, SMALL)
    return tmp_path / "converted"


@pytest.fixture
def published(tmp_path, params, write_bundle):
    folder = tmp_path / "published"
    folder.mkdir()
    (folder / "config.json").write_text(
        json.dumps(published_models.published_config(SMALL))
    )
    write_bundle(folder / "weights", published_models.to_published(params, SMALL))
    return folder


@pytest.fixture
def workdir(tmp_path, params):
    """A run whose averaged parameters are `params`, with other raw ones."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model": OPTIONS, "steps": 9}))
    doubled = jax.tree.map(lambda x: 2 * x, params)
    with checkpoint.manager(folder, keep=2) as opened:
        checkpoint.save(opened, 1, State(np.array(1), params, doubled))
        checkpoint.save(opened, 2, State(np.array(2), doubled, params))
    return folder


def edit(folder, **options):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | options))


@pytest.mark.parametrize("kind", ["converted", "published", "workdir"])
def test_every_kind_of_folder(request, params, kind):
    folder = request.getfixturevalue(kind)
    metric = pim_jax.load(folder)
    assert metric.config == SMALL
    assert metric.name == folder.name
    expected = {k: v for k, v in params.items() if k != "joint_encoder"}
    assert jax.tree.structure(metric.params) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, metric.params, expected)
    read, config = checkpoints.read(str(folder))
    assert config == SMALL
    jax.tree.map(np.testing.assert_array_equal, read, params)


def test_loaded_metrics_compare_images(converted, params):
    images = np.random.default_rng(0).random((2, 1, 16, 16, 3)).astype(np.float32)
    compiled = jax.jit(lambda metric, a, b: metric(a, b))
    found = compiled(pim_jax.load(str(converted)), *images)
    expected = compiled(pim_metric(params, SMALL, "converted"), *images)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == jnp.float32
    assert float(found[0]) > 0


def test_names():
    for name in ("psnr", "ssim", "ms-ssim"):
        assert pim_jax.load(name).name == name
    with pytest.raises(ValueError, match="no weights"):
        pim_jax.load("psnr", weights="somewhere")


@pytest.mark.parametrize(
    ("name", "hint"),
    [("pim-5-publishd", "'pim-5-published'"), ("/no/such/folder", "Known metrics: ")],
)
def test_neither_name_nor_folder(name, hint):
    with pytest.raises(ValueError, match=hint) as caught:
        pim_jax.load(name)
    assert isinstance(caught.value, FileNotFoundError)
    assert all(known in str(caught.value) for known in METRICS)


def test_weights_beside_a_folder(converted):
    with pytest.raises(ValueError, match="goes with the name of a metric"):
        pim_jax.load(converted, weights="somewhere")


def test_a_file_or_an_empty_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        pim_jax.load(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        pim_jax.load(tmp_path / "file")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        checkpoints.read(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ("{}", "expected 'model'"),
        ("{", "not valid JSON"),
        ('{"model": 3}', "'model' is 3"),
        ('{"model": {"zdim": 3}}', r"unknown model options \['zdim'\]"),
        ('{"model": {"num_scales": "3"}}', r"config\.json"),
        ('{"format": "other"}', "format 'other', expected 'pim_jax'"),
        ('{"format": "pim_jax"}', "'model' is None"),
    ],
)
def test_config_files_of_something_else(tmp_path, config, complaint):
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ValueError, match=complaint):
        pim_jax.load(tmp_path)


@pytest.mark.parametrize("kind", ["converted", "workdir"])
@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"filters": [4, 3]}, r"cnns_0/conv_0/\w+ has shape .* expected \("),
        ({"mixtures": 3}, r"encoders_0/\w+/\w+ has shape .* expected \("),
        ({"variant": "paper"}, r"mean_layer/\w+ is missing, expected with shape \("),
        ({"num_scales": 2}, r"cnns_3/conv_0/\w+ is missing, expected with shape \("),
        ({"filters": [2, 3, 3]}, r"conv_2/\w+ is missing, expected with shape \("),
    ],
)
def test_weights_of_another_architecture(request, kind, change, complaint):
    folder = request.getfixturevalue(kind)
    edit(folder, model=OPTIONS | change)
    with pytest.raises(ValueError, match=complaint) as caught:
        pim_jax.load(folder)
    assert str(folder) in str(caught.value)


def test_superfluous_weights_are_an_error(converted, workdir):
    for folder in (converted, workdir):
        edit(
            folder, model=OPTIONS | {"mixtures": 2, "filters": [2, 3], "num_scales": 1}
        )
        pim_jax.load(folder)
        # A single scale has one network; the checkpoint has three.
        edit(folder, model=OPTIONS | {"frontend": "none"})
        with pytest.raises(ValueError, match=r"cnns_1/.* is not a parameter"):
            pim_jax.load(folder)


def test_damaged_or_missing_arrays(converted):
    path = converted / "weights.npz"
    data = path.read_bytes()
    for damaged in (
        b"",
        data[:100],
        data[:-30],
        b"x" + data,
        data.replace(b"\0" * 8, b""),
    ):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"weights\.npz|converted"):
            pim_jax.load(converted)
    np.savez(path, **{"frontend/cnns_0/conv_0/bias": np.array([{}], object)})
    with pytest.raises(ValueError, match=r"weights\.npz"):
        pim_jax.load(converted)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"weights\.npz"):
        pim_jax.load(converted)


def test_a_run_without_checkpoint(workdir):
    (workdir / "checkpoints").rename(workdir / "elsewhere")
    with pytest.raises(FileNotFoundError, match="checkpoints"):
        pim_jax.load(workdir)


def test_nothing_is_overwritten(converted, params, tmp_path):
    before = {p.name: p.read_bytes() for p in converted.iterdir()}
    with pytest.raises(ValueError, match="exists; expected a new or an empty folder"):
        checkpoints.write(converted, params, SMALL)
    assert {p.name: p.read_bytes() for p in converted.iterdir()} == before
    with pytest.raises(ValueError, match=r"params: .* expected"):
        checkpoints.write(tmp_path / "other", params, ModelConfig())
    assert not (tmp_path / "other").exists()
    (tmp_path / "empty").mkdir()
    checkpoints.write(tmp_path / "empty", params, SMALL)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["converted", "empty"]


def test_weights_without_joint_encoder(tmp_path, params):
    partial = {k: v for k, v in params.items() if k != "joint_encoder"}
    checkpoints.write(tmp_path / "partial", partial, SMALL)
    found, _ = checkpoints.read(tmp_path / "partial")
    assert sorted(found) == sorted(partial)


@pytest.mark.parametrize(
    ("given", "meant"), [("MS_SSIM", "ms-ssim"), ("PIM-1", "pim-1")]
)
def test_names_in_upper_case_are_understood_enough_to_suggest(given, meant):
    with pytest.raises(ValueError, match=f"did you mean '{meant}'"):
        pim_jax.load(given)
