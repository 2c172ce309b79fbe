import jax.numpy as jnp
import numpy as np
import pytest

from pim_jax.ops import averaging, gradients


def test_boxes_bring_the_shorter_side_near_256():
    sides = {64: 1, 384: 2, 383: 1, 512: 2, 640: 2, 641: 3, 1080: 4}
    assert {side: averaging.box_size(side, 2000) for side in sides} == sides


def test_box_average_leaves_incomplete_boxes_out():
    image = np.random.RandomState(0).rand(2, 7, 8, 3).astype(np.float32)
    expected = image[:, :6, :6].reshape(2, 2, 3, 2, 3, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(
        averaging.box_average(jnp.asarray(image), 3), expected, rtol=1e-5
    )


@pytest.mark.parametrize("beyond", ["edge", "constant"])
def test_halving_odd_sizes(beyond):
    image = np.random.RandomState(0).rand(1, 3, 5, 1).astype(np.float32)
    padded = np.pad(image, ((0, 0), (0, 1), (0, 1), (0, 0)), mode=beyond)
    expected = padded.reshape(1, 2, 2, 3, 2, 1).mean(axis=(2, 4))
    np.testing.assert_allclose(
        averaging.halve(jnp.asarray(image), beyond), expected, rtol=1e-6
    )


@pytest.mark.parametrize(
    "magnitude", [gradients.prewitt_magnitude, gradients.scharr_magnitude]
)
def test_a_ramp_has_magnitude_two_inside(magnitude):
    ramp = jnp.arange(6.0)[None, :, None, None] * jnp.ones((1, 6, 7, 1))
    np.testing.assert_allclose(magnitude(ramp)[:, 1:-1, 1:-1], 2, rtol=1e-6)
    # Zeros beyond the border.
    np.testing.assert_allclose(magnitude(ramp + 5)[0, 0, 3, 0], 6, rtol=1e-6)
