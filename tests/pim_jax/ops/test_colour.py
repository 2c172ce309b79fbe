import jax
import jax.numpy as jnp
import numpy as np
import skimage.color

from pim_jax.ops import colour

WHITE_D65 = np.array([0.95047, 1.0, 1.08883], np.float32)


def test_lab_equals_skimage():
    image = np.random.RandomState(0).rand(1, 8, 9, 3).astype(np.float32)
    image[0, 0] *= 0.05  # the linear parts of both functions
    expected = skimage.color.rgb2lab(image)
    np.testing.assert_allclose(
        colour.lab(jnp.asarray(image), WHITE_D65), expected, atol=0.01
    )
    np.testing.assert_allclose(
        colour.linear_rgb(jnp.float32([[0, 0.04, 0.5], [1, 1, 1]])),
        [[0, 0.04 / 12.92, 0.2140411], [1, 1, 1]],
        rtol=1e-5,
    )


def test_black_has_a_gradient():
    black = jnp.zeros((1, 3))
    assert np.isfinite(jax.grad(lambda x: colour.lab(x).sum())(black)).all()


def test_lmn_of_grey():
    np.testing.assert_allclose(
        colour.lmn(jnp.ones((1, 3))), [[0.96, -0.01, -0.09]], atol=1e-6
    )
