"""Checkpoints: round trip, pruning, and clear refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pim_jax.training import checkpoint, devices
from pim_jax.training.task import initial_state


def state(width=3, value=0.0):
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.1))
    params = {"dense": {"kernel": jnp.full((2, width), value), "bias": jnp.ones(width)}}
    return devices.fetch(initial_state(params, optimizer))


def test_round_trip_keeps_structure_values_and_types(tmp_path):
    saved = state(value=0.1)
    with checkpoint.manager(tmp_path, keep=2) as opened:
        assert checkpoint.restore(opened, saved) is None
        checkpoint.save(opened, 7, saved)
    like = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, saved))
    with checkpoint.manager(tmp_path, keep=2) as opened:
        step, restored = checkpoint.restore(opened, like)
    assert step == 7
    assert jax.tree.structure(restored) == jax.tree.structure(saved)
    for a, b in zip(jax.tree.leaves(restored), jax.tree.leaves(saved), strict=True):
        np.testing.assert_array_equal(a, b)
        assert (a.dtype, a.shape) == (b.dtype, b.shape)


def test_only_the_newest_are_kept(tmp_path):
    with checkpoint.manager(tmp_path, keep=2) as opened:
        for step in (1, 2, 3):
            checkpoint.save(opened, step, state(value=float(step)))
        checkpoint.save(opened, 3, state())  # is there already
    names = {path.name for path in (tmp_path / checkpoint.FOLDER).iterdir()}
    assert names == {"2", "3"}
    newest = checkpoint.read_parameters(tmp_path)
    assert isinstance(newest["dense"]["kernel"], np.ndarray)
    np.testing.assert_array_equal(newest["dense"]["kernel"], np.full((2, 3), 3.0))
    older = checkpoint.read_parameters(tmp_path / checkpoint.FOLDER, 2)
    np.testing.assert_array_equal(older["dense"]["kernel"], np.full((2, 3), 2.0))


def other_names():
    renamed = state()
    params = {"linear": renamed.params["dense"]}
    return renamed.replace(params=params)


def fewer_names():
    return state().replace(params={"dense": {"bias": np.ones(3, np.float32)}})


@pytest.mark.parametrize(
    ("like", "text"),
    [
        (
            lambda: state(width=4),
            r"params/dense/bias has shape \(3,\) float32, expected \(4,\)",
        ),
        (other_names, "it has no params/linear/"),
        (fewer_names, r"it has params/dense/kernel with shape \(2, 3\), which this"),
    ],
)
def test_another_architecture(tmp_path, like, text):
    with checkpoint.manager(tmp_path, keep=1) as opened:
        checkpoint.save(opened, 1, state())
        with pytest.raises(ValueError, match=text):
            checkpoint.restore(opened, like())


def test_nothing_to_read(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected one written by"):
        checkpoint.read_parameters(tmp_path / "nowhere")
    (tmp_path / checkpoint.FOLDER).mkdir()
    with pytest.raises(FileNotFoundError, match="holds no finished checkpoint"):
        checkpoint.read_parameters(tmp_path)


def test_a_damaged_checkpoint_is_one_error(tmp_path):
    with checkpoint.manager(tmp_path, keep=1) as opened:
        checkpoint.save(opened, 1, state())
    for path in (tmp_path / checkpoint.FOLDER / "1").rglob("*"):
        if path.is_file() and "manifest" in path.name:
            path.write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"checkpoint of step 1 .* cannot be read"):
        checkpoint.read_parameters(tmp_path)
