"""PieAPP and DeepIQA: equal to ports on random weights, and clear about their files."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pim_jax
from pim_jax.io import torch_files
from pim_jax.metrics import METRICS, deepiqa, pieapp
from tests.golden import deepiqa as golden_deepiqa
from tests.golden import networks
from tests.golden import pieapp as golden_pieapp

TOLERANCE = 1e-5


class Case(NamedTuple):
    """A metric with its reference.

    Attributes:
      module: what is tested.
      golden: the script that made the reference values.
      inside: rows that are in some window.
      bias: the name of some bias, and its length.
      missing: the name of some weight.
      title: of the network, in messages.
      mapped: tolerance of the value under vmap, of what is added up.
    """

    module: Any
    golden: Any
    inside: int
    bias: tuple[str, int]
    missing: str
    title: str
    mapped: float


CASES = {
    "pieapp": Case(
        pieapp, golden_pieapp, 91, ("conv1.bias", 64), "conv3.bias", "PieAPP", 1e-5
    ),
    "deepiqa": Case(
        deepiqa, golden_deepiqa, 96, ("conv1/b", 32), "fc1_a/W", "DeepIQA", 1e-4
    ),
}


class Subject(NamedTuple):
    """One case with everything made.

    Attributes:
      name, case: of the case.
      state: random weights by the published names.
      metric: with these weights.
      pair: references and images.
    """

    name: str
    case: Case
    state: dict[str, np.ndarray]
    metric: Any
    pair: tuple[jax.Array, jax.Array]


@functools.cache
def make(name: str) -> Subject:
    case = CASES[name]
    state = networks.state(case.module.published_shapes(), case.golden.POSITIVE)
    x, y = map(jnp.asarray, networks.images(*case.golden.SIZE))
    metric = case.module.metric(case.module.from_published(state))
    return Subject(name, case, state, metric, (x, y))


@pytest.fixture(scope="module", params=CASES)
def subject(request):
    return make(request.param)


def test_equals_the_port(golden_folder, subject):
    with np.load(golden_folder / f"{subject.name}.npz") as stored:
        expected = dict(stored)

    @jax.jit
    def value_and_gradient(metric, x, y):
        return metric(x, y), jax.grad(lambda y: metric(x, y).sum())(y)

    value, gradient = value_and_gradient(subject.metric, *subject.pair)
    np.testing.assert_allclose(value, expected["value"], TOLERANCE, TOLERANCE)
    scale = np.abs(expected["gradient"]).max()
    found = gradient[:, ::3, ::3]
    np.testing.assert_allclose(found, expected["gradient"], atol=1e-4 * scale)
    # The last rows and columns are in no window.
    below, right = gradient[:, subject.case.inside :], gradient[:, :, 64:]
    assert np.abs(below).max() == np.abs(right).max() == 0


def test_jit_and_vmap_equal_the_plain_call(subject):
    plain = subject.metric(*subject.pair)
    mapped = jax.vmap(lambda x, y: subject.metric(x[None], y[None])[0])(*subject.pair)
    np.testing.assert_allclose(mapped, plain, rtol=1e-4, atol=subject.case.mapped)


def test_equal_images_have_a_finite_gradient(subject):
    x, _ = subject.pair
    gradient = jax.grad(lambda y: subject.metric(x, y).sum())(x)
    assert np.isfinite(gradient).all()


def test_wrong_input(subject):
    least = METRICS[subject.name].minimum_size
    small = subject.pair[0][:, : least - 1]
    with pytest.raises(ValueError, match=f"at least {least} pixels"):
        subject.metric(small, small)


def test_other_weights_are_refused(subject):
    bias, length = subject.case.bias
    missing = subject.case.missing
    for change, said in (
        ({missing: None}, f"{missing} of {subject.case.title} is missing"),
        ({"conv0": np.zeros(3)}, "conv0 is no parameter"),
        ({bias: np.zeros(3)}, rf"{bias} has shape \(3,\), expected \({length},\)"),
        ({bias: np.full(length, np.nan)}, f"{bias} must hold finite"),
    ):
        changed = {**subject.state, **change}
        with pytest.raises(ValueError, match=said):
            subject.case.module.from_published(
                {k: v for k, v in changed.items() if v is not None}
            )


@pytest.mark.parametrize(
    ("name", "said"), [("pieapp", r"PieAPPv0\.1\.pth"), ("deepiqa", "dmaniry/deepIQA")]
)
def test_without_a_file_it_says_which(name, said, tmp_path):
    with pytest.raises(FileNotFoundError, match=said):
        pim_jax.load(name)
    with pytest.raises(FileNotFoundError, match="absent"):
        pim_jax.load(name, tmp_path / "absent")


def test_the_published_file_of_pieapp(tmp_path, monkeypatch):
    """Whose last weight is a vector."""
    state, metric, pair = make("pieapp")[2:]
    published = {**state, "ref_score_subtract.weight": np.ones(1, np.float32)}
    monkeypatch.setattr(torch_files, "read_state_dict", lambda path: published)
    loaded = pim_jax.load("pieapp", tmp_path / "PieAPPv0.1.pth")
    about = METRICS["pieapp"]
    assert (loaded.name, loaded.minimum_size) == ("pieapp", about.minimum_size)
    ratio = np.ones(2) / state["ref_score_subtract.weight"].item()
    bias = state["ref_score_subtract.bias"].item()
    expected = (metric(*pair) - bias) * ratio + bias
    np.testing.assert_allclose(loaded(*pair), expected, rtol=1e-3, atol=1e-4)


def test_files_of_deepiqa(tmp_path):
    state, metric, pair = make("deepiqa")[2:]
    np.savez(tmp_path / "model.npz", **state)
    loaded = pim_jax.load("deepiqa", tmp_path / "model.npz")
    assert (loaded.name, loaded.version) == ("deepiqa", METRICS["deepiqa"].version)
    np.testing.assert_array_equal(loaded(*pair), metric(*pair))
    (tmp_path / "damaged.model").write_bytes(b"no model")
    pytest.importorskip("h5py")
    with pytest.raises(ValueError, match="nor HDF5"):
        pim_jax.load("deepiqa", tmp_path / "damaged.model")


def test_the_published_format_of_deepiqa(tmp_path):
    """Chainer's: a group for each layer, with W and b."""
    h5py = pytest.importorskip("h5py")
    state, metric, pair = make("deepiqa")[2:]
    with h5py.File(tmp_path / "fr.model", "w") as file:
        for name, array in state.items():
            file[name] = array
    loaded = pim_jax.load("deepiqa", tmp_path / "fr.model")
    np.testing.assert_array_equal(loaded(*pair), metric(*pair))
