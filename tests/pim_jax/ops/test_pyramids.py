"""Pyramids against direct correlation in float64, and the published table and sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pyrtools.pyramids.filters import steerable_filters as pyrtools_filters
from scipy.signal import correlate2d

from pim_jax.ops import pyramids
from pim_jax.pim.model import ModelConfig, Pim, pyramid

ORDERS = (0, 1, 3, 5)
steerable = jax.jit(
    pyramids.steerable_pyramid, static_argnames=("num_scales", "order", "padding")
)


def image(height: int, width: int, count: int = 2) -> np.ndarray:
    random = np.random.default_rng(height * width)
    return random.random((count, height, width, 3)).astype(np.float32)


def columns(filters: dict[str, np.ndarray]) -> np.ndarray:
    """The band filters of the table (k * k, bands), stored column by column."""
    stacked = filters["bfilts"]
    size = round(stacked.shape[0] ** 0.5)
    return np.stack([band.reshape(size, size).T for band in stacked.T])


@pytest.mark.parametrize("order", ORDERS)
def test_the_table_is_that_of_pyrtools(order):
    found = pyramids.steerable_filters(order)
    expected = pyrtools_filters(f"sp{order}_filters")
    for ours, theirs in (("lo0", "lo0filt"), ("lo", "lofilt"), ("hi0", "hi0filt")):
        np.testing.assert_array_equal(found[ours], expected[theirs].astype(np.float32))
    np.testing.assert_array_equal(found["bands"], columns(expected).astype(np.float32))
    assert found["bands"].shape[0] == order + 1


def test_sums_and_orientation_of_first_order():
    """As the published values: a forgotten transpose swaps the bands and a sign."""
    filters = pyramids.steerable_filters(1)
    sums = {name: filters[name].sum(dtype=np.float64) for name in ("lo0", "lo", "hi0")}
    np.testing.assert_allclose(sums["lo0"], 1, atol=1e-4)
    np.testing.assert_allclose(sums["lo"], 2, atol=1e-4)
    np.testing.assert_allclose(sums["hi0"], 0, atol=1e-4)
    bands = filters["bands"]
    np.testing.assert_allclose(bands[0].T, -bands[1], atol=1e-6)


def reference_steerable(x: np.ndarray, scales: int, order: int, mode: str):
    """The definition for one channel, with SciPy in float64."""
    filters = pyrtools_filters(f"sp{order}_filters")
    bands = columns(filters)
    if (bands.shape[1] // 2) % 2:
        bands = np.pad(bands, ((0, 0), (1, 1), (1, 1)))
    levels = [correlate2d(x, filters["hi0filt"], mode)]
    low = correlate2d(x, filters["lo0filt"], mode)
    for _ in range(scales):
        levels += [correlate2d(low, band, mode) for band in bands]
        low = correlate2d(low, filters["lofilt"], mode)[::2, ::2]
    return [*levels, low][::-1]


@pytest.mark.parametrize(
    ("order", "scales", "padding", "size"),
    [
        (0, 2, "same", (20, 17)),
        (1, 3, "same", (24, 32)),
        (1, 3, "same", (21, 27)),
        (3, 2, "same", (16, 19)),
        (5, 2, "same", (16, 19)),
        (0, 1, "valid", (30, 33)),
        (1, 2, "valid", (64, 71)),
        (3, 1, "valid", (40, 41)),
        (5, 2, "valid", (47, 50)),
    ],
)
def test_steerable_pyramid_by_definition(order, scales, padding, size):
    x = image(*size)
    found = steerable(jnp.asarray(x), scales, order, padding)
    for i in range(x.shape[0]):
        for c in range(3):
            expected = reference_steerable(x[i, :, :, c], scales, order, padding)
            assert len(found) == len(expected) == scales * (order + 1) + 2
            for level, reference in zip(found, expected, strict=True):
                np.testing.assert_allclose(level[i, :, :, c], reference, atol=2e-5)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((64, 64), [(8, 8), (16, 16), (32, 32), (64, 64)]),
        ((61, 47), [(8, 6), (16, 12), (31, 24), (61, 47)]),
        ((1, 1), [(1, 1)] * 4),
        ((2, 131), [(1, 17), (1, 33), (1, 66), (2, 131)]),
    ],
)
def test_level_sizes(size, expected):
    low, coarse, middle, fine = expected
    levels = jax.eval_shape(
        pyramids.steerable_pyramid, jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    )
    shapes = [low, coarse, coarse, middle, middle, fine, fine, fine]
    assert [level.shape for level in levels] == [(1, *s, 3) for s in shapes]


def test_gain_of_a_constant():
    x = jnp.full((1, 150, 160, 1), 0.5)
    levels = steerable(x, padding="valid")
    # Each octave doubles the mean: 2^3.
    np.testing.assert_allclose(levels[0], 4.0, atol=2e-3)
    for level in levels[1:]:
        np.testing.assert_allclose(level, 0, atol=1e-3)


def test_the_pyramid_is_linear_and_separate_by_channel():
    x, y = jnp.asarray(image(19, 22))[:, None]
    both = steerable(2 * x - y)
    parts = zip(steerable(x), steerable(y), strict=True)
    for level, (of_x, of_y) in zip(both, parts, strict=True):
        np.testing.assert_allclose(level, 2 * of_x - of_y, atol=2e-5)
    green = steerable(x[..., 1:2])
    for level, alone in zip(steerable(x), green, strict=True):
        np.testing.assert_allclose(level[..., 1:2], alone, atol=1e-5)


def test_gradient():
    x, u = jnp.asarray(image(18, 21))[:, None]
    # The gradient of <p(x), v> is the adjoint of v: <p(u), v> = <u, p*(v)>.

    @jax.jit
    def inner_products(x, u):
        levels, adjoint = jax.vjp(steerable, x)
        v = tuple(jnp.cos(level) for level in levels)
        left = sum(jnp.vdot(a, b) for a, b in zip(steerable(u), v, strict=True))
        return left, jnp.vdot(u, adjoint(v)[0])

    np.testing.assert_allclose(*inner_products(x, u), rtol=1e-4)


def reference_laplacian(x: np.ndarray, scales: int) -> list[np.ndarray]:
    """The definition for one channel, with SciPy in float64."""
    kernel = np.outer([1, 2, 1], [1, 2, 1]) / 16
    levels = []
    for _ in range(scales - 1):
        low = correlate2d(x, kernel, "valid")[::2, ::2]
        expanded = np.zeros(x.shape)
        for i, j in np.ndindex(low.shape):
            expanded[2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += 4 * low[i, j] * kernel
        levels.append((x - expanded)[2:-2, 2:-2])
        x = low
    return [*levels, x][::-1]


@pytest.mark.parametrize("size", [(32, 32), (31, 26), (21, 33)])
@pytest.mark.parametrize("scales", [1, 3])
def test_laplacian_pyramid_by_definition(size, scales):
    x = image(*size, count=1)
    found = pyramids.laplacian_pyramid(jnp.asarray(x), scales)
    for c in range(3):
        expected = reference_laplacian(x[0, :, :, c].astype(np.float64), scales)
        for level, reference in zip(found, expected, strict=True):
            np.testing.assert_allclose(level[0, :, :, c], reference, atol=1e-5)


def test_laplacian_sizes():
    shape = jax.ShapeDtypeStruct((1, 64, 61, 3), jnp.float32)
    levels = jax.eval_shape(pyramids.laplacian_pyramid, shape)
    assert [level.shape[1:3] for level in levels] == [(15, 14), (27, 26), (60, 57)]


@pytest.mark.tensorflow
def test_laplacian_equals_tensorflow():
    """The published layer's transposed convolution, on even and odd sizes."""
    tf = pytest.importorskip("tensorflow")
    kernel = (np.outer([1, 2, 1], [1, 2, 1]) / 16).astype(np.float32)[..., None, None]
    for size in ((32, 37), (31, 26)):
        x = image(*size, count=1)[..., :1]
        low = tf.nn.conv2d(x, kernel, 2, padding="VALID")
        cropped = x[:, 2:-2, 2:-2]
        high = tf.nn.conv2d_transpose(
            low, 4 * kernel, cropped.shape, 2, ((0, 0), (2, 2), (2, 2), (0, 0))
        )
        found = pyramids.laplacian_pyramid(jnp.asarray(x), 2)
        np.testing.assert_allclose(found[0], low, atol=1e-6)
        np.testing.assert_allclose(found[1], cropped - high, atol=1e-6)


CONFIGS = [
    ModelConfig(padding="valid", num_scales=scales, steerable_order=order, filters=f)
    for scales, order, f in [
        (1, 0, (3,)),
        (2, 0, (2, 3)),
        (3, 1, (3,)),
        (3, 1, (2, 2, 2, 3)),
        (2, 3, (3,)),
        (1, 5, (3,)),
        (3, 5, (2, 3)),
    ]
]
CONFIGS += [
    ModelConfig(
        frontend="laplacian", padding=padding, num_scales=scales, filters=(2, 3)
    )
    for scales in (1, 2, 3)
    for padding in ("valid", "same")
]
CONFIGS += [ModelConfig(frontend="none", padding="valid", filters=(2, 3))]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_minimum_size_is_the_smallest_that_leaves_pixels(config):
    def leaves_pixels(size: int) -> bool:
        x = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
        key = jax.ShapeDtypeStruct((2,), jnp.uint32)

        def features(key, x):
            return Pim(config).init_with_output(key, x, method=Pim.features)[0]

        try:
            levels = jax.eval_shape(features, key, x)
        except (ValueError, TypeError):
            return False
        return all(min(level.shape[1:3]) > 0 for level in levels)

    smallest = config.minimum_size
    assert leaves_pixels(smallest)
    assert leaves_pixels(smallest + 1)
    assert smallest == 1 or not leaves_pixels(smallest - 1)


@pytest.mark.parametrize("order", ORDERS)
def test_same_padding_takes_its_minimum_size(order):
    config = ModelConfig(steerable_order=order)
    x = jax.ShapeDtypeStruct((1, config.minimum_size, config.minimum_size, 3), float)
    levels = jax.eval_shape(lambda x: pyramid(config, x), x)
    assert len(levels) == config.num_levels
    assert all(min(level.shape[1:3]) > 0 for level in levels)


def test_errors():
    x = jnp.zeros((1, 16, 16, 3))
    with pytest.raises(ValueError, match=r"steerable_order must be one of .* found 2"):
        pyramids.steerable_pyramid(x, order=2)
    with pytest.raises(ValueError, match=r"padding must be .* found 'reflect'"):
        pyramids.steerable_pyramid(x, padding="reflect")
    with pytest.raises(ValueError, match=r"8x8 pixels is too small .* 3x3"):
        pyramids.laplacian_pyramid(x[:, :8, :8], num_scales=3)
