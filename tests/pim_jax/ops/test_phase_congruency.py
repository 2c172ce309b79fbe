import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pim_jax.ops import order, phase_congruency


@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_lower_median(count):
    values = np.random.RandomState(count).rand(3, count).astype(np.float32)
    values[0] = 0
    values[1] = np.round(3 * values[1])
    expected = np.sort(values, axis=-1)[:, (count - 1) // 2]
    np.testing.assert_array_equal(order.lower_median(jnp.asarray(values)), expected)
    gradient = jax.grad(lambda x: order.lower_median(x).sum())(jnp.asarray(values))
    assert gradient.sum(axis=-1).tolist() == [1, 1, 1]
    np.testing.assert_array_equal((gradient * values).sum(axis=-1), expected)


def test_filters_are_those_of_the_definition():
    filters = phase_congruency.log_gabor_filters(8, 12)
    assert filters.shape == (4, 4, 8, 12)
    assert not filters[..., 0, 0].any()
    # Down at 1 / 8 cycles per pixel, for orientation 0 and scale 1, wavelength 12.
    radial = np.exp(-(np.log(12 / 8) ** 2) / (2 * np.log(0.55) ** 2))
    np.testing.assert_allclose(filters[0, 1, 1, 0], radial, rtol=1e-5)
    quarter = np.exp(-((np.pi / 2) ** 2) / (2 * (np.pi / 4.8) ** 2))
    np.testing.assert_allclose(filters[2, 1, 1, 0], radial * quarter, rtol=1e-5)


def test_edges_are_in_phase_whatever_their_contrast():
    step = (jnp.arange(64) >= 32)[None, None, :] * jnp.ones((1, 64, 64))
    found = phase_congruency.phase_congruency(jnp.concatenate([200 * step, 20 * step]))
    np.testing.assert_allclose(found[0], found[1], atol=1e-4)
    assert (found >= 0).all()
    assert (found <= 1).all()
    assert found[0, 32, 31:33].min() > 0.75
    assert found[0, 32, 20] < 0.5 * found[0, 32, 31]


def test_uniform_images_are_the_same_everywhere():
    grey = jnp.full((1, 9, 10), 100.3)
    np.testing.assert_allclose(phase_congruency.phase_congruency(grey), 1, atol=1e-6)
