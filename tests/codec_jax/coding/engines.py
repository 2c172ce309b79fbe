"""The engines of the range coder as parameters of a test."""

import importlib.util

import pytest

ENGINES = [
    "numba",
    pytest.param(
        "tensorflow",
        marks=[
            pytest.mark.tensorflow,
            pytest.mark.skipif(
                importlib.util.find_spec("tensorflow_compression_ops") is None,
                reason="needs tensorflow-compression-ops",
            ),
        ],
    ),
]
