import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pim_jax.ops import averaging, gradients, roots, similarity


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


def test_roots_and_powers_have_finite_gradients():
    x = jnp.array([0.0, 1e-30, 1e-9, 0.25, 1.0])
    np.testing.assert_allclose(roots.root(x), np.sqrt(x), rtol=1e-6)
    np.testing.assert_allclose(roots.power(x[3:], 0.02), x[3:] ** 0.02, rtol=1e-6)
    np.testing.assert_allclose(roots.power(-x, 0.02), roots.power(x, 0.02))
    for function in (roots.root, lambda x: roots.power(x, 0.02)):
        assert np.isfinite(jax.vmap(jax.grad(function))(x)).all()
        assert np.isfinite(jax.vmap(jax.grad(function))(-x)).all()
    assert jax.grad(roots.root)(0.0) == 0
    assert jax.grad(lambda x: roots.magnitude(x, 2 * x))(0.0) == 0


def test_dissimilarity_is_what_similarity_leaves():
    a, b = jnp.float32(np.random.RandomState(0).rand(2, 20))
    np.testing.assert_allclose(
        similarity.dissimilarity(a, b, 0.1),
        1 - similarity.similarity(a, b, 0.1),
        atol=1e-6,
    )
    masked = similarity.dissimilarity(a, b, 0.1, masking=0.5)
    assert (masked >= similarity.dissimilarity(a, b, 0.1)).all()
