"""Codecs of CompressAI: the same numbers from converted weights, and clear errors."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_written

from codec_jax import compressai
from codec_jax.coding import range_coder
from codec_jax.entropy import gaussian_conditional
from codec_jax.models.architectures import networks
from codec_jax.models.config import CodecConfig
from codec_jax.trained import TrainedCodec

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
NAMES = ("bmshj2018-factorized", "bmshj2018-hyperprior", "mbt2018-mean")
TOLERANCE = 1e-4
TABLES = ("_quantized_cdf", "_offset", "_cdf_length")


def read(path):
    """The state dict, and all other arrays in our order of axes."""
    with np.load(path) as stored:
        state = {k[6:]: stored[k] for k in stored if k.startswith("param/")}
        rest = {k: stored[k] for k in stored if not k.startswith("param/")}
    channels_last = {
        k: v.transpose(0, 2, 3, 1) if v.ndim == 4 else v for k, v in rest.items()
    }
    return state, channels_last


@pytest.fixture(scope="module", params=NAMES)
def golden(request):
    state, expected = read(GOLDEN / f"compressai_{request.param}.npz")
    return request.param, state, expected


@pytest.fixture
def state():
    return dict(read(GOLDEN / "compressai_mbt2018-mean.npz")[0])


def through(converted, images):
    """What a codec computes on the way, by CompressAI's names."""
    codec, rate = networks(converted.config), jnp.zeros(1)

    def run(params):
        bound = codec.bind({"params": params})
        offset = params["offset"][None, None, None]
        # Without the edges that `analysis` adds: CompressAI transforms any size.
        y = bound.analysis_transform(images)
        latents = codec.latent_codec.bind({"params": params})
        if converted.config.prior == "factorized":
            rounded = jnp.round(y)
            return {
                "y": y + offset,
                "y_hat": rounded + offset,
                "likelihoods_y": 2.0 ** latents.log_prior(rounded),
                "x_hat": bound.synthesis(rounded + offset, rate),
            }
        z = latents.hyper_analysis(y)
        index, means = latents.hyper_synthesis(jnp.round(z))
        symbols = jnp.round(y - means)
        return {
            "y": y,
            "z": z + offset,
            "z_hat": jnp.round(z) + offset,
            "scales": gaussian_conditional.scale_at(index),
            "means": means,
            "indexes": gaussian_conditional.rounded_up(index),
            "y_hat": symbols + means,
            "likelihoods_y": jnp.exp2(gaussian_conditional.log2_mass(symbols, index)),
            "likelihoods_z": 2.0 ** latents.log_prior(jnp.round(z)),
            "x_hat": bound.synthesis(symbols + means, rate),
        }

    return jax.jit(run)(converted.params)


def compare(found, expected):
    """All that is expected, within the tolerance; integers exactly."""
    for name, values in expected.items():
        if values.dtype.kind == "i":
            np.testing.assert_array_equal(found[name], values, name)
        else:
            np.testing.assert_allclose(found[name], values, 0, TOLERANCE, err_msg=name)


def assert_tables(tables, state, part):
    """Ours hold the integers of the state dict."""
    cdf, offset, length = (state[f"{part}.{name}"] for name in TABLES)
    np.testing.assert_array_equal(tables.offset, offset)
    np.testing.assert_array_equal(tables.size, length - 1)
    for ours, theirs, n in zip(tables.cdf, cdf, length, strict=True):
        np.testing.assert_array_equal(ours[:n], theirs[:n])


def test_equals_compressai(golden):
    name, state, expected = golden
    converted = compressai.from_compressai(state)
    assert converted.name == name
    assert (converted.config.filters, converted.config.latents) == (4, 6)
    images = expected["image"][None] / np.float32(255)
    found = through(converted, images)
    found["x_hat"] = found["x_hat"][:, ::3, ::3]
    compare(found, {k: v for k, v in expected.items() if k != "image"})
    assert_tables(converted.prior_tables, state, "entropy_bottleneck")


@pytest.mark.shared
def test_equals_compressai_trained(shared):
    """A trained hyperprior of N = 32, M = 48: latents, likelihoods, image and tables."""
    state, fixture = read(shared / "fixtures/codec/compressai_hyperprior_n32m48.npz")
    converted = compressai.from_compressai(state)
    expected = {k[5:]: v for k, v in fixture.items() if k.startswith("even/")}
    bpp = expected["bpp_likelihoods"]
    images = expected["x"]
    found = through(converted, images)
    scale = np.maximum(expected["scales_hat"], gaussian_conditional.SMALLEST)
    wanted = ("y", "z", "z_hat", "y_hat", "indexes", "likelihoods_y", "likelihoods_z")
    compare(found, {"scales": scale} | {k: expected[k] for k in (*wanted, "x_hat")})
    assert_tables(converted.prior_tables, state, "entropy_bottleneck")
    assert_tables(converted.scale_tables, state, "gaussian_conditional")
    codec = networks(converted.config)
    passed = codec.apply({"params": converted.params}, images, jnp.zeros(1))
    pixels = images.shape[1] * images.shape[2]
    np.testing.assert_allclose(passed.bits[0] / pixels, bpp, rtol=1e-5)


def test_a_converted_codec_writes_files(golden):
    """What is decoded is what CompressAI decodes, in eight bits."""
    _, state, expected = golden
    converted = compressai.from_compressai(state)
    codec = TrainedCodec(*converted[:3], (), *converted[3:])
    decoded = codec.decompress(codec.compress(expected["image"]))
    wanted = np.clip(255 * expected["x_hat"][0], 0, 255)
    assert np.max(np.abs(decoded[::3, ::3] - wanted)) < 0.51


@pytest.mark.shared
def test_codes_in_as_many_bytes(shared):
    """With the same tables another coder writes strings of nearly the same length."""
    state, fixture = read(shared / "fixtures/codec/compressai_hyperprior_n32m48.npz")
    converted = compressai.from_compressai(state)
    symbols = fixture["even/y_hat"].astype(int)
    data = range_coder.encode(
        symbols, fixture["even/indexes"], converted.scale_tables, "numba"
    )
    # The other writes its state of 64 bits at the end.
    assert abs(len(data) - fixture["even/string_y_len"]) <= 8
    z = np.round(fixture["even/z_hat"] - converted.params["offset"]).astype(int)
    rows = np.broadcast_to(np.arange(z.shape[-1]), z.shape)
    data = range_coder.encode(z, rows, converted.prior_tables, "numba")
    assert abs(len(data) - fixture["even/string_z_len"]) <= 8


def spellings(name):
    """A name in all versions of CompressAI."""
    part, _, rest = name.partition(".")
    kind, _, number = rest.partition(".")
    if part != "entropy_bottleneck" or kind not in ("matrices", "biases", "factors"):
        return name, name
    singular = {"matrices": "matrix", "biases": "bias", "factors": "factor"}[kind]
    return f"{part}._{singular}{number}", f"{part}._{kind}.{number}"


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "network", "model_state_dict"])
def test_other_spellings_and_wrappers(state, version, wrapper):
    expected = compressai.from_compressai(state)
    old = {f"module.{spellings(name)[version]}": v for name, v in state.items()}
    found = compressai.from_compressai({wrapper: old, "epoch": 3} if wrapper else old)
    jax.tree.map(np.testing.assert_array_equal, found.params, expected.params)


def test_unneeded_buffers_may_be_absent(state):
    few = {
        k: v
        for k, v in state.items()
        if not k.endswith(("bound", "target", "pedestal"))
    }
    assert len(few) < len(state)
    assert (
        compressai.from_compressai(few).config
        == compressai.from_compressai(state).config
    )


def test_tables_of_a_codec_that_was_never_updated(state):
    """Fit the distributions: the cost of a symbol is -log2 of its likelihood."""
    for name in TABLES:
        state[f"entropy_bottleneck.{name}"] = np.zeros(0, np.int32)
    state["gaussian_conditional.scale_table"] = np.zeros(0, np.float32)
    converted = compressai.from_compressai(state)
    assert len(converted.scale_tables.cdf) == gaussian_conditional.COUNT
    tables = converted.prior_tables
    z = np.zeros((1, 1, 1, 4), np.float32)
    log2 = networks(converted.config).latent_codec.apply(
        {"params": converted.params}, z, method="log_prior"
    )
    rows = np.arange(4)
    counts = np.diff(tables.cdf)[rows, -tables.offset]
    np.testing.assert_allclose(np.log2(counts / 2**16), log2.ravel(), atol=0.01)


def drop(name):
    return lambda s: s.pop(name)


def put(name, value):
    return lambda s: s.__setitem__(name, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("g_a.2.bias"), r"missing \['g_a.2.bias'\]"),
        (drop("g_a.0.weight"), "g_a.0.weight is missing"),
        (drop("entropy_bottleneck.biases.4"), "entropy_bottleneck.biases.4"),
        (drop("entropy_bottleneck._offset"), "_offset"),
        (
            put("context_prediction.weight", np.zeros((1, 1))),
            "context_prediction.weight",
        ),
        (put("h_a.2.weight", np.zeros((4, 4, 3, 3), "f4")), r"h_a.2.weight.*3\), exp"),
        (
            put("h_s.4.weight", np.zeros((7, 9, 3, 3), "f4")),
            "h_s.4.weight has 7 outputs",
        ),
        (put("g_a.6.weight", np.zeros(3)), "g_a.6.weight has shape"),
        (put("g_s.3.beta", np.full(4, np.nan, "f4")), "g_s.3.beta has NaN"),
        (put("g_s.3.beta", np.ones(4, int)), "g_s.3.beta has type int64"),
        (put("g_s.3.beta_reparam.lower_bound.bound", np.ones(1)), "beta_reparam"),
        (put("gaussian_conditional.scale_table", np.ones(64)), "scale_table"),
        (put("entropy_bottleneck._offset", np.zeros(3, int)), "entropy_bottleneck"),
        (put("entropy_bottleneck._cdf_length", np.zeros((2, 2), int)), "_cdf_length"),
        (put("entropy_bottleneck._quantized_cdf", np.ones((4, 3), int)), "starts at 0"),
    ],
)
def test_errors_name_the_array(state, change, message):
    change(state)
    with pytest.raises(ValueError, match=message):
        compressai.from_compressai(state, "there")


@pytest.mark.parametrize("stored", [[1, 2], {}, {"state_dict": 3}, {"a": object()}])
def test_no_state_dict(stored):
    with pytest.raises(ValueError, match="there"):
        compressai.from_compressai(stored, "there")


def test_reads_files(tmp_path, state):
    np.savez(tmp_path / "codec.npz", **state)
    found = compressai.read_compressai(tmp_path / "codec.npz", lmbda=0.0067)
    expected = compressai.from_compressai(state)
    jax.tree.map(np.testing.assert_array_equal, found.params, expected.params)
    assert found.config.lambdas == (0.0067,)


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        compressai.read_compressai(tmp_path / "absent.npz")
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(ValueError, match="broken"):
        compressai.read_compressai(tmp_path / "broken.npz")


def test_reads_what_torch_writes(tmp_path, state):
    """The file itself is read as tests/pim_jax/test_torch_files.py shows."""
    path = tmp_path / "codec.pth.tar"
    torch_written.write_zip(path, {"epoch": 1, "state_dict": state})
    found, expected = (
        compressai.read_compressai(path),
        compressai.from_compressai(state),
    )
    jax.tree.map(np.testing.assert_array_equal, found.params, expected.params)
    path.write_bytes(b"PK nothing")
    with pytest.raises(ValueError, match=r"not a readable file of torch\.save"):
        compressai.read_compressai(path)


def test_scales_are_rounded_up():
    """As CompressAI counts: the number of table entries below a scale."""
    random = np.random.default_rng(0)
    drawn = np.exp(random.uniform(np.log(0.11), np.log(300), 10_000))
    # The entries themselves too, as float32 has them.
    scale = np.concatenate([drawn, gaussian_conditional.SCALES]).astype(np.float32)
    expected = np.minimum(
        np.searchsorted(gaussian_conditional.SCALES.astype(np.float32), scale),
        gaussian_conditional.COUNT - 1,
    )
    found = gaussian_conditional.rounded_up(gaussian_conditional.index_of(scale))
    np.testing.assert_array_equal(found, expected)


def test_an_integer_hyper_synthesis_has_no_offsets():
    with pytest.raises(ValueError, match="offsets"):
        CodecConfig(offsets=True, hyper="integer")
