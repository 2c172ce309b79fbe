import jax.numpy as jnp
import numpy as np
import pytest

from pim_jax.ops import resizing

VALUES = jnp.array([0.0, 1.0, 3.0])


@pytest.mark.parametrize(
    ("corners", "expected"),
    [
        (True, [0, 0.5, 1, 2, 3]),
        # At -0.2, 0.4, 1, 1.6, 2.2, held at the ends.
        (False, [0, 0.4, 1, 2.2, 3]),
    ],
)
def test_interpolates_both_axes(corners, expected):
    rows = jnp.broadcast_to(VALUES[:, None], (1, 2, 3, 4))
    found = resizing.bilinear(rows, 5, 2, corners)
    assert found.shape == (1, 2, 5, 2)
    np.testing.assert_allclose(found[0, 1, :, 0], expected, atol=1e-6)
    columns = jnp.broadcast_to(VALUES, (1, 2, 4, 3))
    found = resizing.bilinear(columns, 1, 5, corners)
    np.testing.assert_allclose(found[0, 0, 0], expected, atol=1e-6)


def test_uniform_images_remain_exactly_uniform():
    grey = jnp.full((1, 3, 7, 5), 0.3)
    assert (np.asarray(resizing.bilinear(grey, 11, 13, True)) == grey[0, 0, 0, 0]).all()
