"""Architectures: what is accepted, and that every refusal names its key."""

import dataclasses
import json

import pytest

from codec_jax.models.config import LAMBDAS, MODELS, CodecConfig


def test_published_models():
    assert set(MODELS) == {
        "bls2017",
        "bmshj2018-factorized",
        "bmshj2018-hyperprior",
        "mbt2018-mean",
    }
    assert MODELS["mbt2018-mean"].lambdas == LAMBDAS
    assert [len(MODELS[name].lambdas) for name in MODELS] == [1, 1, 1, 8]


@pytest.mark.parametrize("config", MODELS.values())
def test_through_json_and_back(config):
    values = json.loads(json.dumps(dataclasses.asdict(config)))
    assert CodecConfig.from_dict(values) == config
    assert hash(CodecConfig.from_dict(values)) == hash(config)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"transforms": "vgg"}, "model.transforms is 'vgg', expected one of"),
        ({"normalization": "batch"}, "model.normalization is 'batch'"),
        ({"prior": "gauss"}, "model.prior is 'gauss'"),
        ({"hyper": "float"}, "model.hyper is 'float'"),
        ({"hyper_activation": "gelu"}, "model.hyper_activation is 'gelu'"),
        ({"filters": 0}, "model.filters is 0, expected >= 1"),
        ({"latents": -3}, "model.latents is -3"),
        ({"factorized_filters": (3, 0)}, "model.factorized_filters"),
        ({"offsets": True}, "model.offsets: an integer hyper-synthesis"),
        ({"lambdas": ()}, "model.lambdas"),
        ({"lambdas": (0.0, 1.0)}, "model.lambdas"),
        ({"lambdas": (0.1, 0.1)}, "ascending"),
        ({"lambdas": (0.2, 0.1)}, "ascending"),
        ({"lambdas": (float("nan"),)}, "model.lambdas"),
        ({"lambdas": (1.0, float("inf"))}, "model.lambdas"),
        ({"filter": 3}, r"model has no \['filter'\], only .*'filters'"),
    ],
)
def test_refusals_name_the_key(changes, text):
    with pytest.raises(ValueError, match=text):
        CodecConfig.from_dict(changes)
