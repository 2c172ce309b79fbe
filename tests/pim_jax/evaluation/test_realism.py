"""Divergences between sets, against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pim_jax.distributions import Mixture, log_prob
from pim_jax.evaluation import realism

RANDOM = np.random.default_rng(0)


def normal(*shape):
    return jnp.asarray(RANDOM.standard_normal(shape), jnp.float32)


def posteriors(loc):
    """One Gaussian a position."""
    return Mixture(jnp.zeros((len(loc), 1)), loc[:, None])


def test_density_of_a_set_is_the_mean_of_densities():
    q = Mixture(normal(5, 3), normal(5, 3, 2))
    z = normal(7, 2)
    each = jnp.stack([log_prob(Mixture(q.logits[i], q.loc[i]), z) for i in range(5)])
    expected = jax.nn.logsumexp(each, axis=0) - jnp.log(5)
    found = realism.set_log_density(z, q)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_plug_in_kl_of_gaussians():
    """Sets of means N(m, I) make densities N(m, 2 I); KL = |m - n|^2 / 4."""
    a, b, c = (posteriors(normal(2000, 2)) for _ in range(3))
    shifted = posteriors(c.loc[:, 0] + jnp.array([[1.0, 0.5]]))
    key = jax.random.key(0)
    assert realism.plug_in_kl(key, a, b, b) == 0
    assert abs(realism.plug_in_kl(key, a, b, c)) < 0.03
    found = realism.plug_in_kl(key, a, b, shifted)
    assert found == pytest.approx(1.25 / 4, abs=0.05)
    with pytest.raises(ValueError, match="found 2000 and 3"):
        realism.plug_in_kl(key, a, b, posteriors(normal(3, 2)))


def gaussians():
    mean_p, mean_q = np.array([0.0, 1.0]), np.array([0.5, 0.0])
    turn = np.array([[0.8, -0.6], [0.6, 0.8]])
    diagonal = [np.diag([1.0, 4.0]), np.diag([2.25, 1.0])]
    p, q = (turn @ d @ turn.T for d in diagonal)
    return [realism.Moments(m, s) for m, s in ((mean_p, p), (mean_q, q))]


def test_frechet_of_covariances_that_commute():
    """|m - n|^2 plus the squared differences of deviations."""
    p, q = gaussians()
    assert realism.frechet(p, q) == pytest.approx(1.25 + 0.25 + 1.0, rel=1e-5)
    assert realism.frechet(q, p) == pytest.approx(2.5, rel=1e-5)
    assert realism.frechet(p, p) == pytest.approx(0, abs=1e-5)
    singular = realism.Moments(p.mean, np.zeros((2, 2)))
    assert realism.frechet(singular, p) == pytest.approx(5, rel=1e-5)


def test_frechet_of_covariances_that_do_not():
    """tr (S T)^(1/2) of 2x2: the root of tr(S T) + 2 (det S det T)^(1/2)."""
    s, t = (np.asarray(x) @ np.asarray(x).T for x in (normal(2, 3), normal(2, 3)))
    zero = np.zeros(2)
    found = realism.frechet(realism.Moments(zero, s), realism.Moments(zero, t))
    common = np.sqrt(np.trace(s @ t) + 2 * np.sqrt(np.linalg.det(s) * np.linalg.det(t)))
    assert found == pytest.approx(np.trace(s) + np.trace(t) - 2 * common, rel=1e-4)


def test_gaussian_kl():
    p, q = gaussians()
    difference = np.asarray(q.mean - p.mean)
    inverse = np.linalg.inv(np.asarray(q.covariance))
    expected = 0.5 * (
        (1 / 2.25 + 4) + difference @ inverse @ difference - 2 + np.log(2.25 / 4)
    )
    assert realism.gaussian_kl(p, q) == pytest.approx(expected, rel=1e-5)
    assert realism.gaussian_kl(p, p) == pytest.approx(0, abs=1e-6)


def test_moments():
    z = normal(30, 4)
    found = realism.moments(np.asarray(z))
    np.testing.assert_allclose(found.mean, np.mean(z, axis=0), atol=1e-6)
    np.testing.assert_allclose(found.covariance, np.cov(np.asarray(z).T), atol=1e-5)


def test_mmd_is_unbiased():
    """Images that shift all of their points together would look apart otherwise."""
    mmd = jax.jit(realism.mmd)
    values = [
        mmd(*(normal(12, 6, 2) + 2 * normal(12, 1, 2) for _ in range(2)))
        for _ in range(60)
    ]
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 3 * error
    assert np.min(values) < 0


def test_mmd_of_points():
    """One dimension, two images a set, one point each, by hand."""
    x, y = (jnp.array(v)[:, None, None] for v in ([0.0, 1.0], [2.0, -1.0]))
    # k(0, 1) = 1, k(2, -1) = -1, and k(0, 2), k(0, -1), k(1, 2), k(1, -1).
    assert realism.mmd(x, y) == pytest.approx(1 - 1 - 2 * (1 + 1 + 27 + 0) / 4)


def test_mmd_sees_other_means_and_deviations():
    x, y = normal(40, 4, 3), normal(40, 4, 3)
    assert realism.mmd(x, y + 1) > 20 * abs(realism.mmd(x, y))
    assert realism.mmd(x, 2 * y) > 5 * abs(realism.mmd(x, y))


@pytest.mark.parametrize("sigma", [0, 0.5, 1])
def test_wasserstein_without_neighbourhood_is_squared_error(sigma):
    a, b = normal(2, 8, 8, 3), normal(2, 8, 8, 3)
    expected = np.mean(np.square(a - b), axis=(1, 2, 3))
    np.testing.assert_allclose(realism.wasserstein(a, b, sigma), expected, rtol=1e-6)


@pytest.mark.parametrize("sigma", [2, 3, 4, 100])
def test_wasserstein_of_constants(sigma):
    """Without deviations all octaves give the difference of means."""
    a, b = jnp.full((1, 8, 8, 1), 0.25), jnp.full((1, 8, 8, 1), 0.75)
    assert realism.wasserstein(a, b, sigma)[0] == pytest.approx(0.25, rel=1e-5)
    assert realism.wasserstein(a, a, sigma)[0] == 0


def test_wasserstein_forgives_resampled_noise():
    a, b = normal(4, 32, 32, 1), normal(4, 32, 32, 1)
    smoothed = realism._smooth(a)
    resampled, blurred = (
        [float(realism.wasserstein(a, x, s).mean()) for s in (0, 8)]
        for x in (b, smoothed)
    )
    assert resampled[0] > 2 * blurred[0]
    assert resampled[1] < 0.2 * blurred[1]


def test_wasserstein_has_finite_slopes():
    """Also at equality, and where nothing varies."""
    a = jnp.full((1, 8, 8, 1), 0.5).at[0, 0, 0, 0].set(0.6)
    slope = jax.grad(lambda x: realism.wasserstein(x, a, 4)[0])
    assert np.isfinite(slope(a)).all()
    assert np.isfinite(slope(jnp.zeros_like(a))).all()
