"""The metric: what a distance must be, under every transformation, and bad input."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pim_jax
from pim_jax.data import frame_pairs, frame_runs
from pim_jax.metric import Metric
from pim_jax.pim.distance import untrained
from pim_jax.pim.model import ModelConfig

SMALL = ModelConfig(
    frontend="laplacian", num_scales=2, filters=(4, 3), z_dim=3, mixtures=3
)
CONFIGS = {"one": dataclasses.replace(SMALL, mixtures=1), "mixture": SMALL}
RNG = np.random.default_rng(0)
A, B = (RNG.uniform(size=(4, 16, 20, 3)).astype(np.float32) for _ in range(2))
IDENTICAL_CONSTANT = np.full_like(A, 0.5)


def stronger(metric, factor):
    """The metric with all weights multiplied: larger means, larger distances."""
    return metric.replace(params=jax.tree.map(lambda x: factor * x, metric.params))


METRICS = {name: stronger(untrained(config), 2.0) for name, config in CONFIGS.items()}


@pytest.fixture(params=list(METRICS))
def metric(request):
    return METRICS[request.param]


@jax.jit
def call(metric, a, b):
    return metric(a, b)


@jax.jit
def gradient(metric, a, b):
    return jax.grad(lambda b: jnp.sum(metric(a, b)))(b)


@pytest.fixture(scope="module")
def close_frames(small_frames):
    """Five pairs of frames of a natural video, a tenth of a second apart."""
    runs = frame_runs.open_runs(small_frames, "validation")
    x, y = frame_pairs.validation_pairs(runs, 5, crop=16)
    return x.astype(np.float32) / 255, y.astype(np.float32) / 255


def test_a_distance(metric):
    distance = call(metric, A, B)
    assert distance.shape == (4,)
    assert distance.dtype == jnp.float32
    assert (distance > 0).all()
    np.testing.assert_allclose(call(metric, B, A), distance, rtol=1e-6)


@pytest.mark.parametrize("image", [A, IDENTICAL_CONSTANT, 0 * A], ids=["a", "c", "0"])
def test_identical_images_have_distance_zero(metric, image):
    np.testing.assert_array_equal(call(metric, image, image), 0)


def test_rounding_in_another_row_of_the_batch_is_no_distance():
    """As convolutions of some widths do it on some machines."""
    config = ModelConfig("laplacian", num_scales=2, filters=(16, 16, 16, 3), mixtures=1)
    images = RNG.uniform(size=(16, 16, 16, 3)).astype(np.float32)
    single = untrained(config)
    np.testing.assert_array_equal(call(single, images, images), 0)
    # The value alone is put right: the distance is still curved there.
    curvature = jax.hessian(lambda t: single(A, A + t)[0])(jnp.float32(0))
    assert curvature > 0


def test_never_negative_for_images_that_hardly_differ(metric):
    for step in (1e-6, 1e-4, 1e-2):
        assert (call(metric, A, np.clip(A + step, 0, 1)) >= 0).all()


def test_all_ways_to_call_agree(metric):
    plain = metric(A, B)
    np.testing.assert_array_equal(metric(A, B), plain)
    by = {
        "argument": call(metric, A, B),
        "closed over": jax.jit(lambda a, b: metric(a, b))(A, B),
        "jit of the metric": jax.jit(metric)(A, B),
        "vmap": jax.jit(jax.vmap(lambda a, b: metric(a[None], b[None])[0]))(A, B),
        "function": jax.jit(pim_jax.distance, static_argnums=3)(
            metric.params, A, B, metric.config
        ),
        "representations": metric.compare(metric.represent(A), metric.represent(B)),
    }
    for way, distance in by.items():
        np.testing.assert_allclose(distance, plain, rtol=2e-5, err_msg=way)


def test_pmap(metric):
    halves = [x.reshape(2, 2, *x.shape[1:]) for x in (A, B)]
    found = jax.pmap(call, in_axes=(None, 0, 0), devices=jax.devices()[:2])(
        metric, *halves
    )
    np.testing.assert_allclose(found.reshape(4), call(metric, A, B), rtol=2e-5)


def test_a_metric_is_an_immutable_pytree_of_weights(metric):
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(metric))
    assert "joint_encoder" not in metric.params
    assert isinstance(jax.tree.map(lambda x: x, metric), Metric)
    with pytest.raises(dataclasses.FrozenInstanceError):
        metric.name = "other"


def test_other_weights_of_one_architecture_compile_once(metric):
    traced = []

    @jax.jit
    def fresh(metric, a, b):
        traced.append(metric.name)
        return metric(a, b)

    first = fresh(metric, A, B)
    second = fresh(stronger(metric, 0.5), A, B)
    assert len(traced) == 1
    assert not np.allclose(first, second)


@pytest.mark.parametrize(
    ("a", "b"),
    [(A, A), (IDENTICAL_CONSTANT, IDENTICAL_CONSTANT), (0 * A, A), (A, B)],
    ids=["identical", "constant", "black", "different"],
)
def test_gradients_are_finite(metric, a, b):
    found = gradient(metric, a, b)
    assert found.shape == b.shape
    assert jnp.isfinite(found).all()
    if a is b:
        # The distance is smallest here.
        assert abs(found).max() < 1e-5
    else:
        assert abs(found).max() > 0


def test_gradient_is_that_of_the_distance(metric):
    """Against differences of the distance, along one direction."""
    direction = np.sign(B - A).astype(np.float32)
    a, b = A * 0.5 + 0.25, B * 0.5 + 0.25
    slope = np.sum(np.asarray(gradient(metric, a, b)) * direction, axis=(1, 2, 3))
    step = 2e-3
    ahead, behind = (call(metric, a, b + s * direction) for s in (step, -step))
    np.testing.assert_allclose(slope, (ahead - behind) / (2 * step), rtol=0.02)


def test_gradients_reach_all_weights():
    metric = METRICS["mixture"]
    gradients = jax.jit(jax.grad(lambda m: jnp.sum(m(A, B))))
    leaves = jax.tree.leaves(gradients(metric))
    assert all(jnp.isfinite(leaf).all() for leaf in leaves)
    kernels = [leaf for leaf in leaves if leaf.ndim > 1]
    assert sum(bool((leaf != 0).any()) for leaf in kernels) > len(kernels) // 2


def test_representation(metric):
    levels = metric.represent(A)
    components = metric.config.components
    assert [level.loc.shape[1:3] for level in levels] == [(7, 9), (12, 16)]
    for level in levels:
        assert level.loc.shape[3:] == (components, 3)
        assert level.logits.shape == level.loc.shape[:-1]
        assert level.loc.dtype == level.logits.dtype == jnp.float32


def test_one_component_is_a_squared_difference():
    """The published closed form: a mean over z as well as over space, then levels."""
    metric = METRICS["one"]
    of_levels = [
        np.mean((np.asarray(p.loc) - np.asarray(q.loc)) ** 2, axis=(1, 2, 3, 4))
        for p, q in zip(metric.represent(A), metric.represent(B), strict=True)
    ]
    np.testing.assert_allclose(metric(A, B), np.mean(of_levels, axis=0), rtol=1e-5)
    estimate = metric.estimate(A, B, key=jax.random.key(0), samples=1)
    np.testing.assert_allclose(estimate, metric(A, B), rtol=1e-6)


@functools.partial(
    jax.jit,
    compiler_options={"xla_backend_optimization_level": 3},  # runs for long
)
def chunk_of_estimates(metric, a, b, key):
    return metric.estimate(a, b, key=key, samples=100)


def monte_carlo(metric, a, b):
    """Mean of 4,000 samples of the published estimate, and its standard error."""
    keys = jax.random.split(jax.random.key(1), 40)
    chunks = np.stack([chunk_of_estimates(metric, a, b, key) for key in keys])
    return chunks.mean(axis=0), chunks.std(axis=0, ddof=1) / np.sqrt(len(keys))


@pytest.mark.parametrize("factor", [0.3, 1.0, 3.0])
def test_agrees_with_monte_carlo_on_natural_frames(close_frames, factor):
    metric = stronger(untrained(SMALL), factor)
    mean, error = monte_carlo(metric, *close_frames)
    distance = np.asarray(call(metric, *close_frames))
    assert (distance > 0).all()
    np.testing.assert_array_less(abs(distance - mean), 1.96 * error)


def test_more_points_are_more_precise(close_frames):
    metric = stronger(untrained(SMALL), 3.0)
    exact = np.asarray(call(metric.with_points(2**16), *close_frames))
    errors = [
        np.abs(np.asarray(call(metric.with_points(points), *close_frames)) / exact - 1)
        for points in (1, 2**12)
    ]
    assert errors[0].mean() > 2 * errors[1].mean() > 0
    with pytest.raises(ValueError, match="at least 1, found 0"):
        metric.with_points(0)


def test_the_published_estimate_is_noisy_and_depends_on_the_key(close_frames):
    metric = stronger(untrained(SMALL), 0.3)
    x, y = close_frames

    @jax.jit
    def estimates(key):
        return metric.estimate(x, y, key=key)

    values = np.stack([estimates(jax.random.key(seed)) for seed in range(4)])
    assert (values < 0).any()
    assert len(np.unique(values[:, 0])) == 4
    np.testing.assert_array_equal(estimates(jax.random.key(0)), values[0])


def test_bfloat16_gives_float32():
    config = dataclasses.replace(SMALL, dtype="bfloat16")
    exact, rounded = untrained(SMALL), untrained(config)
    found = call(stronger(rounded, 2.0), A, B)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, call(stronger(exact, 2.0), A, B), rtol=0.2)


def with_nan(image):
    return np.where(np.arange(image.size).reshape(image.shape) == 7, np.nan, image)


@pytest.mark.parametrize(
    ("a", "b", "text"),
    [
        (
            A[0],
            B[0],
            r"expected .*\(n, height, width, 3\), found \(16, 20, 3\).*\[None",
        ),
        (A[..., :1], B[..., :1], r"found \(4, 16, 20, 1\)"),
        (A[..., [0, 1, 2, 0]], B, r"found \(4, 16, 20, 4\)"),
        (A, B[:, :12], r"same shape, found \(4, 16, 20, 3\) and \(4, 12, 20, 3\)"),
        (A, B[:2], r"same shape, found \(4, 16, 20, 3\) and \(2, 16, 20, 3\)"),
        (A.transpose(0, 3, 1, 2), B, r"channels come last: jnp\.moveaxis"),
        (A[0].transpose(2, 0, 1), B, r"-3, -1\)\[None\]"),
        (A.tolist(), B, "^expected an array of NumPy or JAX, found list; [^0-9]*$"),
        (A + 1e-5, np.ones_like(B) + 2e-6, r"expected values in \[0, 1\]"),
        ((A * 255).astype(np.uint8), B, "found uint8; divide 8-bit images by 255"),
        (A, np.zeros(A.shape, np.int32), "found int32"),
        (A * 255, B, r"expected values in \[0, 1\], found \[0.*, 254"),
        (A, B - 1, r"expected values in \[0, 1\], found \[-"),
        (with_nan(A), B, "must be finite, found NaN"),
        (A, B + np.inf, "must be finite"),
        (A[:, :1], B[:, :1], "at least 2 pixels .* found 1x20"),
    ],
)
def test_bad_images(a, b, text):
    metric = METRICS["one"].replace(minimum_size=2)
    with pytest.raises(ValueError, match=text):
        metric(a, b)
    with pytest.raises(ValueError, match=text):
        metric.estimate(a, b, key=jax.random.key(0))


def test_bad_images_are_not_represented():
    with pytest.raises(ValueError, match="found uint8"):
        METRICS["one"].represent((A * 255).astype(np.uint8))


@pytest.mark.parametrize(
    "config", [ModelConfig(), SMALL, ModelConfig(padding="valid")], ids=str
)
def test_the_minimum_size_is_that_of_the_architecture(config):
    metric = Metric({}, lambda params, a, b: a[:, 0, 0, 0], "stub", config.minimum_size)
    small = np.zeros((1, config.minimum_size - 1, 400, 3), np.float32)
    if small.size:
        with pytest.raises(ValueError, match=f"at least {config.minimum_size} pixels"):
            metric(small, small)
    enough = np.zeros((1, config.minimum_size, 400, 3), np.float32)
    assert metric(enough, enough).shape == (1,)


def test_rounding_beyond_the_range_is_clipped(metric):
    white = np.ones_like(A)
    np.testing.assert_array_equal(metric(white * (1 + 1e-6), white), 0)
    np.testing.assert_array_equal(metric(0 * white - 1e-6, 0 * white), 0)


def test_a_plain_call_is_compiled_once_for_all_names():
    traced = []

    def function(params, a, b):
        traced.append(a.shape)
        return jnp.mean(a - b, axis=(1, 2, 3)) * params

    def of(name, weight):
        return Metric(jnp.float32(weight), function, name, version=name)

    first = of("one", 1.0)(A, B)
    np.testing.assert_array_equal(of("two", 2.0)(A, B), 2 * first)
    jax.vmap(lambda a, b: of("three", 3.0)(a[None], b[None])[0])(A, B)
    assert traced == [A.shape, (1, *A.shape[1:])]


def test_names_and_versions_do_not_decide_a_compilation(metric):
    program = jax.jit(lambda metric, a, b: metric(a, b))
    first = program(metric, A, B)
    for name in ("one", "two"):
        renamed = metric.replace(name=name, version=name)
        np.testing.assert_array_equal(program(renamed, A, B), first)
    assert program._cache_size() == 1
    program(metric.replace(minimum_size=3), A, B)
    assert program._cache_size() == 2
    # The metrics themselves keep them.
    leaves, structure = jax.tree.flatten(metric.replace(version="7"))
    again = jax.tree.unflatten(structure, leaves)
    assert type(again) is type(metric)
    assert (again.name, again.version) == ("untrained-0", "7")


def test_two_names_of_one_function_share_what_is_compiled():
    program = jax.jit(lambda metric, a, b: metric(a, b))
    plain = pim_jax.load("mse")(A, B)
    compiled = pim_jax.metric._compiled_distance._cache_size()
    for name in ("mse", "psnr"):
        metric = pim_jax.load(name)
        np.testing.assert_array_equal(metric(A, B), plain)
        program(metric, A, B)
    assert program._cache_size() == 1
    assert pim_jax.metric._compiled_distance._cache_size() == compiled


def test_short_in_messages(metric):
    assert repr(metric).startswith("PimMetric('untrained-0', ")
    assert repr(metric).endswith(" weights, at least 5 px)")
    assert len(repr(metric)) < 80


def test_the_gradient_inside_of_shard_map():
    """With widths for which convolutions on CPUs have a method of their own."""
    config = dataclasses.replace(SMALL, filters=(16, 16, 3), mixtures=1)
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:2]), ("data",))
    alike, split = (jax.sharding.PartitionSpec(*axes) for axes in ((), ("data",)))
    try:
        shard_map = jax.shard_map
    except AttributeError:
        from jax.experimental.shard_map import shard_map
    mapped = shard_map(
        gradient, mesh=mesh, in_specs=(alike, split, split), out_specs=split
    )
    metric = untrained(config)
    found = jax.jit(mapped)(metric, A, B)
    np.testing.assert_allclose(found, gradient(metric, A, B), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("dtype", [">f2", ">f4", ">f8", np.longdouble])
def test_arrays_that_jax_does_not_have(dtype):
    """Of FITS and other files from machines with the high byte first."""
    metric = pim_jax.load("mse")
    a, b = A.astype(dtype), B.astype(dtype)
    np.testing.assert_array_equal(
        metric(a, b), metric(a.astype(np.float64), b.astype(np.float64))
    )
    with pytest.raises(ValueError, match=r"expected values in \[0, 1\]"):
        metric(a, b + 1)


def test_shapes_are_checked_under_jit_and_values_are_not():
    metric = METRICS["one"]
    with pytest.raises(ValueError, match="same shape"):
        call(metric, A, B[:, :12])
    assert np.isfinite(call(metric, 2 * A, B)).all()
    assert np.isnan(call(metric, with_nan(A), B)[0])
