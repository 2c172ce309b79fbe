"""Sources against their formulas: moments, densities, entropies, known optima."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.spatial.transform

from codec_jax.toy import sources
from codec_jax.toy.sources import SOURCES

KEY = jax.random.key(0)


@pytest.mark.parametrize("name", SOURCES)
def test_samples_are_a_function_of_the_key(name):
    source = SOURCES[name]
    x = source.sample(KEY, 5)
    assert x.shape == (5, source.dimensions)
    assert x.dtype == jnp.float32
    np.testing.assert_array_equal(x, source.sample(KEY, 5))
    assert np.any(x != source.sample(jax.random.key(1), 5))
    assert len(np.unique(np.asarray(x), axis=0)) == 5


def test_moments_of_the_banana():
    """Those of the normal distribution, bent, turned and shifted, by hand."""
    x = np.asarray(SOURCES["banana"].sample(KEY, 1_000_000), np.float64)
    turn = scipy.spatial.transform.Rotation.from_euler("z", -240, degrees=True)
    turn = turn.as_matrix()[:2, :2]
    # E z^2 = 9 and Var z^2 = 2 * 9^2 for z ~ N(0, 3^2).
    bent_mean, bent_covariance = np.array([0, -0.9]), np.diag([9, 0.25 + 0.01 * 162])
    covariance = turn @ bent_covariance @ turn.T
    np.testing.assert_allclose(x.mean(0), turn @ bent_mean - 1, atol=0.02)
    np.testing.assert_allclose(np.cov(x.T), covariance, atol=0.06)
    np.testing.assert_allclose(covariance, [[3.63, -3.07], [-3.07, 7.24]], atol=0.05)


@pytest.mark.parametrize(("name", "entropy"), [("banana", 4.679), ("laplace", 2.4427)])
def test_entropies(name, entropy):
    """In bits. The banana has that of its normal distribution: volumes stay."""
    source = SOURCES[name]
    nats = -source.log_density(source.sample(KEY, 400_000))
    assert float(nats.mean()) / np.log(2) == pytest.approx(entropy, abs=0.01)


def test_the_density_of_the_banana_is_that_of_its_samples():
    source, ticks = SOURCES["banana"], np.linspace(-20, 30, 501)
    centres = (ticks[1:] + ticks[:-1]) / 2
    grid = np.stack(np.meshgrid(centres, centres, indexing="ij"), -1).reshape(-1, 2)
    density = np.exp(source.log_density(jnp.asarray(grid, jnp.float32)))
    masses = 0.1**2 * np.asarray(density, np.float64).reshape(500, 500)
    assert masses.sum() == pytest.approx(1, abs=1e-3)
    x = np.asarray(source.sample(KEY, 1_000_000))
    counts = np.histogram2d(x[:, 0], x[:, 1], bins=[ticks, ticks])[0]
    # In boxes of half a unit; the density bends little inside one.
    boxes = [a.reshape(100, 5, 100, 5).sum((1, 3)) for a in (counts / 1e6, masses)]
    np.testing.assert_allclose(*boxes, atol=1e-3)


def test_the_density_of_the_laplacian_integrates_to_one():
    x = jnp.linspace(-20, 20, 4001)[:, None]
    mass = np.sum(np.exp(SOURCES["laplace"].log_density(x))) * 0.01
    assert mass == pytest.approx(1, abs=1e-4)


def test_a_sawbridge_falls_once():
    source = sources.sawbridge(101)
    x = np.asarray(source.sample(KEY, 20_000))
    t = np.linspace(0, 1, 101)
    fallen = t - x
    assert np.all((np.abs(fallen) < 1e-6) | (np.abs(fallen - 1) < 1e-6))
    assert np.all(np.diff(fallen, axis=1) > -1e-6)
    np.testing.assert_allclose(x[:, [0, -1]], 0, atol=1e-6)
    # The covariance of a Brownian bridge.
    bridge = np.minimum(t[:, None], t) - t[:, None] * t
    np.testing.assert_allclose(x.T @ x / len(x), bridge, atol=0.02)


def equal_intervals(n):
    """Rate and distortion of telling in which of n intervals a sawbridge falls."""
    x = np.asarray(SOURCES["sawbridge"].sample(KEY, 4_000), np.float64)
    # The fall is where x drops below its start: t - x is 0 before, 1 after.
    fall = np.mean(np.linspace(0, 1, x.shape[1]) - x < 0.5, axis=1)
    cell = np.minimum((fall * n).astype(int), n - 1)
    error = sum(x[cell == k].var(axis=0) * np.mean(cell == k) for k in range(n))
    frequencies = np.bincount(cell, minlength=n) / len(x)
    return -np.sum(frequencies * np.log2(frequencies)), error.mean()


@pytest.mark.parametrize("lmbda", [10.0, 60.0])
def test_the_optimum_of_the_sawbridge_is_reached_by_equal_intervals(lmbda):
    rate, distortion = sources.sawbridge_optimum(lmbda)
    measured = equal_intervals(round(2**rate))
    np.testing.assert_allclose(measured, (rate, distortion), rtol=0.02)


@pytest.mark.parametrize("lmbda", [0.0, 3.0, 10.0, 60.0, 200.0])
def test_no_other_intervals_are_better(lmbda):
    """All intervals with ends on a grid, by dynamic programming."""
    steps = 240
    widths = np.arange(1, steps + 1) / steps
    costs = widths * (-np.log2(widths) + lmbda * widths / 6)
    least = np.zeros(steps + 1)
    for end in range(1, steps + 1):
        least[end] = np.min(least[end - 1 :: -1][:end] + costs[:end])
    rate, distortion = sources.sawbridge_optimum(lmbda)
    optimum = rate + lmbda * distortion
    assert optimum <= least[-1] + 1e-9
    assert optimum == pytest.approx(least[-1], rel=2e-3)


def test_ramp_and_sinusoid_are_closed_curves():
    ramp = np.asarray(SOURCES["ramp"].sample(KEY, 500))
    assert ramp.min() >= -0.5
    assert ramp.max() < 0.5
    np.testing.assert_allclose(np.mean(ramp**2, axis=1), 1 / 12, atol=1e-3)
    x = np.asarray(sources.sinusoid(64).sample(KEY, 500))
    np.testing.assert_allclose(np.mean(x[:, :-1] ** 2, axis=1), 0.5, atol=1e-5)
    # A circle: two directions hold all, equally.
    values = np.linalg.svd(x, compute_uv=False)
    assert values[2] < 1e-4 * values[0]
    assert values[1] == pytest.approx(values[0], rel=0.2)


def test_spheres():
    x = np.asarray(sources.sphere(4).sample(KEY, 100_000))
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(x.T @ x / len(x), np.eye(4) / 4, atol=0.01)
    band = np.asarray(sources.sphere(2, width=0.4).sample(KEY, 100_000))
    radii = np.linalg.norm(band, axis=1)
    assert radii.min() == pytest.approx(0.8, abs=1e-3)
    assert radii.max() == pytest.approx(1.2, abs=1e-3)
    assert radii.var() == pytest.approx(0.4**2 / 12, rel=0.02)
