"""Mixtures: densities, samples, and the divergence against integrals and samples."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from pim_jax import distributions
from pim_jax.distributions import Mixture, SymmetrisedKl

log_prob = jax.jit(distributions.log_prob)
symmetrised_kl = jax.jit(distributions.symmetrised_kl)


def mixture(seed: int, *shape: int, components: int, z: int, spread: float = 1.5):
    """Random mixtures at positions of the given shape."""
    random = np.random.default_rng(seed)
    logits = random.standard_normal((*shape, components)).astype(np.float32)
    loc = spread * random.standard_normal((*shape, components, z))
    return Mixture(jnp.asarray(logits), jnp.asarray(loc, jnp.float32))


def scipy_log_prob(q: Mixture, z: np.ndarray) -> np.ndarray:
    """Log-density in float64; leading axes of z are samples."""
    loc, logits = np.asarray(q.loc, np.float64), np.asarray(q.logits, np.float64)
    per_component = scipy.stats.norm.logpdf(np.asarray(z)[..., None, :], loc).sum(-1)
    return scipy.special.logsumexp(
        per_component + scipy.special.log_softmax(logits, axis=-1), axis=-1
    )


@functools.cache
def quadrature(dimensions: int, nodes: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Nodes (p, z) and weights (p,) for expectations under a standard normal."""
    x, w = np.polynomial.hermite_e.hermegauss(nodes)
    w /= w.sum()
    grid = np.stack(np.meshgrid(*[x] * dimensions, indexing="ij"), axis=-1)
    weights = functools.reduce(np.multiply.outer, [w] * dimensions)
    return (
        grid.reshape(-1, dimensions).astype(np.float32),
        weights.reshape(-1).astype(np.float32),
    )


@jax.jit
def expected_kl(p: Mixture, q: Mixture) -> SymmetrisedKl:
    """Our estimates, their expectation over the noise taken by quadrature."""
    noise, weights = quadrature(p.loc.shape[-1])
    wide = jax.tree.map(lambda x: jnp.broadcast_to(x, (len(noise), *x.shape)), (p, q))
    return jax.tree.map(
        lambda kl: jnp.sum(weights * kl), distributions.symmetrised_kl(*wide, noise)
    )


@jax.jit
def integrated_kl(p: Mixture, q: Mixture) -> jax.Array:
    """The integral of (p - q)(log p - log q) over a grid, in one or two dimensions."""
    axis = jnp.linspace(-11, 11, 401)
    z = p.loc.shape[-1]
    grid = jnp.stack(jnp.meshgrid(*[axis] * z, indexing="ij"), -1).reshape(-1, z)
    log_p, log_q = distributions.log_prob(p, grid), distributions.log_prob(q, grid)
    cell = (axis[1] - axis[0]) ** z
    return jnp.sum((jnp.exp(log_p) - jnp.exp(log_q)) * (log_p - log_q)) * cell


@pytest.mark.parametrize("components", [1, 2, 5])
@pytest.mark.parametrize("lead", [(), (3,), (2, 1)])
def test_log_prob_equals_scipy(components, lead):
    q = mixture(0, 2, 4, components=components, z=3)
    z = 2 * np.random.default_rng(1).standard_normal((*lead, 2, 4, 3)).astype(
        np.float32
    )
    found = log_prob(q, z)
    assert found.shape == (*lead, 2, 4)
    np.testing.assert_allclose(found, scipy_log_prob(q, z), rtol=2e-5)


def test_one_gaussian():
    q = Mixture(jnp.full((1,), 7.0), jnp.array([[1.0, -2.0]]))
    z = jnp.array([0.5, 0.5])
    expected = scipy.stats.multivariate_normal([1, -2]).logpdf(np.asarray(z))
    np.testing.assert_allclose(log_prob(q, z), expected, rtol=1e-6)
    np.testing.assert_allclose(
        distributions.gaussian_constant(10), -5 * np.log(2 * np.pi), rtol=1e-6
    )


def test_the_density_integrates_to_one():
    q = mixture(2, components=3, z=1)
    axis = jnp.linspace(-12, 12, 2001)
    density = jnp.exp(log_prob(q, axis[:, None]))
    np.testing.assert_allclose(jnp.sum(density) * (axis[1] - axis[0]), 1, rtol=1e-4)


def test_far_away_nothing_overflows():
    q = mixture(3, components=4, z=2)
    z = jnp.array([[1e3, 1e3], [0, -1e4]])
    np.testing.assert_allclose(log_prob(q, z), scipy_log_prob(q, z), rtol=1e-4)


def test_samples_have_the_shares_and_means_of_the_mixture():
    logits = jnp.log(jnp.array([[0.2, 0.8], [0.5, 0.5]]))
    loc = jnp.array([[[10.0, 0], [-10, 5]], [[0, 30], [0, -30]]])
    z = distributions.sample(jax.random.key(0), Mixture(logits, loc), 20_000)
    assert z.shape == (20_000, 2, 2)
    first = z[:, 0, 0] > 0
    np.testing.assert_allclose(jnp.mean(first), 0.2, atol=0.015)
    np.testing.assert_allclose(jnp.mean(z[:, 0][first], axis=0), [10, 0], atol=0.1)
    np.testing.assert_allclose(jnp.std(z[:, 0][first], axis=0), [1, 1], atol=0.05)
    np.testing.assert_allclose(jnp.mean(z[:, 0][~first], axis=0), [-10, 5], atol=0.1)
    # Positions are independent of each other.
    other = z[:, 1, 1] > 0
    np.testing.assert_allclose(jnp.mean(first & other), 0.1, atol=0.015)


def test_one_component_is_the_squared_distance():
    p, q = (mixture(seed, 6, components=1, z=4) for seed in (4, 5))
    found = symmetrised_kl(p, q, jnp.ones((6, 4)))
    expected = jnp.sum(jnp.square(p.loc - q.loc), axis=(-2, -1))
    for estimate in found:
        np.testing.assert_allclose(estimate, expected, rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("spread", [1e-3, 1, 30])
def test_never_negative_exactly_symmetric_zero_for_equals(seed, spread):
    p = mixture(seed, 50, components=3, z=4, spread=spread)
    q = mixture(seed + 100, 50, components=3, z=4, spread=spread)
    # For any noise, not only for standard normal noise.
    noise = 5 * np.random.default_rng(seed).standard_normal((50, 4)).astype(np.float32)
    there, back = symmetrised_kl(p, q, noise), symmetrised_kl(q, p, noise)
    for a, b, zero in zip(there, back, symmetrised_kl(p, p, noise), strict=True):
        assert a.shape == (50,)
        assert bool(jnp.all(jnp.isfinite(a)))
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(zero, np.zeros(50))
    assert float(there.non_negative.min()) >= 0


@pytest.mark.parametrize("z", [1, 2])
@pytest.mark.parametrize("components", [2, 4])
def test_expectation_is_the_integral(z, components):
    p, q = (mixture(seed, components=components, z=z) for seed in (6, 7))
    expected = integrated_kl(p, q)
    assert expected > 0.1
    for found in expected_kl(p, q):
        np.testing.assert_allclose(found, expected, rtol=2e-3)


def test_small_differences_are_those_of_the_integral():
    p = mixture(8, components=3, z=1)
    q = Mixture(p.logits + 0.02 * jnp.arange(3), p.loc + 0.03)
    # In float64, where the integrand does not cancel.
    axis = np.linspace(-12, 12, 4001)[:, None]
    log_p, log_q = scipy_log_prob(p, axis), scipy_log_prob(q, axis)
    integrand = (np.exp(log_p) - np.exp(log_q)) * (log_p - log_q)
    expected = integrand.sum() * (axis[1, 0] - axis[0, 0])
    found = expected_kl(p, q)
    np.testing.assert_allclose(found.non_negative, expected, rtol=1e-3)
    # Here rounding is a part of the difference.
    np.testing.assert_allclose(found.difference, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("which", [0, 1])
def test_gradient_is_that_of_the_integral(which):
    p, q = (mixture(seed, components=3, z=1) for seed in (9, 10))
    expected = jax.grad(integrated_kl, argnums=(0, 1))(p, q)
    found = jax.grad(lambda p, q: expected_kl(p, q)[which], argnums=(0, 1))(p, q)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert float(jnp.abs(b).max()) > 1e-3
        np.testing.assert_allclose(a, b, atol=5e-3 * float(jnp.abs(b).max()))


def test_gradient_is_the_finite_difference():
    p, q = (mixture(seed, 3, components=2, z=2, spread=0.7) for seed in (11, 12))
    noise = jnp.asarray(np.random.default_rng(0).standard_normal((3, 2)), jnp.float32)

    @jax.jit
    def total(p, q):
        # Both estimates, not to the same share.
        difference, non_negative = distributions.symmetrised_kl(p, q, noise)
        return jnp.sum(difference + 0.3 * non_negative)

    gradient = jax.jit(jax.grad(total, argnums=(0, 1)))(p, q)
    leaves, structure = jax.tree.flatten((p, q))
    for i, slopes in enumerate(jax.tree.leaves(gradient)):
        for index in np.ndindex(slopes.shape):
            values = []
            for step in (1e-2, -1e-2):
                moved = [*leaves]
                moved[i] = leaves[i].at[index].add(step)
                values.append(float(total(*jax.tree.unflatten(structure, moved))))
            found = (values[0] - values[1]) / 2e-2
            np.testing.assert_allclose(slopes[index], found, rtol=1e-2, atol=2e-3)


@pytest.mark.parametrize("scale", [0, 1, 1e3, 1e6])
def test_gradients_are_finite(scale):
    p = mixture(13, 4, components=3, z=2)
    q = Mixture(p.logits * (1 + scale), p.loc + scale)
    noise = jnp.ones((4, 2))

    def total(p, q):
        # Both estimates, not to the same share.
        difference, non_negative = distributions.symmetrised_kl(p, q, noise)
        return jnp.sum(difference + 0.3 * non_negative)

    gradient = jax.jit(jax.grad(total, argnums=(0, 1)))(p, q)
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(gradient))
    if scale == 0:
        # Equal distributions are a minimum.
        jax.tree.map(lambda g: np.testing.assert_allclose(g, 0, atol=1e-6), gradient)


def test_samples_agree_with_the_deterministic_estimate():
    p, q = (mixture(seed, components=3, z=2, spread=0.8) for seed in (14, 15))
    keys = jax.random.split(jax.random.key(0), 40)
    estimate = jax.jit(
        jax.vmap(lambda key: distributions.sampled_symmetrised_kl(key, p, q, 1000))
    )(keys)
    error = float(jnp.std(estimate)) / np.sqrt(len(keys))
    assert (
        abs(float(jnp.mean(estimate)) - float(expected_kl(p, q).difference)) < 4 * error
    )
    assert error < 0.02 * float(jnp.mean(estimate))


def test_sampled_estimate_of_equal_distributions():
    p = mixture(16, 5, components=3, z=2)
    found = distributions.sampled_symmetrised_kl(jax.random.key(0), p, p, 7)
    np.testing.assert_array_equal(found, np.zeros(5))


def numpy_symmetrised_kl(p: Mixture, q: Mixture, noise: np.ndarray) -> SymmetrisedKl:
    """E_p[D] - E_q[D] and E_p[D tanh(D/2)] + E_q[D tanh(D/2)], in float64."""
    signed, even = 0, 0
    for r, sign in ((p, 1), (q, -1)):
        share = scipy.special.softmax(np.asarray(r.logits, np.float64), axis=-1) / 2
        for k in range(share.shape[-1]):
            for side in (noise, -noise):
                z = np.asarray(r.loc, np.float64)[..., k, :] + side
                ratio = scipy_log_prob(p, z) - scipy_log_prob(q, z)
                signed += sign * share[..., k] * ratio
                even += share[..., k] * ratio * np.tanh(ratio / 2)
    return SymmetrisedKl(signed, even)


@pytest.mark.parametrize("shape", [(7,), (2, 64), (1, 8, 8), (3, 4099)])
def test_compiled_maps_of_any_size_equal_numpy(shape):
    """Also guards against compilers: XLA's CPU backend got a variant of this wrong."""
    p, q = (mixture(seed, *shape, components=5, z=10) for seed in (17, 18))
    noise = np.random.default_rng(0).standard_normal((1, *shape[1:], 10))
    noise = noise.astype(np.float32)
    expected = numpy_symmetrised_kl(p, q, noise)
    for a, b in zip(symmetrised_kl(p, q, noise), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)


def test_vmap():
    p, q = (mixture(seed, 3, 6, components=2, z=4) for seed in (19, 20))
    noise = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    found = jax.vmap(distributions.symmetrised_kl, (0, 0, None))(p, q, noise)
    for a, b in zip(found, numpy_symmetrised_kl(p, q, noise[None]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)
