"""Equality with the published TensorFlow code, on given weights.

Two sources: outputs of the published code for two small models (folder ../shared), and
printed values for random weights made by a recipe, which need no file. All in float32
with full-precision convolutions.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from pim_jax import distributions
from pim_jax.distributions import Mixture
from pim_jax.pim import checkpoints, parameters, published
from pim_jax.pim import distance as pim_distance
from pim_jax.pim.model import ModelConfig, Pim, pyramid

LEVELS = 8
TOLERANCE = 1e-5


@pytest.fixture(autouse=True)
def _full_precision():
    with jax.default_matmul_precision("highest"):
        yield


def assert_close(found: Any, expected: Any) -> None:
    """Largest error below TOLERANCE times the largest expected value."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape
    error = np.abs(found - expected).max() / np.abs(expected).max()
    assert error < TOLERANCE


def reduced(maps: Any) -> jax.Array:
    """Mean over space, then over levels."""
    return jnp.mean(jnp.stack([jnp.mean(m, axis=(-2, -1)) for m in maps]), axis=0)


def log_prob(mixtures: Any, z: Any) -> jax.Array:
    """Log-density of a pyramid: summed over z, averaged over space and levels."""
    return reduced(
        [distributions.log_prob(q, v) for q, v in zip(mixtures, z, strict=True)]
    )


def gaussians(joint: Any) -> list[Mixture]:
    """The means of p(z|x,y) as mixtures of one component."""
    return [Mixture(jnp.zeros((*m.shape[:-1], 1)), m[..., None, :]) for m in joint]


@functools.partial(jax.jit, static_argnames="config")
def outputs(params, x, y, z_x, z_y, config: ModelConfig) -> dict[str, Any]:
    """All that is compared, in one compilation; z_x and z_y are samples of q."""
    variables = {"params": params}
    model = Pim(config)
    marginal_x, marginal_y, joint = model.apply(variables, x, y)
    log_probs = {
        f"log_prob_{image}_of_{sample}": log_prob(marginal, z)
        for image, marginal in (("x", marginal_x), ("y", marginal_y))
        for sample, z in (("zx", z_x), ("zy", z_y))
    }
    # The same expression as in the model, so that it is compiled once.
    both = model.apply(variables, jnp.concatenate([x, y]), method=Pim.features)
    return {
        "pyramid_x": pyramid(config, x),
        "frontend_x": [level[: len(x)] for level in both],
        "frontend_y": [level[len(x) :] for level in both],
        "marginal_x": marginal_x,
        "marginal_y": marginal_y,
        "joint_mean": joint,
        "joint_log_prob_zx": log_prob(gaussians(joint), z_x),
        **log_probs,
    }


@functools.partial(jax.jit, static_argnames="config")
def distance_and_gradient(params, x, y, config: ModelConfig) -> Any:
    """The distance of each pair, and the gradient of their sum with respect to y."""

    def total(y):
        distance = pim_distance.distance(params, x, y, config)
        return jnp.sum(distance), distance

    gradient, distance = jax.grad(total, has_aux=True)(y)
    return distance, gradient


class Case(NamedTuple):
    params: Any
    config: ModelConfig
    reference: dict[str, np.ndarray]
    found: dict[str, Any]

    def levels(self, name: str) -> list[np.ndarray]:
        return levels_of(self.reference, name)


def levels_of(reference: dict[str, np.ndarray], name: str) -> list[np.ndarray]:
    return [reference[f"{name}/{i}"] for i in range(LEVELS)]


@pytest.fixture(scope="module", params=["1-even", "1-odd", "5-even", "5-odd"])
def case(request, shared) -> Case:
    components, size = request.param.split("-")
    folder = shared / "fixtures" / "pim"
    params, config = checkpoints.read(folder / f"tiny-{components}")
    with np.load(folder / f"tiny-{components}.npz") as arrays:
        reference = {
            name.partition("/")[2]: arrays[name]
            for name in arrays
            if name.startswith(f"{size}/")
        }
    samples = (levels_of(reference, f"sample_{z}") for z in ("zx", "zy"))
    with jax.default_matmul_precision("highest"):
        found = outputs(params, reference["x"], reference["y"], *samples, config)
    return Case(params, config, reference, found)


@pytest.mark.shared
class TestPublishedOutputs:
    @pytest.mark.parametrize(
        "name", ["pyramid_x", "frontend_x", "frontend_y", "joint_mean"]
    )
    def test_maps(self, case, name):
        for found, expected in zip(case.found[name], case.levels(name), strict=True):
            assert_close(found, expected)

    def test_marginal(self, case):
        for level, expected in zip(
            case.found["marginal_x"], case.levels("marginal_mean_x"), strict=True
        ):
            share = scipy.special.softmax(level.logits, axis=-1)[..., None]
            assert_close(np.sum(share * np.asarray(level.loc), axis=-2), expected)
        if case.config.components > 1:
            for level, loc, logits in zip(
                case.found["marginal_x"],
                case.levels("marginal_loc_x"),
                case.levels("marginal_logits_x"),
                strict=True,
            ):
                assert_close(level.loc, loc)
                assert_close(level.logits, logits)

    @pytest.mark.parametrize(
        "name",
        [
            "log_prob_x_of_zx",
            "log_prob_y_of_zx",
            "log_prob_x_of_zy",
            "log_prob_y_of_zy",
            "joint_log_prob_zx",
        ],
    )
    def test_log_prob(self, case, name):
        assert_close(case.found[name], case.reference[name])

    def test_divergence_from_given_samples(self, case):
        p = {
            name: np.asarray(case.found[name]) for name in case.found if "_of_" in name
        }
        of_x = p["log_prob_x_of_zx"] - p["log_prob_y_of_zx"]
        of_y = p["log_prob_y_of_zy"] - p["log_prob_x_of_zy"]
        assert_close(of_x.mean(0) + of_y.mean(0), case.reference["kl_from_samples"])

    def test_distance_and_gradient(self, case):
        if case.config.components > 1:
            return  # the published distance of mixtures is random
        x, y = case.reference["x"], case.reference["y"]
        distance, gradient = distance_and_gradient(case.params, x, y, case.config)
        assert_close(distance, case.reference["distance"])
        assert_close(gradient, case.reference["grad_y"])


def picture(height: int, width: int, phase: float, noise: float) -> np.ndarray:
    """The test image of the printed values, (h, w, 3) uint8."""
    i, j, c = np.meshgrid(*map(np.arange, (height, width, 3)), indexing="ij")
    values = 127.5 + 60 * np.sin(0.07 * i + 0.11 * j + c + phase)
    values += 40 * np.sin(0.9 * i - 0.5 * j * (1 + 0.3 * c))
    values += noise * np.sin(2.3 * i + 1.7 * j + 3.1 * c)
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def image_a(height: int = 64, width: int = 64) -> jnp.ndarray:
    return jnp.asarray(picture(height, width, 0, 0)[None] / 255, jnp.float32)


def image_b() -> jnp.ndarray:
    return jnp.asarray(picture(64, 64, 0.05, 12)[None] / 255, jnp.float32)


@functools.cache
def recipe(components: int) -> tuple[Any, ModelConfig]:
    """Random weights, drawn in the order of the published variable names."""
    config = ModelConfig(mixtures=components)
    names = {
        published.published_key(name, config): (name, shape)
        for name, shape in parameters.parameter_shapes(config).items()
    }
    random = np.random.RandomState(0)
    flat = {}
    for key in sorted(names):
        name, shape = names[key]
        values = random.standard_normal(shape)
        scale = 0.1 if name.endswith("bias") else np.sqrt(2 / np.prod(shape[:-1]))
        flat[name] = (scale * values).astype(np.float32)
    return parameters.assemble(flat, config, "recipe"), config


@functools.cache
def found_at_quarter(components: int) -> dict[str, Any]:
    """Outputs for a and b with the weights of the recipe, at z = 0.25 everywhere."""
    params, config = recipe(components)
    z = [
        jnp.full((1, size, size, config.z_dim), 0.25)
        for size in (8, 16, 16, 32, 32, 64, 64, 64)
    ]
    with jax.default_matmul_precision("highest"):
        return outputs(params, image_a(), image_b(), z, z, config)


@jax.jit
def compare_all(a: Any, b: Any) -> tuple[jax.Array, ...]:
    """d(a, b), d(b, a), d(a, a)."""
    return (
        pim_distance.compare(a, b),
        pim_distance.compare(b, a),
        pim_distance.compare(a, a),
    )


def test_the_images_are_those_of_the_printed_values():
    a = picture(64, 64, 0, 0)
    assert a.sum() == 1559468
    assert picture(64, 64, 0.05, 12).sum() == 1558623
    assert tuple(a[0, 0]) == (128, 178, 182)


@pytest.mark.parametrize(
    ("size", "printed"),
    [
        (
            (64, 64),
            "14.83353 0.0768300 0.0745594 0.0197826 0.0136148 0.00641377 0.00429566 "
            "0.000978913",
        ),
        (
            (61, 47),
            "13.26268 0.0689288 0.1125777 0.0187568 0.0169446 0.00648730 0.00507950 "
            "0.00129300",
        ),
    ],
)
def test_pyramid_energies(size, printed):
    levels = pyramid(ModelConfig(), image_a(*size))
    found = [float(jnp.mean(jnp.square(level))) for level in levels]
    np.testing.assert_allclose(found, np.array(printed.split(), float), rtol=1e-5)


def test_frontend_energies():
    levels = found_at_quarter(1)["frontend_x"]
    found = [np.sqrt(np.mean(np.square(level))) for level in levels]
    printed = "3.29122 .41061 .29201 .15378 .12553 .09224 .15449 .08898"
    # Printed with five decimals.
    np.testing.assert_allclose(found, np.array(printed.split(), float), atol=6e-6)


def test_distance_of_one_component():
    found = found_at_quarter(1)
    there, back, same = compare_all(found["marginal_x"], found["marginal_y"])
    np.testing.assert_allclose(there[0], 3.2548e-4, rtol=2e-5)
    assert there[0] == back[0]
    assert same[0] == 0


def test_log_prob_of_one_component():
    found = found_at_quarter(1)
    loc = [np.asarray(q.loc)[..., 0, :] for q in found["marginal_x"]]
    normal = scipy.stats.norm(0.25)
    levels = [normal.logpdf(level).sum(-1).mean() for level in loc]
    printed = "-41.9113 -9.79844 -9.4475 -9.41477 -9.42744 -9.46681 -9.39709 -9.40079"
    np.testing.assert_allclose(levels, np.array(printed.split(), float), rtol=1e-5)
    np.testing.assert_allclose(found["log_prob_x_of_zx"], [-13.53302], rtol=1e-6)
    np.testing.assert_allclose(found["log_prob_y_of_zx"], [-13.53764], rtol=1e-6)
    np.testing.assert_allclose(found["joint_log_prob_zx"], [-12033.8], rtol=1e-5)


def test_log_prob_of_five_components():
    found = found_at_quarter(5)
    np.testing.assert_allclose(found["log_prob_x_of_zx"], [-12.16873], rtol=1e-6)
    np.testing.assert_allclose(found["log_prob_y_of_zx"], [-12.17683], rtol=1e-6)


def test_distance_of_five_components():
    found = found_at_quarter(5)
    there, back, same = compare_all(found["marginal_x"], found["marginal_y"])
    # Monte Carlo of the published code, 2000 samples: 2.154e-3 with error 0.06e-3.
    np.testing.assert_allclose(there[0], 2.154e-3, atol=2 * 0.06e-3)
    assert there[0] == back[0]
    assert same[0] == 0
