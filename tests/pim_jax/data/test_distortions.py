import numpy as np
import pytest
import skimage.data

from pim_jax.data import distortions
from pim_jax.data.distortions import DISTORTIONS

PATCH = skimage.data.chelsea()[100:164, 120:184]


@pytest.mark.parametrize("name", DISTORTIONS)
def test_the_error_grows_with_the_strength(name):
    distortion = DISTORTIONS[name]
    assert list(distortion.strengths) == sorted(distortion.strengths)
    errors = []
    for strength in distortion.strengths:
        distorted = distortion.apply(PATCH, strength, 0)
        assert distorted.shape == PATCH.shape
        assert distorted.dtype == np.uint8
        np.testing.assert_array_equal(distorted, distortion.apply(PATCH, strength, 0))
        errors.append(np.mean((distorted.astype(float) - PATCH) ** 2))
    assert (np.diff([0, *errors]) > 0).all()


def test_strengths_are_what_they_say():
    grey = np.full((64, 64, 3), 128, np.uint8)
    noisy = distortions.noise(grey, 10, 0).astype(float)
    assert noisy.std() == pytest.approx(10, rel=0.03)
    flat = distortions.contrast(PATCH, 1.0).astype(float)
    np.testing.assert_allclose(
        flat, PATCH.mean((0, 1))[None, None] + 0 * flat, atol=0.5
    )
    impulse = np.zeros((65, 65, 3), np.uint8)
    impulse[32, 32] = 255
    spread = distortions.blur(impulse, 2.0).astype(float)
    assert spread[32, 32, 0] == pytest.approx(255 / (2 * np.pi * 4), abs=0.6)
    assert not (distortions.noise(grey, 5, 0) == distortions.noise(grey, 5, 1)).all()


def test_the_colour_shift_keeps_lightness():
    lab = skimage.color.rgb2lab(PATCH)
    shifted = skimage.color.rgb2lab(distortions.colour_shift(PATCH, 5, 3))
    distance = np.hypot(*np.moveaxis(shifted[..., 1:] - lab[..., 1:], -1, 0))
    assert np.median(distance) == pytest.approx(5, abs=0.3)
    assert np.median(np.abs(shifted[..., 0] - lab[..., 0])) < 0.3
