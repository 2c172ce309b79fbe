"""The codecs that ship inside programs with other defaults of JAX."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codec_jax import loading
from tests.golden import coded_files

CASES = [case for case in coded_files.CASES if case.height == 17]


@contextlib.contextmanager
def wide_and_strict():
    """Numbers of 64 bits by default, and no promotion of types."""
    if hasattr(jax, "enable_x64"):
        wide = jax.enable_x64(True)
    else:
        from jax.experimental import enable_x64

        wide = enable_x64(True)
    with wide, jax.numpy_dtype_promotion("strict"):
        yield


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.codec)
def test_the_same_with_64_bits_and_strict_promotion(case):
    data = (coded_files.FOLDER / f"{case.name}.cjx").read_bytes()
    image = coded_files.picture(case)
    batch = np.float32(image[None]) / np.float32(255)
    plain = loading.load(case.codec)
    expected = plain.decompress(data)
    seen, bits = plain.reconstruct(batch, case.rate)
    with wide_and_strict():
        codec = loading.load(case.codec)
        assert codec.fingerprint == plain.fingerprint
        assert codec.compress(image, case.rate) == data
        np.testing.assert_array_equal(codec.decompress(data), expected)
        found, taken = codec.reconstruct(
            jnp.asarray(batch), jnp.asarray([case.rate]), rounding="straight_through"
        )
        assert (found.dtype, taken.dtype) == (jnp.float32, jnp.float32)
        np.testing.assert_allclose(found, seen, atol=1e-4)
        np.testing.assert_allclose(taken, bits, rtol=1e-4)
