import numpy as np
import pytest
import skimage.color

from pim_jax.ops import chromaticity

RGB = np.random.default_rng(0).uniform(size=(50, 3))


def linear(rgb):
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def test_the_matrix_is_that_of_the_standard():
    published = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722]]
    np.testing.assert_allclose(chromaticity.rgb_to_xyz()[:2], published, atol=6e-5)


def test_srgb_goes_back():
    of_xyz = linear(RGB) @ chromaticity.rgb_to_xyz().T
    np.testing.assert_allclose(chromaticity.srgb(of_xyz), RGB, atol=1e-6)
    np.testing.assert_allclose(chromaticity.linear_srgb(of_xyz), linear(RGB), atol=1e-9)


def test_luminance_and_chromaticity_go_back():
    of_xyz = chromaticity.xyz(np.array([[0.3, 0.4]]), 0.2)
    np.testing.assert_allclose(of_xyz, [[0.15, 0.2, 0.15]])
    np.testing.assert_allclose(chromaticity.SPACES["xy"](of_xyz), [[0.3, 0.4]])


def test_white():
    white = chromaticity.xyz(np.array(chromaticity.D65), 1.0)
    np.testing.assert_allclose(chromaticity.srgb(white), 1, atol=1e-12)
    # Ottosson rounded his matrices: white is off by some 1e-4 with an exact D65.
    np.testing.assert_allclose(chromaticity.oklab(white), [1, 0, 0], atol=5e-4)
    np.testing.assert_allclose(chromaticity.uv(white), [0.1978, 0.4683], atol=1e-4)
    lab = chromaticity.lab(white, chromaticity.D65)
    np.testing.assert_allclose(lab, [100, 0, 0], atol=1e-10)


def test_lab_is_that_of_scikit_image():
    of_xyz = linear(RGB) @ chromaticity.rgb_to_xyz().T
    ours = chromaticity.lab(of_xyz, chromaticity.D65)
    np.testing.assert_allclose(ours, skimage.color.rgb2lab(RGB), atol=0.03)


@pytest.mark.parametrize(
    ("of_xyz", "expected"),
    [  # the table in Ottosson's post, three digits
        ((0.950, 1.000, 1.089), (1.000, 0.000, 0.000)),
        ((1.000, 0.000, 0.000), (0.450, 1.236, -0.019)),
        ((0.000, 1.000, 0.000), (0.922, -0.671, 0.263)),
        ((0.000, 0.000, 1.000), (0.153, -1.415, -0.449)),
    ],
)
def test_oklab_of_its_author(of_xyz, expected):
    found = chromaticity.oklab(np.array(of_xyz))
    np.testing.assert_allclose(found, expected, atol=6e-4)
