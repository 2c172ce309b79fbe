"""DeepIQA: equal to pyiqa's on random weights, and clear about its files."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden import deepiqa as golden

import pim_jax
from pim_jax.metrics import ABOUT, deepiqa

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def state():
    return golden.state(deepiqa.published_shapes())


@pytest.fixture(scope="module")
def metric(state):
    return deepiqa.metric(deepiqa.from_published(state))


@pytest.fixture(scope="module")
def pair():
    return tuple(map(jnp.asarray, golden.images()))


def test_equals_pyiqa(golden_folder, metric, pair):
    with np.load(golden_folder / "deepiqa.npz") as stored:
        expected = dict(stored)

    @jax.jit
    def value_and_gradient(metric, x, y):
        return metric(x, y), jax.grad(lambda y: metric(x, y).sum())(y)

    value, gradient = value_and_gradient(metric, *pair)
    np.testing.assert_allclose(value, expected["value"], TOLERANCE, TOLERANCE)
    scale = np.abs(expected["gradient"]).max()
    found = gradient[:, ::3, ::3]
    np.testing.assert_allclose(found, expected["gradient"], atol=1e-4 * scale)
    # The last rows and columns are in no window.
    assert np.abs(gradient[:, 96:]).max() == np.abs(gradient[:, :, 64:]).max() == 0


def test_jit_and_vmap_equal_the_plain_call(metric, pair):
    plain = metric(*pair)
    mapped = jax.vmap(lambda x, y: metric(x[None], y[None])[0])(*pair)
    np.testing.assert_allclose(mapped, plain, rtol=1e-4, atol=1e-4)


def test_equal_images_have_a_finite_gradient(metric, pair):
    x, _ = pair
    gradient = jax.grad(lambda y: metric(x, y).sum())(x)
    assert np.isfinite(gradient).all()


def test_wrong_input(metric, pair):
    small = pair[0][:, :31]
    with pytest.raises(ValueError, match="at least 32 pixels"):
        metric(small, small)


def test_files(tmp_path, state, metric, pair):
    np.savez(tmp_path / "model.npz", **state)
    loaded = pim_jax.load("deepiqa", tmp_path / "model.npz")
    assert (loaded.name, loaded.version) == ("deepiqa", ABOUT["deepiqa"].version)
    np.testing.assert_array_equal(loaded(*pair), metric(*pair))
    (tmp_path / "damaged.model").write_bytes(b"no model")
    pytest.importorskip("h5py")
    with pytest.raises(ValueError, match="nor HDF5"):
        pim_jax.load("deepiqa", tmp_path / "damaged.model")


def test_the_published_format(tmp_path, state, metric, pair):
    """Chainer's: a group for each layer, with W and b."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "fr.model", "w") as file:
        for name, array in state.items():
            file[name] = array
    loaded = pim_jax.load("deepiqa", tmp_path / "fr.model")
    np.testing.assert_array_equal(loaded(*pair), metric(*pair))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"fc1_a/W": None}, "fc1_a/W of DeepIQA is missing"),
        ({"conv11/b": np.zeros(3)}, "conv11/b is no parameter"),
        ({"conv1/b": np.zeros(3)}, r"conv1/b has shape \(3,\), expected \(32,\)"),
        ({"conv1/b": np.full(32, np.nan)}, "conv1/b must hold finite"),
    ],
)
def test_other_weights_are_refused(state, change, said):
    changed = {k: v for k, v in {**state, **change}.items() if v is not None}
    with pytest.raises(ValueError, match=said):
        deepiqa.from_published(changed)


def test_without_a_file_it_says_which(tmp_path):
    with pytest.raises(FileNotFoundError, match="dmaniry/deepIQA"):
        pim_jax.load("deepiqa")
    with pytest.raises(FileNotFoundError, match="no such file"):
        pim_jax.load("deepiqa", tmp_path / "absent.model")
