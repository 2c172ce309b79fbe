import jax.numpy as jnp
import numpy as np
import pytest

from pim_jax.metrics import METRICS, nlpd
from pim_jax.ops import colour

# Computed with perceptual_quality.nlpd (TensorFlow 2.15.1) on images of 0 to 255: the
# function, size and number of levels, and the distances of R, G and B.
PUBLISHED = [
    (nlpd.nlpd, 256, 6, (0.0550977, 0.0534090, 0.0520152)),
    (nlpd.nlpd_fast, 256, 6, (0.0809649, 0.0776479, 0.0751146)),
    (nlpd.nlpd, 64, 5, (0.0644534, 0.0616976, 0.0603323)),
    (nlpd.nlpd, 64, 4, (0.0668897, 0.0650513, 0.0610347)),
]


def unit(images):
    """Uint8 images as float32 in [0, 1]."""
    return tuple(jnp.asarray(image / 255, jnp.float32) for image in images)


@pytest.mark.parametrize(("function", "size", "levels", "expected"), PUBLISHED)
def test_published_values(wave_pair, function, size, levels, expected):
    a, b = unit(wave_pair(size, size))
    np.testing.assert_allclose(function(a, b, levels), [expected], rtol=1e-5)


@pytest.mark.shared
@pytest.mark.parametrize(("name", "levels"), [("even", 4), ("even", 6), ("odd", 4)])
def test_the_fixture_of_the_published_code(shared, name, levels):
    """Photographs and strong distortions, even and odd sizes."""
    with np.load(shared / "fixtures" / "nlpd_fixture.npz") as file:
        a, b = unit((file[f"{name}/a"], file[f"{name}/b"]))
        for function in (nlpd.nlpd, nlpd.nlpd_fast):
            expected = file[f"{name}/{function.__name__}_L{levels}"]
            np.testing.assert_allclose(function(a, b, levels), expected, rtol=1e-5)
        if levels != 4:
            return
        # The transform alone, of luminances 5 to 180 in proportion to stored green.
        response = (175 * a[..., 1:2] + 5) ** (1 / 2.6)
        for k, level in enumerate(nlpd.normalized_pyramid(response, levels)):
            expected = file[f"{name}/nlp_green_L4/{k}"]
            np.testing.assert_allclose(level, expected, atol=2e-5)


@pytest.mark.parametrize(
    ("size", "levels"),
    [
        *[(4, 1), (5, 2), (8, 2), (9, 3), (16, 3), (17, 4), (32, 4), (33, 5), (64, 5)],
        *[(65, 6), (999, 6)],
    ],
)
def test_the_number_of_levels_follows_the_shorter_side(wave_pair, size, levels):
    assert nlpd.levels_for(size, 999) == nlpd.levels_for(999, size) == levels
    if size < 20:
        a, b = unit(wave_pair(size, 20))
        value = nlpd.nlpd(a, b)
        np.testing.assert_array_equal(value, nlpd.nlpd(a, b, levels))
        with pytest.raises(ValueError, match=f"allows 1 to {levels} levels"):
            nlpd.nlpd(a, b, levels + 1)


def test_the_metrics_are_the_means_of_the_channels(wave_pair):
    a, b = unit(wave_pair(40, 50))
    for name, function in (("nlpd", nlpd.nlpd), ("nlpd-fast", nlpd.nlpd_fast)):
        expected = np.mean(function(a, b), axis=-1)
        np.testing.assert_allclose(METRICS[name]()(a, b), expected, rtol=1e-6)
        np.testing.assert_allclose(METRICS[name]()(b, a), expected, rtol=1e-6)


def test_gray_equals_pyiqa(golden_pairs):
    for pair in golden_pairs.values():
        value = METRICS["nlpd-gray"]()(pair.reference, pair.distorted)
        np.testing.assert_allclose(value, pair.values["nlpd-gray"], rtol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (5, 3)])
def test_gray_accepts_the_smallest_images(size):
    a, b = jnp.full((1, *size, 1), 0.25), jnp.full((1, *size, 1), 0.75)
    assert nlpd.nlpd_gray(a, b) > 0
    assert nlpd.nlpd_gray(a, a) == 0


def test_shapes_that_differ_are_refused():
    a = jnp.zeros((1, 20, 20, 3))
    grey = colour.luma(a)
    for function, x in ((nlpd.nlpd, a), (nlpd.nlpd_fast, a), (nlpd.nlpd_gray, grey)):
        with pytest.raises(ValueError, match="one shape"):
            function(x, x[:, 1:])
