"""Published checkpoints: names, options, and what is missing, superfluous or misshapen."""

import json
import logging

import jax
import numpy as np
import pytest

from pim_jax.pim import parameters
from pim_jax.pim import published as ours
from pim_jax.pim.initialization import init_params
from pim_jax.pim.model import ModelConfig

SMALL = ModelConfig(
    num_scales=1, steerable_order=0, filters=(2, 3), z_dim=2, mixtures=2
)
KERNEL = "frontend/cnns/1/layer_with_weights-0/kernel/.ATTRIBUTES/VARIABLE_VALUE"
JOINT = "joint_encoder/encoders/0/base_cond_mul/1/bias/.ATTRIBUTES/VARIABLE_VALUE"


@pytest.fixture(scope="module")
def params():
    return jax.tree.map(np.asarray, init_params(SMALL, jax.random.key(0)))


@pytest.fixture
def published(params):
    """A published model as {variable: array}."""
    return ours.to_published(params, SMALL)


@pytest.fixture
def folder(tmp_path, write_bundle):
    """Writes a published model and returns its folder."""

    def write(arrays, config=SMALL, **options):
        options = ours.published_config(config) | options
        (tmp_path / "config.json").write_text(json.dumps(options))
        write_bundle(tmp_path / "weights", arrays, _CHECKPOINTABLE_OBJECT_GRAPH=b"")
        return tmp_path

    return write


def assert_same_tree(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_round_trip(folder, published, params):
    found, config = ours.read_published(folder(published))
    assert config == SMALL
    assert_same_tree(found, params)


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(),
        ModelConfig(mixtures=1),
        ModelConfig(frontend="laplacian", num_scales=4, padding="valid"),
        ModelConfig(frontend="none", filters=(5, 3), z_dim=4),
        ModelConfig(steerable_order=5, mixtures=3),
    ],
)
def test_options_round_trip(config):
    options = ours.published_config(config)
    options = json.loads(json.dumps(options))
    found = ours.model_config(options, "test")
    assert found.components == config.components
    assert found == ModelConfig(**{**vars(config), "mixtures": config.components})


def test_missing_options_have_the_published_defaults():
    assert ours.model_config({}, "test") == ModelConfig(mixtures=5)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"num_channels": 1}, "num_channels is 1"),
        ({"cnn": "ResNet"}, "cnn is 'ResNet'"),
        ({"num_distribution_encoder_layers": 3}, "layers is 3, supported is 2"),
        ({"use_residual": False}, "use_residual"),
        ({"multiscale": "Wavelet"}, "'Wavelet', supported is one of"),
        ({"multiscale": ["Steerable"]}, "multiscale"),
        ({"num_filters": [64, 0]}, "num_filters"),
        ({"num_filters": "64"}, "num_filters"),
        ({"nscales": "3"}, "nscales"),
        ({"z_dim": 2.5}, "z_dim"),
        ({"num_marginal_encoder_mixtures": True}, "mixtures"),
        ({"steerable_filter_type": 2}, "steerable_order must be one of"),
        ({"steerable_filter_type": [1]}, "steerable_order must be one of"),
        ({"padding": "reflect"}, "padding must be one of"),
    ],
)
def test_options_that_are_not_supported(options, complaint):
    with pytest.raises(ValueError, match=f"test/config.json: .*{complaint}"):
        ours.model_config(options, "test")


def test_published_names():
    """The names of perceptual.md A.9 and their number, for PIM-1 and PIM-5."""
    for components, count in ((1, 192), (5, 240)):
        config = ModelConfig(mixtures=components)
        shapes = {
            ours.published_key(name, config).removesuffix(
                "/.ATTRIBUTES/VARIABLE_VALUE"
            ): shape
            for name, shape in parameters.parameter_shapes(config).items()
        }
        assert len(shapes) == count
        width = 10 * components
        assert shapes["frontend/cnns/7/layer_with_weights-3/kernel"] == (5, 5, 64, 3)
        assert shapes["marginal_encoder/encoders/0/base/0/kernel"] == (3, width)
        assert shapes["marginal_encoder/encoders/0/base/1/bias"] == (width,)
        assert shapes["joint_encoder/encoders/0/base_cond_add/1/kernel"] == (3, 10)
        if components > 1:
            assert shapes["marginal_encoder/encoders/3/mix/0/kernel"] == (3, 5)
            assert shapes["marginal_encoder/encoders/3/logit_layer/kernel"] == (5, 5)


def test_a_frontend_of_one_scale_is_not_a_list():
    config = ModelConfig(frontend="none")
    key = ours.published_key("frontend/cnns_0/conv_2/bias", config)
    assert key == "frontend/cnn/layer_with_weights-2/bias/.ATTRIBUTES/VARIABLE_VALUE"


@pytest.mark.shared
@pytest.mark.parametrize("name", ["tiny-1", "tiny-5"])
def test_names_are_exactly_those_of_the_published_code(shared, name):
    folder = shared / "fixtures" / "pim" / name
    params, config = ours.read_published(folder)
    listed = {}
    for line in folder.with_name(f"{name}.variables.txt").read_text().splitlines():
        key, _, shape = line.partition(" ")
        listed[key] = tuple(json.loads(shape))
    del listed["_CHECKPOINTABLE_OBJECT_GRAPH"]
    published = ours.to_published(params, config)
    assert {key: array.shape for key, array in published.items()} == listed


def test_bookkeeping_is_ignored_and_other_extra_variables_are_listed(
    folder, published, params, caplog
):
    silent = {
        "save_counter/.ATTRIBUTES/VARIABLE_VALUE": np.int64(3),
        "optimizer/iter/.ATTRIBUTES/VARIABLE_VALUE": np.int64(5),
        f"{KERNEL.removesuffix('/.ATTRIBUTES/VARIABLE_VALUE')}/.OPTIMIZER_SLOT/optimizer"
        "/m/.ATTRIBUTES/VARIABLE_VALUE": np.zeros(3, np.float32),
    }
    extra = {"discriminator/kernel/.ATTRIBUTES/VARIABLE_VALUE": np.zeros(2, np.float32)}
    with caplog.at_level(logging.INFO, logger="absl"):
        found, _ = ours.read_published(folder(published | silent | extra))
    assert_same_tree(found, params)
    warnings = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "discriminator/kernel" in warnings[0]


def test_unknown_options_are_listed(caplog):
    with caplog.at_level(logging.WARNING, logger="absl"):
        ours.model_config({"subsample_shape": [8, 8], "colour": "yes"}, "test")
    assert [r.getMessage() for r in caplog.records] == [
        "test: option colour in config.json is not used"
    ]


@pytest.mark.parametrize("complete", [False, True])
def test_the_joint_encoder_may_be_missing(folder, published, params, complete):
    kept = {
        key: array
        for key, array in published.items()
        if key != JOINT and not (complete and key.startswith("joint_encoder/"))
    }
    found, _ = ours.read_published(folder(kept))
    assert_same_tree(found, {k: v for k, v in params.items() if k != "joint_encoder"})


def test_a_missing_variable_is_named(folder, published):
    del published[KERNEL]
    with pytest.raises(ValueError, match=rf"{KERNEL} is missing.*\(5, 5, 3, 2\)"):
        ours.read_published(folder(published))


@pytest.mark.parametrize("key", [KERNEL, JOINT])
def test_a_misshapen_variable_is_named(folder, published, key):
    shape = published[key].shape
    published[key] = np.zeros((7, 7), np.float32)
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        ours.read_published(folder(published))
    assert f"{key} has shape (7, 7), expected {shape}" in str(caught.value)


def test_another_architecture_is_an_error(folder, published):
    with pytest.raises(ValueError, match=r"has shape .* expected"):
        ours.read_published(folder(published, num_marginal_encoder_mixtures=3))


def test_integers_and_nan_are_errors(folder, published):
    integers = published | {KERNEL: np.zeros((5, 5, 3, 2), np.int32)}
    with pytest.raises(ValueError, match=r"cnns/1/.* type int32"):
        ours.read_published(folder(integers))
    published[KERNEL] = np.full((5, 5, 3, 2), np.nan, np.float32)
    with pytest.raises(ValueError, match=r"cnns/1/.*NaN"):
        ours.read_published(folder(published))


def test_other_precisions_become_float32(folder, published, params):
    double = {key: array.astype(np.float64) for key, array in published.items()}
    found, _ = ours.read_published(folder(double))
    assert_same_tree(found, params)
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(found))


def test_missing_or_damaged_config(folder, published):
    path = folder(published) / "config.json"
    path.write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is not valid JSON"):
        ours.read_published(path.parent)
    path.write_text("[]")
    with pytest.raises(ValueError, match=r"config\.json: expected an object"):
        ours.read_published(path.parent)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        ours.read_published(path.parent)


def test_the_paper_variant_has_no_published_layout(params):
    with pytest.raises(ValueError, match="found 'paper'"):
        ours.to_published(params, ModelConfig(variant="paper"))
    with pytest.raises(ValueError, match=r"params: .* expected"):
        ours.to_published(params, ModelConfig())


@pytest.mark.tensorflow
def test_tensorflow_checkpoint_of_our_parameters(tmp_path, published, params):
    tf = pytest.importorskip("tensorflow")
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "weights"),
        tensor_names=list(published),
        shape_and_slices=[""] * len(published),
        tensors=list(published.values()),
    )
    (tmp_path / "config.json").write_text(json.dumps(ours.published_config(SMALL)))
    found, config = ours.read_published(tmp_path)
    assert config == SMALL
    assert_same_tree(found, params)
