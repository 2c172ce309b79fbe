import jax
import jax.numpy as jnp
import numpy as np

from pim_jax.ops.fast_cpu.one_by_one import one_by_one


def test_equals_the_whole_batch_with_its_gradient():
    images = jnp.float32(np.random.RandomState(0).rand(3, 4, 5))

    def function(batch):
        return jnp.abs(jnp.fft.fft2(batch)) * jnp.max(batch, axis=(1, 2), keepdims=True)

    np.testing.assert_allclose(
        one_by_one(function, images), function(images), rtol=1e-5
    )
    for argument in (images, images[:1]):
        found = jax.jit(jax.grad(lambda x: one_by_one(function, x).sum()))(argument)
        expected = jax.grad(lambda x: function(x).sum())(argument)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
