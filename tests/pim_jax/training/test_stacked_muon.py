"""Muon with matrices of one shape orthogonalised together."""

import jax
import numpy as np
import optax

from pim_jax.training import stacked_muon


def test_singular_values_become_alike():
    matrices = jax.random.normal(jax.random.key(0), (3, 20, 8))
    found = stacked_muon.orthogonalized(matrices)
    values = np.linalg.svd(found, compute_uv=False)
    assert values.min() > 0.6
    assert values.max() < 1.3
    turned = stacked_muon.orthogonalized(matrices.swapaxes(1, 2)).swapaxes(1, 2)
    np.testing.assert_allclose(found, turned, atol=1e-5)


def test_the_first_update_is_that_of_optax():
    """Which orthogonalises one matrix at a time; later ones weigh the past otherwise."""
    key = jax.random.key(1)
    params = {
        name: jax.random.normal(jax.random.fold_in(key, number), shape)
        for number, (name, shape) in enumerate(
            {"a": (6, 10), "b": (6, 10), "c": (12, 4)}.items()
        )
    }
    ours = stacked_muon.scale_by_stacked_muon(0.95)
    theirs = optax.contrib.muon(1.0, beta=0.95, consistent_rms=0.2)
    found, _ = ours.update(params, ours.init(params))
    expected, _ = theirs.update(params, theirs.init(params), params)
    # Theirs has the sign of a step.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, -b, atol=1e-4), found, expected
    )


def test_momentum():
    first, second = jax.random.normal(jax.random.key(2), (2, 6, 10))
    moves = stacked_muon.scale_by_stacked_muon(0.5)
    _, state = moves.update([first], moves.init([first]))
    (found,), state = moves.update([second], state)
    total = 0.5 * first + second
    np.testing.assert_allclose(state.momentum[0], total, rtol=1e-6)
    ahead = stacked_muon.orthogonalized((0.5 * total + second)[None])[0]
    np.testing.assert_allclose(found, 0.2 * np.sqrt(10) * ahead, atol=1e-5)
