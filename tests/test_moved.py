"""Modules under their old names."""

import importlib
import subprocess
import sys

import pytest

from pim_jax import moved


@pytest.mark.parametrize("old", sorted(moved.MOVED))
def test_old_names_give_the_module_of_the_new_one(old):
    new = importlib.import_module(moved.MOVED[old])
    specification = new.__spec__
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=f"{old} is now {new.__name__}"):
        assert importlib.import_module(old) is new
    assert new.__spec__ is specification
    assert new.__name__ == moved.MOVED[old]


def test_names_that_the_documents_have_shown():
    program = """
import pim_jax, codec_jax
from pim_jax.data.video import prepare
from pim_jax.backbones import taps
import pim_jax.pretrained
from pim_jax.heads_task import read
from pim_jax.metric import PimMetric, distance
from codec_jax.image_files import read
from codec_jax.data import find_images
pim_jax.load, pim_jax.distance, pim_jax.Metric, pim_jax.METRICS
codec_jax.load, codec_jax.DEFAULT
"""
    subprocess.run([sys.executable, "-c", program], check=True)
