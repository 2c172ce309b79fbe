"""Errors of decoders become one kind, and no others do."""

import pytest

from pim_jax.io.damage import DamagedError, decoding, named


def test_only_the_named_errors_are_those_of_a_decoder():
    with pytest.raises(DamagedError, match=r"^wrong length$"), decoding(IndexError):
        raise IndexError("wrong\n length.")
    with pytest.raises(DamagedError, match=r"^IndexError$"), decoding(IndexError):
        raise IndexError
    with pytest.raises(TypeError), decoding(IndexError):
        raise TypeError
    with pytest.raises(DamagedError, match=r"^kept\.$"), decoding(ValueError):
        raise DamagedError("kept.")


def test_the_file_is_named():
    with pytest.raises(ValueError, match=r"^a\.png: wrong$"), named("a.png"):
        raise DamagedError("wrong")
    with pytest.raises(KeyError), named("a.png"):
        raise KeyError
