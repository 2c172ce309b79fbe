import jax.numpy as jnp
import numpy as np
import pytest

from pim_jax.metrics import METRICS, vif


def test_equals_piq(golden_pairs):
    for pair in golden_pairs.values():
        value = METRICS["vif"]()(pair.reference, pair.distorted)
        np.testing.assert_allclose(1 - value, pair.values["vif"], rtol=1e-4)


def test_the_first_image_is_the_reference(golden_pairs):
    """Raising the contrast adds information, lowering it loses some."""
    metric = METRICS["vif"]()
    a = golden_pairs["jpeg"].reference
    flatter = 0.5 + 0.5 * (a - 0.5)
    assert METRICS["vif"].smallest < metric(flatter, a)[0] < -0.05
    assert 0.05 < metric(a, flatter)[0] < 1


def test_negatives_keep_nothing_and_flat_references_lose_nothing(golden_pairs):
    metric = METRICS["vif"]()
    a = jnp.asarray(golden_pairs["jpeg"].reference)
    np.testing.assert_allclose(metric(a, 1 - a), 1, atol=0.02)
    flat = jnp.full_like(a, 0.7)
    np.testing.assert_allclose(metric(a, flat), 1, atol=1e-6)
    np.testing.assert_allclose(metric(flat, a), 0, atol=1e-6)


def test_wrong_shapes_are_refused():
    a = jnp.zeros((1, 50, 60, 1))
    with pytest.raises(ValueError, match="one shape"):
        vif.vif(a, a[:, 1:])
    with pytest.raises(ValueError, match="at least 41x41 pixels, found 40x60"):
        vif.vif(a[:, :40], a[:, :40])
