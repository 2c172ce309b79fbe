import jax.numpy as jnp
import numpy as np
import pytest

from pim_jax.data import distortions, photographs
from pim_jax.metrics import METRICS, sff


def published_steps(reference, distorted, tied):
    """The authors' procedure, block by block in double precision; a score, 1 is best."""
    features = np.float64(sff.features()).reshape(8, -1)
    blocks = []
    for image in np.float64([reference, distorted]) * 255:
        rows, columns = (range(0, n - 8, 8) for n in image.shape[:2])
        blocks.append(
            [image[i : i + 8, j : j + 8].ravel() for i in rows for j in columns]
        )
    a, b = np.array(blocks)
    mean_a, mean_b = a.mean(1), b.mean(1)
    a, b = a - mean_a[:, None], b - mean_b[:, None]
    error = np.abs(a - b).mean(1)
    attended = error >= np.median(error) - tied
    in_a, in_b = a[attended] @ features.T, b[attended] @ features.T
    response = (in_a**2).sum(1)
    seen = response > 0.4 * response.mean()
    in_a, in_b = in_a[seen], in_b[seen]
    feature = np.mean((2 * in_a * in_b + 0.08) / (in_a**2 + in_b**2 + 0.08))
    error = np.abs(mean_a - mean_b)
    chosen = error >= np.median(error) - tied
    x, y = (m[chosen] - m[chosen].mean() for m in (mean_a, mean_b))
    luminance = (x @ y + 0.001) / (np.sqrt((x @ x) * (y @ y)) + 0.001)
    return 0.8 * luminance + 0.2 * feature


def test_equals_the_published_steps(golden_pairs):
    for pair in golden_pairs.values():
        for cut in (0, 3):  # an odd and an even number of blocks
            a, b = (x[:, : x.shape[1] - cut] for x in pair[:2])
            value = METRICS["sff"]()(a, b)
            expected = 1 - published_steps(a[0], b[0], 1e-3)
            np.testing.assert_allclose(value, expected, rtol=1e-4)
            # Where rounding of doubles chooses among ties, as in the authors' release.
            expected = 1 - published_steps(a[0], b[0], 0)
            np.testing.assert_allclose(value, expected, rtol=1e-2)


def test_features_are_barely_correlated_and_of_about_unit_variance():
    """On photographs that they were not learned from, within a factor."""
    crops = photographs.crops("", 64, 24).astype(np.float64)
    blocks = crops.reshape(24, 8, 8, 8, 8, 3).swapaxes(2, 3).reshape(-1, 192)
    blocks -= blocks.mean(1, keepdims=True)
    responses = blocks @ np.float64(sff.features()).reshape(8, -1).T
    variance = np.mean(responses**2, 0)
    assert variance.min() > 0.1
    assert variance.max() < 10
    correlation = (
        responses.T @ responses / len(blocks) / np.sqrt(np.outer(variance, variance))
    )
    assert np.abs(correlation - np.eye(8)).max() < 0.6


@pytest.mark.parametrize("name", ["noise", "blur", "jpeg"])
def test_grows_with_a_distortion(name):
    image = photographs.crops("", 64, 1)[0]
    found = [
        METRICS["sff"]()(*(np.float32(x)[None] / 255 for x in (image, other)))[0]
        for other in (
            distortions.DISTORTIONS[name].apply(image, strength, 0)
            for strength in distortions.DISTORTIONS[name].strengths[1:]
        )
    ]
    assert found == sorted(found)
    assert found[-1] > found[0]


def test_neither_brightness_nor_the_last_pixels_count():
    """As in the authors' release, where the last row and column are in no block."""
    image = np.float32(photographs.crops("", 64, 1)) / 512
    changed = image.copy()
    changed[:, -1:], changed[:, :, -1:] = 1, 1
    for other in (image + 0.25, changed):
        np.testing.assert_allclose(sff.sff(image, other), 0, atol=1e-6)


def test_a_reference_without_features_is_equal_to_everything():
    grey, other = jnp.full((1, 32, 32, 3), 0.5), jnp.zeros((1, 32, 32, 3))
    other = other.at[:, ::3].set(1.0)
    np.testing.assert_allclose(sff.sff(grey, other), 0, atol=1e-6)


def test_wrong_shapes_are_refused():
    a = jnp.zeros((1, 20, 20, 3))
    with pytest.raises(ValueError, match="one shape"):
        sff.sff(a, a[:, 1:])
    with pytest.raises(ValueError, match="at least 17x17 pixels, found 16x20"):
        sff.sff(a[:, :16], a[:, :16])
