"""Convolutions with fewer products: equal to XLA's own, forward and backward."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pim_jax.ops.fast_cpu import convolution


def arrays(height, size, inputs, outputs, dtype=np.float32):
    """Images and a kernel whose outputs have a variance of one."""
    random = np.random.default_rng(height + size)
    image = random.standard_normal((2, height, height + 3, inputs))
    kernel = random.standard_normal((size, size, inputs, outputs))
    kernel /= np.sqrt(size**2 * inputs)
    return jnp.asarray(image, dtype), jnp.asarray(kernel, dtype)


@pytest.mark.parametrize("padding", ["SAME", "VALID", ((1, 2), (3, 0))])
@pytest.mark.parametrize("height", [5, 6, 16])
@pytest.mark.parametrize(("size", "stride"), [(2, 1), (3, 1), (5, 1), (3, 2), (5, 2)])
def test_toom_cook(size, stride, height, padding):
    image, kernel = arrays(height, size, 3, 4)
    found = convolution.toom_cook(image, kernel, padding, stride)
    expected = convolution.direct(image, kernel, padding, stride)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("padding", ["SAME", "VALID", ((1, 2), (3, 0))])
def test_by_columns(padding):
    image, kernel = arrays(7, 5, 16, 3)
    found = convolution.by_columns(image, kernel, padding)
    expected = convolution.direct(image, kernel, padding)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("padding", ["SAME", "VALID", ((2, 2), (3, 0))])
@pytest.mark.parametrize("height", [11, 13, 20])
@pytest.mark.parametrize(("size", "stride"), [(11, 4), (8, 4), (6, 5)])
def test_by_blocks(size, stride, height, padding):
    image, kernel = arrays(height, size, 3, 16)
    found = convolution.by_blocks(image, kernel, padding, stride)
    expected = convolution.direct(image, kernel, padding, stride)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "stride", "inputs"), [(5, 1, 16), (5, 2, 16), (3, 1, 16), (11, 4, 3)]
)
def test_gradients(size, stride, inputs):
    arguments = arrays(9, size, inputs, 16)

    def gradients(function):
        def energy(image, kernel):
            return jnp.sum(jnp.sin(function(image, kernel, "SAME", stride)))

        return jax.jit(jax.grad(energy, (0, 1)))(*arguments)

    for found, expected in zip(
        gradients(convolution.convolve), gradients(convolution.direct), strict=True
    ):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found / scale, expected / scale, atol=1e-5)


def test_what_is_chosen():
    """Few products only where they pay: enough channels, float32, a kernel in range."""

    def products(size, inputs, outputs, stride=1, dtype=np.float32):
        image, kernel = arrays(16, size, inputs, outputs, dtype)
        function = jax.jit(lambda x, k: convolution.convolve(x, k, "SAME", stride))
        return function.lower(image, kernel).compile().as_text().count(" convolution(")

    if jax.default_backend() != "cpu":
        pytest.skip("other devices use their own convolution")
    assert products(5, 16, 16) == 8
    assert products(5, 16, 16, stride=2) == 6 + 5
    assert products(5, 16, 3) == 1  # by columns
    assert products(5, 3, 16) == 1
    assert products(9, 16, 16) == 1
    assert products(11, 3, 16, stride=4) == 6  # by blocks, then 3x3
    assert products(4, 3, 16, stride=4) == 1
    assert products(5, 16, 16, dtype=jnp.bfloat16) == 1
    for precision in ("highest", "float32"):
        with jax.default_matmul_precision(precision):
            assert products(5, 16, 16) == 1


def test_under_vmap_and_forward_mode():
    image, kernel = arrays(8, 5, 16, 16)
    function = jax.jit(lambda x: convolution.convolve(x, kernel, "SAME"))
    mapped = jax.vmap(function)(image[None])[0]
    np.testing.assert_allclose(mapped, function(image), atol=1e-5)
    # Linear: the derivative in direction of the image is the value.
    _, tangent = jax.jvp(function, (image,), (image,))
    np.testing.assert_allclose(tangent, function(image), atol=1e-5)
