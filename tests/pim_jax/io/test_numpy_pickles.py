"""Pickles of arrays are read; whatever asks for more is refused."""

import os
import pickle

import jax
import numpy as np
import pytest

from pim_jax.io import numpy_pickles

TREE = {
    "VGG16_0": {"Conv_0": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}},
    "count": np.array([1, 2]),
    "by columns": np.asfortranarray(np.eye(2, 3, dtype=">f8")),
}


@pytest.mark.parametrize("protocol", [3, 4])
def test_arrays_come_back(tmp_path, protocol):
    path = tmp_path / "weights.ckpt"
    path.write_bytes(pickle.dumps(TREE, protocol))
    found = numpy_pickles.read(path)
    jax.tree.map(np.testing.assert_array_equal, found, TREE)


class _Call:
    def __reduce__(self):
        return os.mkdir, ("made",)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (pickle.dumps({"a": _Call()}), r"it asks for (posix|nt)\.mkdir"),
        (pickle.dumps(np.zeros(3), 4), "expected a dictionary"),
        (pickle.dumps({"a": [1, 2]}, 4), "it holds list"),
        (pickle.dumps({"a": np.array([{}], object)}, 4), "an array of 'O8'"),
        (pickle.dumps({1: np.zeros(3)}, 4), "it holds dict"),
        (pickle.dumps(TREE, 4)[:-40], "no pickle of arrays"),
        (b"", "no pickle of arrays"),
        (b"text", "no pickle of arrays"),
    ],
)
def test_anything_else_is_refused(tmp_path, monkeypatch, data, said):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.ckpt"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=said):
        numpy_pickles.read(path)
    assert not (tmp_path / "made").exists()


def test_damage_is_an_error_or_harmless(tmp_path):
    """Every byte changed once: ValueError, or arrays of numbers."""
    whole = pickle.dumps(TREE, 4)
    path, random = tmp_path / "weights.ckpt", np.random.default_rng(0)
    refused = 0
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] = random.integers(256)
        path.write_bytes(data)
        try:
            found = numpy_pickles.read(path)
        except ValueError:
            refused += 1
        else:
            kinds = {leaf.dtype.kind for leaf in jax.tree.leaves(found)}
            assert kinds <= {"f", "i", "u"}
    assert refused > len(whole) / 4


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        numpy_pickles.read(tmp_path / "absent.ckpt")
