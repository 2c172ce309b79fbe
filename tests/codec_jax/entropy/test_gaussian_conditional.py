"""The 64 normal distributions: their tables, and three kinds of rate told apart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from codec_jax.coding import range_coder
from codec_jax.entropy import gaussian_conditional

TABLES = gaussian_conditional.make_tables()


def mass(v, scale):
    v = -np.abs(v)
    upper, lower = (v + 0.5) / scale, (v - 0.5) / scale
    return scipy.special.ndtr(upper) - scipy.special.ndtr(lower)


def probabilities(row):
    """(symbols, their probabilities in a table, that of the escape)."""
    size = TABLES.size[row]
    counts = np.diff(TABLES.cdf[row, : size + 1]) / 2.0 ** TABLES.precision[row]
    return TABLES.offset[row] + np.arange(size - 1), counts[:-1], counts[-1]


def test_scales_are_the_published_ones():
    assert len(gaussian_conditional.SCALES) == 64
    assert gaussian_conditional.SCALES[0] == pytest.approx(0.11)
    assert gaussian_conditional.SCALES[-1] == pytest.approx(256)
    ratio = gaussian_conditional.SCALES[1:] / gaussian_conditional.SCALES[:-1]
    np.testing.assert_allclose(ratio, (256 / 0.11) ** (1 / 63))


def test_indexes_and_scales_are_inverses():
    index = jnp.arange(64.0)
    found = gaussian_conditional.scale_at(index)
    np.testing.assert_allclose(found, gaussian_conditional.SCALES, rtol=2e-6)
    np.testing.assert_allclose(gaussian_conditional.index_of(found), index, atol=2e-5)
    np.testing.assert_array_equal(
        gaussian_conditional.rounded_up(gaussian_conditional.index_of(found)), index
    )


def test_rows_are_rounded_up_and_kept_inside():
    index = jnp.asarray([-3.0, -0.2, 0.0, 1e-6, 0.1, 0.9, 1.0, 62.5, 63.0, 80.0])
    expected = [0, 0, 0, 0, 1, 1, 1, 63, 63, 63]
    np.testing.assert_array_equal(gaussian_conditional.rounded_up(index), expected)
    assert gaussian_conditional.rounded_up(index).dtype == jnp.int32


def test_log2_mass_is_in_bits():
    index = jnp.asarray([0.0, 20.0, 40.5, 63.0])
    v = jnp.asarray([0.3, -1.0, 7.0, 200.0])
    scale = 0.11 * (256 / 0.11) ** (np.asarray(index) / 63)
    expected = np.log2(mass(np.asarray(v), scale))
    np.testing.assert_allclose(
        gaussian_conditional.log2_mass(v, index), expected, rtol=1e-4
    )


def test_every_table_covers_all_but_its_tails():
    """Constructing `Tables` checks that every row is valid; here, that it is the right."""
    assert len(TABLES.cdf) == 64
    assert TABLES.escape.all()
    for row, scale in enumerate(gaussian_conditional.SCALES):
        symbols, found, escape = probabilities(row)
        assert symbols[0] == -symbols[-1] == TABLES.offset[row]
        expected = mass(symbols, scale)
        tails = 1 - expected.sum()
        assert 0 <= tails <= 2.0**-16 + 1e-12
        # One symbol fewer on either side would leave more.
        if len(symbols) > 1:
            assert tails + 2 * expected[0] > 2.0**-16
        # Counts are whole numbers and at least one.
        assert np.abs(found - expected).max() <= 4 * 2.0**-16
        assert escape >= 2.0**-16


def test_tables_beside_the_integers():
    """For each scale one for each offset: the masses there, but for the tails."""
    offsets = np.array([-0.25, 0.0, 0.25])
    tables = gaussian_conditional.make_tables(dither=3)
    assert len(tables.cdf) == 3 * 64
    for row in range(len(tables.cdf)):
        scale, offset = gaussian_conditional.SCALES[row // 3], offsets[row % 3]
        counts = np.diff(tables.cdf[row, : tables.size[row] + 1])[:-1] / 2.0**16
        symbols = tables.offset[row] + np.arange(len(counts))
        expected = mass(symbols + offset, scale)
        assert 0 <= 1 - expected.sum() <= 2.0**-16 + 1e-12
        assert np.abs(counts - expected).max() <= 4 * 2.0**-16


def test_tables_cost_hardly_more_than_the_entropy():
    """Code length of a symbol, on average over the distribution: within 0.5 %."""
    for row, scale in enumerate(gaussian_conditional.SCALES):
        symbols, found, _ = probabilities(row)
        p = mass(symbols, scale)
        entropy, length = -(p * np.log2(p)).sum(), -(p * np.log2(found)).sum()
        # Of the narrowest nearly every symbol is zero and costs no bits at all.
        assert length <= 1.005 * entropy + 1e-4, scale


@pytest.mark.parametrize("row", [20, 34, 50, 63])
def test_noisy_quantized_and_actual_rate(row):
    """Three numbers for one sample from the model, each against what it should be."""
    random = np.random.default_rng(row)
    count, scale = 20_000, gaussian_conditional.SCALES[row]
    latents = random.normal(0, scale, count)
    noise = random.uniform(-0.5, 0.5, count)
    index = jnp.full(count, float(row))

    def bits(v):
        return -np.asarray(
            gaussian_conditional.log2_mass(jnp.asarray(v, jnp.float32), index)
        ).mean()

    symbols = np.rint(latents).astype(np.int64)
    noisy, quantized = bits(latents + noise), bits(symbols)
    data = range_coder.encode(symbols, np.full(count, row), TABLES)
    actual = 8 * len(data) / count
    everything = np.arange(-2000, 2001)
    p = mass(everything, scale)
    entropy = scipy.special.entr(p).sum() / np.log(2)
    x = np.linspace(-8 * scale - 1, 8 * scale + 1, 200_001)
    density = mass(x, scale)  # of latents with noise
    of_noisy = scipy.special.entr(density).sum() * (x[1] - x[0]) / np.log(2)
    error = 5 * 1.5 / np.sqrt(count)
    assert quantized == pytest.approx(entropy, abs=error)
    assert noisy == pytest.approx(of_noisy, abs=error)
    # A file is as long as the model says of its integers.
    assert actual == pytest.approx(quantized, rel=5e-3)
    # Noise makes latents wider than rounding does, where scales are small.
    if scale < 2:
        assert noisy > quantized


def test_the_gradient_of_the_noisy_rate_is_that_of_its_expectation():
    """By the mean and by the scale's index, in a Monte Carlo mean and by integration."""
    count, row, mean = 400_000, 30.0, 0.3
    latents = 1.7
    u = jax.random.uniform(jax.random.key(0), (count,), minval=-0.5, maxval=0.5)

    def noisy(mean, index, u):
        return -gaussian_conditional.log2_mass(latents + u - mean, index)

    def expected(mean, index):
        u = (np.arange(20_000) + 0.5) / 20_000 - 0.5
        return -np.log2(
            mass(latents + u - mean, 0.11 * (256 / 0.11) ** (index / 63))
        ).mean()

    gradients = jax.vmap(jax.grad(noisy, (0, 1)), (None, None, 0))(mean, row, u)
    numerical = (
        (expected(mean + 1e-4, row) - expected(mean - 1e-4, row)) / 2e-4,
        (expected(mean, row + 1e-3) - expected(mean, row - 1e-3)) / 2e-3,
    )
    for sampled, right in zip(gradients, numerical, strict=True):
        error = 5 * float(sampled.std()) / np.sqrt(count) + 1e-4
        assert float(sampled.mean()) == pytest.approx(right, abs=error)
