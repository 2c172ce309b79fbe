"""IXYZ against a Gaussian whose information is known, and against plain loops."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from pim_jax.distributions import Mixture
from pim_jax.pim.objective import REDUCTIONS, ixyz

PAIRS = 40_960  # of the Gaussian example, for each minibatch size


def true_information(rho, s):
    """I(X;Y;Z) in nats: X, Y standard normal, Z|x,y ~ N(s (x + y) / 2, 1)."""
    of_both = 0.5 * np.log1p(s**2 * (1 + rho) / 2)
    of_one = of_both - 0.5 * np.log1p(s**2 * (1 - rho**2) / 4)
    return 2 * of_one - of_both


def exact_q(x, rho, s, nodes=48):
    """p(z|x) = N(s (1 + rho) x / 2, 1 + v), as a mixture of Gaussians of variance one.

    Gauss-Hermite nodes and weights of N(0, v) are the mixture.
    """
    at, weights = np.polynomial.hermite_e.hermegauss(nodes)
    loc = s * (1 + rho) / 2 * x[..., None, None]
    spread = np.sqrt(s**2 * (1 - rho**2) / 4) * at
    logits = np.broadcast_to(np.log(weights), (*x.shape, 1, nodes))
    return Mixture(jnp.asarray(logits), jnp.asarray((loc + spread)[..., None]))


def one_gaussian(x, rho, s):
    """The best q of variance one: PIM-1."""
    loc = s * (1 + rho) / 2 * x[..., None, None, None]
    return Mixture(jnp.zeros((*x.shape, 1, 1)), jnp.asarray(loc))


@functools.partial(
    jax.jit,
    compiler_options={"xla_backend_optimization_level": 3},  # runs for long
)
def bounds(loc, q_x, q_y, noise):
    """The bound of every minibatch: arrays with leading axes (minibatches, K)."""
    weights = jnp.ones(1)
    return jax.lax.map(lambda a: ixyz(*a, weights).bound, (loc, q_x, q_y, noise))


def gaussian_bound(rho, s, size, q):
    """(estimate of the expected bound, its standard error)."""
    rng = np.random.default_rng([size, round(100 * rho)])
    shape = (PAIRS // size, size)
    x, other, noise = (rng.standard_normal(shape) for _ in range(3))
    y = rho * x + np.sqrt(1 - rho**2) * other
    loc = (s * (x + y) / 2)[..., None, None]
    values = bounds(loc, q(x, rho, s), q(y, rho, s), noise[..., None, None])
    # Minibatches are independent; the pairs of one share their marginal.
    each = np.asarray(values, np.float64).mean(axis=1)
    return each.mean(), each.std(ddof=1) / np.sqrt(len(each))


@pytest.mark.parametrize(
    ("rho", "s", "true", "expected"),
    [
        (0.9, 5.0, 0.822, {8: 0.437, 64: 0.762, 512: 0.817}),
        (0.99, 30.0, 1.699, {8: 0.200, 64: 1.343, 512: 1.634}),
        (0.0, 5.0, -0.680, {8: -0.956, 64: -0.726, 512: -0.685}),
    ],
)
def test_gaussian_values(rho, s, true, expected):
    """The values of an independent computation, printed to three digits."""
    assert true_information(rho, s) == pytest.approx(true, abs=5e-4)
    for size, value in expected.items():
        found, error = gaussian_bound(rho, s, size, exact_q)
        # The printed value has an error of its own, of about this size.
        assert found == pytest.approx(value, abs=4 * error + 0.001)
        assert found < true + 4 * error, "above the information itself"


def test_a_single_gaussian_is_looser():
    found, error = gaussian_bound(0.9, 5.0, 512, one_gaussian)
    assert found == pytest.approx(0.412, abs=4 * error + 0.001)


def random_case(n=5, p=6, m=3, z=2, seed=0):
    """Arguments of `ixyz` with weights of two levels, as float64 NumPy."""
    rng = np.random.default_rng(seed)
    return {
        "joint_loc": rng.normal(size=(n, p, z)),
        "marginal_x": Mixture(
            rng.normal(size=(n, p, m)), rng.normal(size=(n, p, m, z))
        ),
        "marginal_y": Mixture(
            rng.normal(size=(n, p, m)), rng.normal(size=(n, p, m, z))
        ),
        "noise": rng.normal(size=(n, p, z)),
        "weights": np.array([1 / 4] * 2 + [1 / 8] * 4),
    }


def on_device(case):
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), case)


@functools.cache
def jitted(reduction):
    return jax.jit(functools.partial(ixyz, reduction=reduction))


def log_normal(z, loc):
    return -0.5 * np.sum((z - loc) ** 2) - 0.5 * len(z) * np.log(2 * np.pi)


def log_mixture(z, logits, loc):
    weights = scipy.special.log_softmax(logits)
    parts = [w + log_normal(z, mean) for w, mean in zip(weights, loc, strict=True)]
    return scipy.special.logsumexp(parts)


def by_loops(case, reduction, temperature=1.0):
    """The four terms, position by position and pair by pair."""
    weights = np.ones(6) if reduction == "sum" else case["weights"]
    joint_loc = case["joint_loc"]
    z = joint_loc + case["noise"]
    n, p = z.shape[:2]

    def soft_maximum(values):
        values = np.asarray(values) / temperature
        return temperature * (scipy.special.logsumexp(values) - np.log(len(values)))

    terms = []
    for i in range(n):
        log_q = [
            sum(
                weights[j] * log_mixture(z[i, j], q.logits[i, j], q.loc[i, j])
                for j in range(p)
            )
            for q in (case["marginal_x"], case["marginal_y"])
        ]
        log_p = np.array(
            [[log_normal(z[i, j], joint_loc[k, j]) for j in range(p)] for k in range(n)]
        )
        if reduction == "per_location":
            log_marginal = sum(weights[j] * soft_maximum(log_p[:, j]) for j in range(p))
        else:
            log_marginal = soft_maximum(log_p @ weights)
        log_joint = log_p[i] @ weights
        terms.append([*log_q, log_marginal, log_joint])
    return np.array(terms).T


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("temperature", [1.0, 7.0])
def test_reductions_equal_loops(reduction, temperature):
    case = random_case()
    options = {"reduction": reduction, "temperature": temperature}
    found = jax.jit(functools.partial(ixyz, **options))(**on_device(case))
    expected = by_loops(case, reduction, temperature)
    np.testing.assert_allclose(np.stack(found[1:]), expected, rtol=1e-5, atol=1e-5)
    log_q_x, log_q_y, log_marginal, log_joint = expected
    np.testing.assert_allclose(
        found.bound, log_q_x + log_q_y - log_marginal - log_joint, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_jit_equals_plain(reduction):
    case = on_device(random_case())
    for a, b in zip(
        jitted(reduction)(**case), ixyz(**case, reduction=reduction), strict=True
    ):
        assert a.shape == (5,)
        assert a.dtype == jnp.float32
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("spread", [0.1, 1.0, 100.0])
def test_the_contrast_does_not_exceed_the_minibatch(reduction, spread):
    """log p(z|x,y) - log p_hat(z) <= log K, for every pair, and then close to it."""
    case = random_case(n=7)
    case["joint_loc"] = spread * case["joint_loc"]
    found = jitted(reduction)(**on_device(case))
    contrast = np.asarray(found.log_joint - found.log_marginal)
    # Float32 rounding of terms of this size.
    slack = 1e-5 * (1 + np.abs(found.log_joint).max() + spread**2)
    assert (contrast <= np.log(7) + slack).all()
    if spread == 100.0:
        np.testing.assert_allclose(contrast, np.log(7), atol=slack)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_pmap_equals_the_whole_minibatch(reduction):
    case = on_device(random_case(n=8))
    whole = jitted(reduction)(**case)
    weights = case.pop("weights")
    split = jax.tree.map(lambda x: x.reshape(4, 2, *x.shape[1:]), case)

    def one(part):
        return ixyz(**part, weights=weights, reduction=reduction, axis_name="devices")

    parts = jax.pmap(one, axis_name="devices", devices=jax.devices()[:4])(split)
    for a, b in zip(parts, whole, strict=True):
        np.testing.assert_allclose(np.ravel(a), b, rtol=1e-5, atol=1e-5)


@functools.cache
def gradients(reduction):
    return jax.jit(
        jax.grad(lambda case: jnp.mean(ixyz(**case, reduction=reduction).bound))
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("loc", [0.0, 1.0, 1e3])
def test_gradients_are_finite(reduction, loc):
    """Also where all pairs are the same, and where they are far apart."""
    case = on_device(random_case())
    case["joint_loc"] = loc * case["joint_loc"]

    leaves = jax.tree.leaves(gradients(reduction)(case))
    assert all(jnp.isfinite(leaf).all() for leaf in leaves)
    assert any((leaf != 0).any() for leaf in leaves)


def test_the_joint_term_carries_no_gradient():
    """Its covariance is fixed: E log p(z|x,y) is a constant."""
    case = on_device(random_case())
    gradient = jax.grad(
        lambda loc: jnp.sum(ixyz(**{**case, "joint_loc": loc}).log_joint)
    )(case["joint_loc"])
    np.testing.assert_array_equal(gradient, 0)


def test_an_unknown_reduction():
    with pytest.raises(ValueError, match=r"must be one of .*'mean'.* found 'median'"):
        ixyz(**on_device(random_case()), reduction="median")
