import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.metrics

from pim_jax.metrics import METRICS, pixel

# Computed with tf.image.psnr and skimage (TensorFlow 2.15.1, scikit-image 0.26).
PUBLISHED = {(64, 64): 29.28846, (256, 256): 29.28561, (181, 247): 29.28606}


@pytest.mark.parametrize("size", PUBLISHED)
def test_psnr_equals_published_values_and_skimage(wave_pair, size):
    a, b = wave_pair(*size)
    value = pixel.psnr(jnp.asarray(a / 255), jnp.asarray(b / 255))
    np.testing.assert_allclose(value, PUBLISHED[size], atol=1e-4)
    expected = skimage.metrics.peak_signal_noise_ratio(a, b)
    np.testing.assert_allclose(value, expected, atol=1e-4)


@pytest.mark.tensorflow
def test_psnr_equals_tensorflow(wave_pair):
    tf = pytest.importorskip("tensorflow")
    a, b = wave_pair(61, 47)
    expected = tf.image.psnr(tf.constant(a / 255), tf.constant(b / 255), 1.0)
    value = pixel.psnr(jnp.asarray(a / 255), jnp.asarray(b / 255))
    np.testing.assert_allclose(value, expected.numpy(), atol=1e-4)


def test_psnr_of_bytes_agrees_with_scikit_image():
    generator = np.random.default_rng(0)
    a, b = generator.integers(0, 256, (2, 20, 31, 3), dtype=np.uint8)
    expected = skimage.metrics.peak_signal_noise_ratio(a, b, data_range=255)
    assert pixel.psnr_of_bytes(a, b) == pytest.approx(expected)
    assert pixel.psnr_of_bytes(a, a) == np.inf
    # 255 and 0 differ by 255, not by 1.
    black, white = np.zeros_like(a), np.full_like(a, 255)
    assert pixel.psnr_of_bytes(black, white) == pixel.psnr_of_bytes(white, black) == 0
    with pytest.raises(ValueError, match="uint8"):
        pixel.psnr_of_bytes(a, b.astype(np.float32))
    with pytest.raises(ValueError, match="one shape"):
        pixel.psnr_of_bytes(a, b[1:])


def test_identical_images():
    a = jnp.full((2, 4, 4, 3), 0.5)
    assert np.isinf(pixel.psnr(a, a)).all()
    assert METRICS["psnr"](None)(a, a).tolist() == [0.0, 0.0]
    for function in (pixel.psnr, METRICS["psnr"]()):
        gradient = jax.grad(lambda x, f=function: f(x, a)[0])(a)
        assert gradient.tolist() == jnp.zeros_like(a).tolist()


def test_the_metric_orders_pairs_as_psnr_does():
    key = jax.random.key(0)
    a = jax.random.uniform(key, (8, 5, 6, 3))
    noise = jax.random.normal(jax.random.key(1), a.shape)
    b = jnp.clip(a + jnp.linspace(0.01, 0.5, 8)[:, None, None, None] * noise, 0, 1)
    distance = METRICS["psnr"]()(a, b)
    assert distance.shape == (8,)
    assert distance.dtype == jnp.float32
    np.testing.assert_allclose(-10 * np.log10(distance), pixel.psnr(a, b), rtol=1e-5)


def test_bad_input_is_refused():
    a = jnp.zeros((1, 4, 4, 3))
    with pytest.raises(ValueError, match="one shape"):
        pixel.psnr(a, a[:, :3])
    with pytest.raises(ValueError, match="no weights"):
        METRICS["psnr"]("weights.npz")
