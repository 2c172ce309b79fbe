import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.metrics

from pim_jax.metrics import METRICS, ssim

# Computed with tf.image (TensorFlow 2.15.1) on images of 0 to 255.
SSIM = {(64, 64): 0.9585633, (256, 256): 0.958584, (181, 247): 0.958588}
MS_SSIM = {(256, 256): 0.9962379, (181, 247): 0.9962432}


def unit(images):
    """Uint8 images as float32 in [0, 1]."""
    return tuple(jnp.asarray(image / 255, jnp.float32) for image in images)


@pytest.mark.parametrize("size", SSIM)
def test_ssim_equals_published_values_and_skimage(wave_pair, size):
    a, b = wave_pair(*size)
    value = ssim.ssim(*unit((a, b)))
    np.testing.assert_allclose(value, SSIM[size], atol=1e-5)
    expected = skimage.metrics.structural_similarity(
        a[0],
        b[0],
        data_range=255,
        channel_axis=-1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    np.testing.assert_allclose(value, expected, atol=1e-5)


@pytest.mark.parametrize("size", MS_SSIM)
def test_ms_ssim_equals_published_values(wave_pair, size):
    value = ssim.ms_ssim(*unit(wave_pair(*size)))
    np.testing.assert_allclose(value, MS_SSIM[size], atol=1e-5)


@pytest.mark.tensorflow
@pytest.mark.parametrize("size", [(176, 176), (181, 247)])
def test_both_equal_tensorflow(wave_pair, size):
    tf = pytest.importorskip("tensorflow")
    a, b = unit(wave_pair(*size))
    np.testing.assert_allclose(
        ssim.ssim(a, b), tf.image.ssim(np.asarray(a), np.asarray(b), 1.0), atol=1e-5
    )
    expected = tf.image.ssim_multiscale(np.asarray(a), np.asarray(b), 1.0)
    np.testing.assert_allclose(ssim.ms_ssim(a, b), expected, atol=1e-5)


@pytest.mark.tensorflow
def test_fewer_scales_equal_tensorflow_with_the_same_weights(wave_pair):
    tf = pytest.importorskip("tensorflow")
    a, b = unit(wave_pair(64, 64))
    weights = np.array([0.0448, 0.2856, 0.3001])
    expected = tf.image.ssim_multiscale(
        np.asarray(a), np.asarray(b), 1.0, power_factors=weights / weights.sum()
    )
    np.testing.assert_allclose(ssim.ms_ssim(a, b), expected, atol=1e-5)


def test_one_scale_is_ssim(wave_pair):
    a, b = unit(wave_pair(20, 30))
    per_channel = [ssim.ssim(a[..., c : c + 1], b[..., c : c + 1]) for c in range(3)]
    value = ssim.ms_ssim(a, b, scales=1)
    np.testing.assert_allclose(value, np.mean(per_channel), rtol=1e-6)


@pytest.mark.parametrize(
    ("size", "scales"),
    [(11, 1), (20, 1), (21, 2), (41, 3), (64, 3), (80, 3), (81, 4), (160, 4), (161, 5)],
)
def test_the_number_of_scales_follows_the_shorter_side(size, scales):
    assert ssim.scales_for(size, 999) == scales
    assert ssim.smallest_size(scales) <= size


def test_too_small_images_are_refused_with_the_size_needed():
    a = jnp.zeros((1, 64, 64, 3))
    with pytest.raises(ValueError, match="at least 161 pixels, found 64x64"):
        ssim.ms_ssim(a, a, scales=5)
    with pytest.raises(ValueError, match="scales must be 1 to 5, found 6"):
        ssim.ms_ssim(a, a, scales=6)
    for function in (ssim.ssim, ssim.ms_ssim):
        with pytest.raises(ValueError, match="at least 11x11 pixels, found 10x64"):
            function(a[:, :10], a[:, :10])
        with pytest.raises(ValueError, match="one shape"):
            function(a, a[:, :20])
    with pytest.raises(ValueError, match="11 pixels"):
        METRICS["ms-ssim"](None)(a[:, :10], a[:, :10])


@pytest.mark.parametrize("name", ["ssim", "ms-ssim"])
def test_the_metric_is_a_distance_with_finite_gradients(wave_pair, name):
    metric = METRICS[name](None)
    a, b = unit(wave_pair(41, 43))
    grey, black = jnp.full_like(a, 0.5), jnp.zeros_like(a)
    # Negatives have anti-correlated structure: every factor of MS-SSIM is clipped at 0.
    pairs = [(a, b), (a, a), (grey, grey), (black, black), (grey, a), (a, 1 - a)]
    x, y = (jnp.concatenate(images) for images in zip(*pairs, strict=True))
    gradient = jax.jit(jax.grad(lambda x, y: metric(x, y).sum()))(x, y)
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(metric(a, a), 0, atol=1e-6)
    np.testing.assert_allclose(metric(a, b), metric(b, a), atol=1e-6)
    assert metric(a, b)[0] > 1e-3


@pytest.mark.parametrize("name", ["ssim", "ms-ssim"])
def test_jit_and_vmap_equal_the_plain_call(wave_pair, name):
    metric = METRICS[name]()
    a, b = (jnp.concatenate([x, x[:, ::-1]]) for x in unit(wave_pair(21, 33)))
    plain = metric(a, b)
    np.testing.assert_allclose(
        jax.jit(lambda m, x, y: m(x, y))(metric, a, b), plain, atol=1e-6
    )
    mapped = jax.vmap(lambda x, y: metric(x[None], y[None])[0])(a, b)
    np.testing.assert_allclose(mapped, plain, atol=1e-6)


def test_weights_are_refused():
    for name in ("ssim", "ms-ssim"):
        with pytest.raises(ValueError, match=f"{name} has no weights"):
            METRICS[name]("weights.npz")
