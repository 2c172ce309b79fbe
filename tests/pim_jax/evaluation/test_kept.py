"""Distances on disk: used again for the same metric and pixels, and for nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pim_jax.evaluation import distances, kept
from pim_jax.metric import Metric
from pim_jax.pim.distance import untrained
from pim_jax.pim.model import ModelConfig

TINY = ModelConfig(filters=(3,), z_dim=2, mixtures=1, num_scales=1, steerable_order=0)
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8)
PAIRS = np.array([(0, 1), (0, 2), (1, 0), (3, 4), (2, 2)])
CALLS: list[int] = []


def _weighted(params, a, b):
    jax.debug.callback(lambda: CALLS.append(1))
    return params["weight"] * jnp.mean(jnp.abs(a - b) * a, axis=(1, 2, 3))


def _plain(params, a, b):
    return params["weight"] * jnp.mean(jnp.abs(a - b) * a, axis=(1, 2, 3))


def metric_of(weight, function=_plain):
    return Metric({"weight": jnp.float32(weight)}, function, "weighted")


def calls(metric, pixels=PIXELS, pairs=PAIRS, batch_size=2):
    """Distances, and in how many batches they were computed."""
    CALLS.clear()
    found = distances.pair_distances(metric, pixels, pairs, batch_size)
    jax.effects_barrier()
    return found, len(CALLS)


def test_what_is_known_is_not_computed_again(tmp_path):
    path = tmp_path / "out" / "a.csv"
    metric = metric_of(2.0, _weighted)
    expected, several = calls(metric)
    assert several == 3
    first, several = calls(kept.Kept(metric, kept.Store(path)))
    assert several == 3
    # A program that starts later reads the file.
    again, none = calls(kept.Kept(metric, kept.Store(path)))
    assert none == 0
    np.testing.assert_array_equal(first, expected)
    np.testing.assert_array_equal(again, expected)
    # One pair that is new, in pixels that are known.
    more, one = calls(
        kept.Kept(metric, kept.Store(path)), pairs=np.array([*PAIRS, (4, 1)])
    )
    assert one == 1
    np.testing.assert_array_equal(more[:5], expected)
    assert path.read_text().splitlines()[0] == "pair,distance"
    assert len(path.read_text().splitlines()) == 1 + 6


def test_an_interruption_loses_one_batch_at_most(tmp_path):
    path = tmp_path / "a.csv"
    store = kept.Store(path)
    whole = store.add

    def stopped(names, found):
        whole(names, found)
        if len(store) == 4:
            raise KeyboardInterrupt

    store.add = stopped
    with pytest.raises(KeyboardInterrupt):
        calls(kept.Kept(metric_of(1.0), store))
    assert len(kept.Store(path)) == 4
    # What was being written when the power failed is computed again.
    text = path.read_text()
    path.write_text(text[:-9])
    cut = kept.Store(path)
    assert len(cut) == 3
    found, _ = calls(kept.Kept(metric_of(1.0), cut))
    np.testing.assert_array_equal(found, calls(metric_of(1.0))[0])
    np.testing.assert_array_equal(
        found, calls(kept.Kept(metric_of(1.0), kept.Store(path)))[0]
    )
    assert len(kept.Store(path)) == 5


def test_a_pair_is_named_by_its_pixels_in_order():
    names = kept.pair_names(PIXELS, PAIRS)
    assert len({*names}) == 5
    changed = PIXELS.copy()
    changed[1, 0, 0, 0] ^= 1
    others = kept.pair_names(changed, PAIRS)
    assert [a == b for a, b in zip(names, others, strict=True)] == [
        *(False, True, False, True, True)
    ]
    turned = PIXELS.reshape(5, 8, 32, 3)
    assert not {*names} & {*kept.pair_names(turned, PAIRS)}


def test_a_metric_is_named_by_its_program_and_weights(tmp_path):
    name = kept.fingerprint(metric_of(1.0))
    assert name == kept.fingerprint(metric_of(1.0).replace(name="other"))
    assert name != kept.fingerprint(metric_of(1.5))
    assert name != kept.fingerprint(metric_of(1.0, lambda p, a, b: 2 * _plain(p, a, b)))
    pim = untrained(TINY)
    assert kept.fingerprint(pim) == kept.fingerprint(untrained(TINY))
    assert kept.fingerprint(pim) != kept.fingerprint(untrained(TINY, seed=1))
    found = kept.keep({"runs/a b": metric_of(1.0)}, tmp_path)
    path = found["runs/a b"].store.path
    assert path == tmp_path / "distances" / f"runs-a-b-{name}.csv"


def test_numbers_that_are_none_are_not_kept(tmp_path):
    store = kept.Store(tmp_path / "a.csv")
    store.add(["0" * 32, "1" * 32], np.array([np.nan, np.inf]))
    found = kept.Store(tmp_path / "a.csv").find(["0" * 32, "1" * 32, "2" * 32])
    np.testing.assert_array_equal(found, [np.nan, np.inf, np.nan])


def test_representations_are_compared_alike(tmp_path):
    pim = untrained(TINY)
    found = [
        distances.pair_distances(
            kept.Kept(pim, kept.Store(tmp_path / "a")), PIXELS, p, 2
        )
        for p in (PAIRS[:3], PAIRS)
    ]
    plain = distances.pair_distances(pim, PIXELS, PAIRS, 2)
    np.testing.assert_allclose(found[1], plain, rtol=1e-6, atol=1e-7)
