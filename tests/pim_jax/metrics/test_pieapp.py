"""PieAPP: equal to piq's on random weights, and clear about its file."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden import pieapp as golden

import pim_jax
from pim_jax import torch_files
from pim_jax.metrics import ABOUT, pieapp

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def state():
    return golden.state(pieapp.published_shapes())


@pytest.fixture(scope="module")
def metric(state):
    return pieapp.metric(pieapp.from_published(state))


@pytest.fixture(scope="module")
def pair():
    return tuple(map(jnp.asarray, golden.images()))


def test_equals_piq(golden_folder, metric, pair):
    with np.load(golden_folder / "pieapp.npz") as stored:
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
    assert np.abs(gradient[:, 91:]).max() == np.abs(gradient[:, :, 64:]).max() == 0


def test_jit_and_vmap_equal_the_plain_call(metric, pair):
    plain = metric(*pair)
    mapped = jax.vmap(lambda x, y: metric(x[None], y[None])[0])(*pair)
    np.testing.assert_allclose(mapped, plain, rtol=1e-4, atol=1e-5)


def test_equal_images_have_a_finite_gradient(metric, pair):
    x, _ = pair
    gradient = jax.grad(lambda y: metric(x, y).sum())(x)
    assert np.isfinite(gradient).all()


def test_wrong_input(metric, pair):
    small = pair[0][:, :63]
    with pytest.raises(ValueError, match="at least 64 pixels"):
        metric(small, small)


def test_the_published_file(tmp_path, monkeypatch, state, metric, pair):
    """Whose last weight is a vector."""
    published = {**state, "ref_score_subtract.weight": np.ones(1, np.float32)}
    monkeypatch.setattr(torch_files, "read_state_dict", lambda path: published)
    loaded = pim_jax.load("pieapp", tmp_path / "PieAPPv0.1.pth")
    assert (loaded.name, loaded.minimum_size) == (
        "pieapp",
        ABOUT["pieapp"].minimum_size,
    )
    ratio = np.ones(2) / state["ref_score_subtract.weight"].item()
    bias = state["ref_score_subtract.bias"].item()
    expected = (metric(*pair) - bias) * ratio + bias
    np.testing.assert_allclose(loaded(*pair), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"conv3.bias": None}, "conv3.bias of PieAPP is missing"),
        ({"conv12.bias": np.zeros(3)}, "conv12.bias is no parameter"),
        ({"conv1.bias": np.zeros(3)}, r"conv1.bias has shape \(3,\), expected \(64,\)"),
        ({"conv1.bias": np.full(64, np.nan)}, "conv1.bias must hold finite"),
    ],
)
def test_other_weights_are_refused(state, change, said):
    changed = {k: v for k, v in {**state, **change}.items() if v is not None}
    with pytest.raises(ValueError, match=said):
        pieapp.from_published(changed)


def test_without_a_file_it_says_which():
    with pytest.raises(FileNotFoundError, match=r"PieAPPv0\.1\.pth"):
        pim_jax.load("pieapp")
