import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pyrtools.pyramids import SteerablePyramidSpace
from scipy.ndimage import uniform_filter

from pim_jax.metrics import METRICS, ifc
from pim_jax.ops import colour


def reference_ifc(a: np.ndarray, b: np.ndarray) -> float:
    """The authors' procedure in double precision, with the pyramid of pyrtools."""
    pyramids = [
        SteerablePyramidSpace(255.0 * x, height=4, order=5, edge_type="reflect1")
        for x in (a, b)
    ]
    bits = 0.0
    for scale, window in enumerate((17, 9, 5, 3)):
        for orientation in (0, 3):
            x, y = (p.pyr_coeffs[scale, orientation] for p in pyramids)
            bits += reference_bits(x, y, window)
    return bits / a.size


def reference_bits(x: np.ndarray, y: np.ndarray, window: int) -> float:
    rows, columns = (size // 3 for size in x.shape)
    x, y = (z[: 3 * rows, : 3 * columns] for z in (x, y))
    every = np.lib.stride_tricks.sliding_window_view(x, (3, 3)).reshape(-1, 9)
    covariance = np.cov(every.T, bias=True)
    blocks = x.reshape(rows, 3, columns, 3).swapaxes(1, 2).reshape(rows, columns, 9)
    scale = np.sum((blocks @ np.linalg.inv(covariance)) * blocks, -1) / 9

    def mean(values):
        return uniform_filter(values, window, mode="mirror")[1::3, 1::3]

    variance_x = np.maximum(mean(x * x) - mean(x) ** 2, 0)
    variance_y = np.maximum(mean(y * y) - mean(y) ** 2, 0)
    product = mean(x * y) - mean(x) * mean(y)
    gain = product / (variance_x + 1e-15)
    noise = variance_y - gain * product
    noise = np.where(gain < 0, variance_y, noise)
    gain = np.maximum(gain, 0)
    noise = np.maximum(noise, 1e-15)
    margin = -(-(window // 2) // 3)
    inside = (slice(margin, rows - margin), slice(margin, columns - margin))
    power = (gain**2 * scale / (noise + 1e-10))[inside]
    return np.log2(1 + power[..., None] * np.linalg.eigvalsh(covariance)).sum()


def test_equals_the_published_procedure(golden_pairs):
    criterion = jax.jit(ifc.ifc)
    for pair in golden_pairs.values():
        a, b = colour.luma(pair.reference), colour.luma(pair.distorted)
        expected = reference_ifc(*(np.float64(x[0, ..., 0]) for x in (a, b)))
        np.testing.assert_allclose(criterion(a, b), expected, rtol=1e-3)


def test_order_and_bounds(golden_pairs):
    """More noise leaves fewer bits; negatives and flat images leave none."""
    metric = METRICS["ifc"]()
    a = 0.1 + 0.8 * jnp.asarray(golden_pairs["jpeg"].reference)
    noise = jnp.clip(jax.random.normal(jax.random.key(0), a.shape), -3, 3) / 30
    images = [a, a + 0.1 * noise, a + 0.3 * noise, a + noise, jnp.full_like(a, 0.5)]
    values = metric(jnp.concatenate([a] * 5), jnp.concatenate(images))
    assert (np.diff(values) > 0.05).all()
    np.testing.assert_allclose(values[0], 0, atol=2e-6)
    np.testing.assert_allclose(values[-1], 1, atol=1e-5)
    flat = jnp.full_like(a, 0.3)
    np.testing.assert_allclose(metric(a, 1 - a), 1, atol=0.02)
    np.testing.assert_allclose(metric(flat, a), 0, atol=1e-6)


def test_the_gradient_of_the_reference_is_the_slope(golden_pairs):
    """Its principal axes are constants, without an error of first order."""
    a, b = (
        0.1 + 0.8 * colour.luma(x[:, :66, :70])
        for x in (golden_pairs["noise"].reference, golden_pairs["noise"].distorted)
    )
    function = jax.jit(lambda x: ifc.ifc(x, b)[0])
    gradient = jax.jit(jax.grad(function))(a)
    direction = gradient / jnp.abs(gradient).max()

    def slope(step):
        ahead, behind = (function(a + s * direction) for s in (step, -step))
        return (ahead - behind) / (2 * step)

    # Extrapolated to a step of 0, since curvature is high.
    expected = (4 * slope(1e-3) - slope(2e-3)) / 3
    np.testing.assert_allclose(expected, jnp.sum(gradient * direction), rtol=0.01)


def test_wrong_shapes_are_refused():
    a = jnp.zeros((1, 70, 80, 1))
    with pytest.raises(ValueError, match="one shape"):
        ifc.ifc(a, a[:, 1:])
    with pytest.raises(ValueError, match="at least 65x65 pixels, found 64x80"):
        ifc.ifc(a[:, :64], a[:, :64])
