"""The comparison of coders: one call trains, scores, draws; a second only scores."""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from codec_jax.toy import evaluation, pictures
from codec_jax.toy.sources import SOURCES
from codec_jax.toy.task import Score
from codec_jax.toy.vector_quantization import ecvq
from configs import eval_toy, toy

SMALL = {
    "steps": 1,
    "updates_per_step": 2,
    "evaluate_every": 0,
    "batch_size": 64,
    "validation_samples": 1000,
    "model.codewords": 16,
}


def test_the_first_call_trains_and_the_second_only_scores(tmp_path):
    config = eval_toy.get_config()
    config.update({"out": str(tmp_path), "seeds": (0, 1), "samples": 1000})
    config.coders.ecvq.update_from_flattened_dict(SMALL)
    with config.unlocked():
        del config.coders.ltc, config.coders.ntc
    said: list[str] = []
    (table,) = evaluation.toy(config, said.append)
    assert said == ["ecvq, seed 0", "ecvq, seed 1"]
    row = table.rows["ecvq"]
    score = row[evaluation.LAGRANGIAN]
    assert score.low < score.value < score.high
    assert score.value == pytest.approx(row["R"].value + 8 * row["D"].value)
    # Of two, the deviation is their distance by the root of two.
    deviation = (score.high - score.low) / 2**0.5
    assert row["standard deviation"].value == pytest.approx(deviation, rel=1e-5)
    assert row["published"].value == 5.95
    assert (tmp_path / "cells.png").stat().st_size > 10_000
    logs = {path: path.read_text() for path in tmp_path.glob("*/log.jsonl")}
    assert len(logs) == 2
    (again,) = evaluation.toy(config, said.append)
    assert again == table
    assert logs == {path: path.read_text() for path in logs}


def test_only_the_banana_at_the_published_price_has_published_figures():
    scores = {"ntc": [Score(4.0, 0.25, 6.0)]}
    banana = toy.get_config("ntc")
    row = evaluation.table(banana, scores, 10).rows["ntc"]
    assert row["published"].value == 5.97
    assert row["R"].low is None
    banana.lmbda = 4.0
    assert "published" not in evaluation.table(banana, scores, 10).columns


def test_the_sawbridge_stands_beside_its_optimum():
    config = toy.get_config("sawbridge,ntc")
    rows = evaluation.table(config, {"ntc": [Score(4.0, 0.1, 10.0)]}, 10).rows
    assert rows["optimum"]["R"].value == pytest.approx(np.log2(7))
    assert rows["optimum"]["D"].value == pytest.approx(1 / 42)


def test_no_seeds_are_an_error():
    config = ml_collections.ConfigDict({"seeds": ()})
    with pytest.raises(ValueError, match=r"config\.seeds is empty"):
        evaluation.toy(config, print)


CODER = ecvq(SOURCES["banana"], 3, 1.0)
# Two equally probable vectors, and one that is never chosen.
THREE = {
    "vectors": jnp.asarray([[-1.0, 0.0], [2.0, 0.0], [0.0, 0.0]]),
    "logits": jnp.asarray([0.0, 0.0, -2000.0]),
}


def test_the_border_of_two_vectors_is_their_bisector():
    found = pictures.borders(CODER, THREE, side=100)
    ticks = np.linspace(-5, 5, 100)
    # The pixel left of x = 1/2, in every row.
    np.testing.assert_array_equal(
        found, np.tile((ticks[:-1] < 0.5) & (ticks[1:] >= 0.5), (99, 1))
    )


def test_only_vectors_that_occur_are_shown():
    found = pictures.code_vectors(CODER, THREE, SOURCES["banana"], samples=5000)
    np.testing.assert_array_equal(found.vectors, [[-1, 0], [2, 0]])
    x = np.asarray(SOURCES["banana"].sample(jax.random.key(pictures.SEED), 5000))
    np.testing.assert_allclose(found.probabilities[0], np.mean(x[:, 0] < 0.5))


def test_a_figure_becomes_pixels():
    coder = (CODER, THREE)
    drawn = pictures.figure({"a": coder, "b": coder}, SOURCES["banana"], side=50)
    image = pictures.pixels(drawn)
    assert image.dtype == np.uint8
    assert image.shape[1] > 1.5 * image.shape[0]
    assert image.shape[2] == 3
