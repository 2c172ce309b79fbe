"""The rearranged convolution against XLA's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from pim_jax.ops.convolutions import convolve

LAYOUT = {"dimension_numbers": ("NHWC", "HWIO", "NHWC"), "precision": "highest"}


def image_and_kernel(size, channels, *, inputs=None):
    random = np.random.default_rng(0)
    image = random.standard_normal((2, 9, 12, channels[0])).astype(np.float32)
    kernel = random.standard_normal((*size, inputs or channels[0], channels[1]))
    return jnp.asarray(image), jnp.asarray(kernel, jnp.float32)


def convolutions(jaxpr) -> list:
    return [e for e in jaxpr.jaxpr.eqns if e.primitive is lax.conv_general_dilated_p]


@pytest.mark.parametrize("padding", ["SAME", "VALID", ((1, 2), (0, 3))])
@pytest.mark.parametrize("size", [(5, 5), (3, 2), (1, 1)])
def test_few_outputs_give_the_same_sums(size, padding):
    image, kernel = image_and_kernel(size, (16, 3))
    found = jax.jit(lambda x, k: convolve(x, k, (1, 1), padding, **LAYOUT))
    expected = lax.conv_general_dilated(image, kernel, (1, 1), padding, **LAYOUT)
    assert expected.shape == found(image, kernel).shape
    np.testing.assert_allclose(found(image, kernel), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("strides", "options", "inputs"),
    [
        ((2, 1), {}, None),
        ((1, 1), {"rhs_dilation": (1, 2)}, None),
        ((1, 1), {"feature_group_count": 2}, 8),
    ],
)
def test_others_are_left_to_xla(strides, options, inputs):
    image, kernel = image_and_kernel((3, 3), (16, 2), inputs=inputs)
    found = convolve(image, kernel, strides, "SAME", **LAYOUT, **options)
    expected = lax.conv_general_dilated(
        image, kernel, strides, "SAME", **LAYOUT, **options
    )
    np.testing.assert_array_equal(found, expected)


def test_only_few_outputs_are_rearranged():
    for channels, taps in (((16, 3), 1), ((16, 4), 5)):
        image, kernel = image_and_kernel((5, 5), channels)
        traced = jax.make_jaxpr(lambda x, k: convolve(x, k, (1, 1), "SAME", **LAYOUT))
        (convolution,) = convolutions(traced(image, kernel))
        assert convolution.invars[1].aval.shape[1] == taps


def test_gradients_are_those_of_the_plain_convolution():
    image, kernel = image_and_kernel((5, 5), (16, 3))

    def energy(convolution):
        def f(x, k):
            return jnp.sum(jnp.tanh(convolution(x, k / 20, (1, 1), "SAME", **LAYOUT)))

        return jax.jit(jax.grad(f, argnums=(0, 1)))(image, kernel)

    for found, expected in zip(
        energy(convolve), energy(lax.conv_general_dilated), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
