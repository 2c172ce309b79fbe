"""Convolutions against XLA's own forms, for every kernel and stride that codecs use."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from pim_jax.ops.fast_cpu import strided

PAIRS = [(1, 1), (3, 1), (5, 1), (3, 2), (5, 2), (9, 4), (3, 3), (5, 4)]
SIZES = [(5, 7), (8, 4), (1, 1), (1, 6)]
# Many outputs and few: two forms.
CHANNELS = [(3, 12), (12, 3)]
LAYOUT = ("NHWC", "HWIO", "NHWC")


def by_xla(x, kernel, stride):
    half = len(kernel) // 2
    padding = ((half, half),) * 2
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=LAYOUT
    )


def dilated(x, kernel, stride):
    before = len(kernel) - 1 - len(kernel) // 2
    return lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        ((before, before + stride - 1),) * 2,
        lhs_dilation=(stride, stride),
        dimension_numbers=LAYOUT,
    )


def with_gradients(function, x, kernel, stride):
    """The output, and both gradients of a random linear function of it."""

    def value(x, kernel):
        y = function(x, kernel, stride)
        weights = np.random.default_rng(1).normal(size=y.shape).astype(np.float32)
        return jnp.sum(y * weights), y

    return jax.jit(jax.value_and_grad(value, argnums=(0, 1), has_aux=True))(x, kernel)


@pytest.mark.parametrize(
    ("ours", "reference"),
    [(strided.conv, by_xla), (strided.conv_transpose, dilated)],
)
@pytest.mark.parametrize(("size", "stride"), PAIRS)
def test_equals_xla(ours, reference, size, stride):
    random = np.random.default_rng(0)
    for number, (height, width) in enumerate(SIZES):
        inputs, outputs = CHANNELS[number % 2]
        x = random.normal(size=(2, height, width, inputs)).astype(np.float32)
        kernel = random.normal(size=(size, size, inputs, outputs)).astype(np.float32)
        found = with_gradients(ours, x, kernel, stride)
        expected = with_gradients(reference, x, kernel, stride)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("size", "stride"), PAIRS)
def test_forms_of_the_transposed_convolution_agree(size, stride):
    random = np.random.default_rng(0)
    x = random.normal(size=(1, 4, 5, 3)).astype(np.float32)
    kernel = random.normal(size=(size, size, 3, 2)).astype(np.float32)
    expected = dilated(x, kernel, stride)
    for form in (strided.by_phases, strided.by_products):
        np.testing.assert_allclose(form(x, kernel, stride), expected, 1e-4, 1e-4)


@pytest.mark.parametrize(("size", "stride"), [(2, 2), (1, 2)])
def test_kernels_that_do_not_fit(size, stride):
    x, kernel = np.ones((1, 4, 4, 2)), np.ones((size, size, 2, 2))
    with pytest.raises(ValueError, match="odd size"):
        strided.conv_transpose(x, kernel, stride)


def test_second_derivatives():
    """Gradients are made of the same functions, so they can be differentiated again."""
    x, kernel = np.ones((1, 4, 4, 2), np.float32), np.ones((3, 3, 2, 2), np.float32)

    def squared(function, k):
        return jnp.sum(function(x, k, 2) ** 3)

    for ours, reference in (
        (strided.conv, by_xla),
        (strided.conv_transpose, dilated),
    ):
        found, expected = (
            jax.grad(lambda k, f=f: jnp.sum(jax.grad(squared, 1)(f, k) ** 2))(kernel)
            for f in (ours, reference)
        )
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_transposed_convolution_is_the_transpose():
    """<convolve(x), y> = <x, convolve_transposed(y)> with the mirrored kernel."""
    random = np.random.default_rng(0)
    x = random.normal(size=(1, 8, 12, 3)).astype(np.float32)
    y = random.normal(size=(1, 4, 6, 5)).astype(np.float32)
    kernel = random.normal(size=(5, 5, 3, 5)).astype(np.float32)
    mirrored = kernel[::-1, ::-1].swapaxes(2, 3)
    left = jnp.sum(strided.conv(x, kernel, 2) * y)
    right = jnp.sum(x * strided.conv_transpose(y, mirrored, 2))
    np.testing.assert_allclose(left, right, rtol=1e-4)
