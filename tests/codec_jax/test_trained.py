"""The whole codec: files and back for any picture, rates, tiles, and bad input."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codec_jax import ops, trained
from codec_jax.coding import bitstream, range_coder
from codec_jax.entropy import gaussian_conditional
from codec_jax.latents import hyperprior
from codec_jax.latents.contract import Latents
from codec_jax.latents.integer import LARGEST_INPUT
from tests.codec_jax import small_codecs
from tests.codec_jax.coding.engines import ENGINES

ALL = (*small_codecs.KINDS, "bmshj2018-hyperprior", "mbt2018-mean")
# Pictures of as many latents share their compiled programs.
CELLS = ((1, 1), (3, 6), (19, 2))


@pytest.fixture(scope="module")
def codec():
    return small_codecs.codec("integer")


def random_sizes(rng, choices, count):
    """Heights and widths of 1 to 300."""
    for _ in range(count):
        for cells in choices:
            yield tuple(min(300, 16 * c - int(rng.integers(16))) for c in cells)


def silent(stage, share):
    """No progress is shown."""


def features_of(codec, image):
    return codec._features(image, 0, silent)


def of_encoder(codec, image, rate):
    """What the sender itself would show, without coding anything."""
    latents = codec.latents(codec.analysed(image, rate), rate)
    return codec.decoded(latents, rate, image.shape[:2])


def psnr(a, b):
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


@pytest.mark.parametrize("kind", ALL)
def test_any_size_comes_back_as_the_sender_sees_it(kind):
    codec, rng = small_codecs.codec(kind), np.random.default_rng(0)
    choices = CELLS if kind == "integer" else CELLS[1:2]
    for number, (height, width) in enumerate(random_sizes(rng, choices, 3)):
        content = ("photo", "noise", "constant")[number // len(choices) % 3]
        image = small_codecs.picture(rng, height, width, content)
        rate = rng.integers(0, 256 * (len(codec.rates) - 1) + 1) / 256
        found = codec.decompress(codec.compress(image, rate))
        assert (found.shape, found.dtype) == (image.shape, np.uint8)
        np.testing.assert_array_equal(found, of_encoder(codec, image, rate))


@pytest.mark.parametrize(
    "kind", ["integer", "factorized", "mbt2018-mean", "dithered", "dithered-factorized"]
)
def test_equals_reconstruct(kind):
    """The float path under one jit, within a grey level."""
    codec, rng = small_codecs.codec(kind), np.random.default_rng(1)
    image = small_codecs.picture(rng, 45, 83)
    rates = jnp.asarray(codec.rates[::2])
    batch = jnp.stack([jnp.asarray(image, jnp.float32) / 255] * len(rates))
    found, bits = jax.jit(codec.reconstruct)(batch, rates)
    assert found.shape == (len(rates), 45, 83, 3)
    assert 0 <= found.min() <= found.max() <= 1
    for one, taken, rate in zip(np.asarray(found), bits, codec.rates[::2], strict=True):
        data = codec.compress(image, rate)
        assert np.abs(255 * one - codec.decompress(data)).max() <= 1
        assert 0 < taken < np.inf
        # The others' random scales and means fit no picture.
        if kind.endswith("factorized"):
            size = 8 * sum(map(len, bitstream.unpack(data).strings))
            assert abs(size - taken) < 0.005 * taken + 32


def test_reconstruct_has_gradients(codec):
    image = jnp.full((1, 16, 16, 3), 0.3)

    @jax.jit
    @jax.grad
    def gradient_of(x):
        found, bits = codec.reconstruct(x, 1.0)
        assert (found.shape, bits.shape) == ((1, 16, 16, 3), (1,))
        return bits.sum() + found.sum()

    gradient = gradient_of(image)
    assert gradient.shape == image.shape
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", ["integer", "float", "factorized"])
def test_outliers(kind, engine, monkeypatch):
    """Latents beyond 10^4, and hyper latents beyond what the integer network takes."""
    monkeypatch.setattr(range_coder, "chosen", lambda _=None: engine)
    codec, rng = small_codecs.codec(kind), np.random.default_rng(2)
    y = codec.analysed(small_codecs.picture(rng, 45, 83, "noise"), 1.0)
    for factor in (3e4, 1e9):
        latents = codec.latents(y * np.float32(factor), 1.0)
        assert np.abs(latents.symbols).max() > 1e4
        assert latents.hyper is None or np.abs(latents.hyper).max() > LARGEST_INPUT
        found = codec.parsed(codec.strings(latents, 0), (45, 83), 0)
        for sent, received in zip(latents, found, strict=True):
            np.testing.assert_array_equal(sent, received)


@pytest.mark.tensorflow
def test_a_file_of_one_engine_opens_with_the_other(codec, monkeypatch):
    pytest.importorskip("tensorflow_compression_ops")
    image = small_codecs.picture(np.random.default_rng(3), 45, 83)
    files, images = [], []
    for engine in ("tensorflow", "numba"):
        monkeypatch.setattr(range_coder, "chosen", lambda _=None, e=engine: e)
        files.append(codec.compress(image))
    assert files[0] == files[1]
    for engine in ("tensorflow", "numba"):
        monkeypatch.setattr(range_coder, "chosen", lambda _=None, e=engine: e)
        images += [codec.decompress(data) for data in files]
    assert all(np.array_equal(images[0], other) for other in images)


def test_files_are_small_beside_their_strings(codec):
    """At most 24 bytes for a name of four letters, and two strings of usual length."""
    named = dataclasses.replace(codec, name="ms64")
    data = named.compress(small_codecs.picture(np.random.default_rng(4), 45, 83))
    assert len(data) - sum(map(len, bitstream.unpack(data).strings)) <= 24


@pytest.mark.parametrize("kind", ["integer", "dithered"])
def test_symbols_of_the_models_own_distributions(kind):
    """Drawn from the tables: a file takes what -log2 of the model's densities says.

    The densities are those of `reconstruct`; the tables round them to 2^-16.
    """
    codec, rng = small_codecs.codec(kind), np.random.default_rng(5)
    (h, w), config = (48, 64), codec.config
    hyper = drawn(rng, codec.tables, np.arange(config.filters), (h // 4, w // 4))
    rows, means = codec.latent_codec.distributions(codec.frozen, hyper, (h, w))
    symbols = drawn(rng, codec.scale_tables, rows, ())
    latents = Latents(symbols, rows, means, hyper)
    strings = codec.strings(latents, 0)
    prior = jax.jit(
        lambda z: codec.latent_codec.apply(
            {"params": codec.params}, z, method="log_prior"
        )
    )(hyper[None] * np.float32(1))
    levels = max(config.dither, 1)
    values = symbols + ops.dither_offsets(config.dither)[rows % levels]
    normal = jax.jit(gaussian_conditional.log2_mass)(values, rows // levels)
    for string, log2 in zip(strings, (prior, normal), strict=True):
        bits = -float(np.sum(np.asarray(log2, np.float64)))
        assert abs(8 * len(string) - bits) < 0.005 * bits + 32


def test_the_error_of_dithered_latents_is_uniform():
    """Whatever the picture: that is what universal quantisation is for."""
    image = small_codecs.picture(np.random.default_rng(6), 256, 320, "constant")
    codec = small_codecs.codec("dithered")
    y = codec.analysed(image, 1.0)
    latents = codec.latents(y, 1.0)
    error = latents.symbols + latents.means - y
    assert np.abs(error).max() <= 0.5 + 1e-4
    histogram, _ = np.histogram(error, 8, (-0.5001, 0.5001))
    np.testing.assert_allclose(histogram / error.size, 1 / 8, atol=0.02)


def drawn(rng, tables, rows, shape):
    """Symbols of table rows; not the escape, which stands for all others."""
    rows = np.broadcast_to(rows, (*shape, *np.shape(rows)))
    found = np.empty(rows.shape, np.int32)
    for row in np.unique(rows):
        counts = np.diff(tables.cdf[row, : tables.size[row]])
        chosen = rows == row
        picks = rng.choice(len(counts), chosen.sum(), p=counts / counts.sum())
        found[chosen] = picks + tables.offset[row]
    return found


def test_rates_between_those_of_training():
    """Files grow with the rate, and the middle is what is taken without one."""
    codec = small_codecs.codec("scales")
    image = small_codecs.picture(np.random.default_rng(6), 90, 93)
    sizes = [len(codec.compress(image, rate)) for rate in np.linspace(0, 2, 9)]
    assert sizes == sorted(sizes)
    assert sizes[0] < 0.7 * sizes[-1]
    assert codec.rates == (0.0, 1.0, 2.0)
    assert codec.compress(image) == codec.compress(image, 1.0)
    data = codec.compress(image, 0.3)
    assert bitstream.unpack(data).rate == round(0.3 * 256)
    # A rate in a file is a multiple of 1/256; both sides take that one.
    np.testing.assert_array_equal(
        codec.decompress(data), of_encoder(codec, image, round(0.3 * 256) / 256)
    )


def test_target_bpp():
    codec = small_codecs.codec("scales")
    image = small_codecs.picture(np.random.default_rng(7), 90, 93)
    low, high = (8 * len(codec.compress(image, r)) / (90 * 93) for r in (0, 2))
    for target in np.linspace(low, high, 5):
        data = codec.compress(image, target_bpp=target)
        assert 8 * len(data) / (90 * 93) <= target
        step = bitstream.unpack(data).rate
        if step < 512:
            larger = codec.compress(image, (step + 1) / 256)
            assert 8 * len(larger) / (90 * 93) > target
    assert codec.compress(image, target_bpp=100) == codec.compress(image, 2)
    with pytest.raises(ValueError, match=rf"takes at least {low:.4f} with small"):
        codec.compress(image, target_bpp=0.9 * low)


def test_target_psnr():
    codec = small_codecs.codec("factorized")
    image = small_codecs.picture(np.random.default_rng(8), 90, 93)
    qualities = [
        psnr(image, codec.decompress(codec.compress(image, r))) for r in (0, 2)
    ]
    for target in np.linspace(*qualities, 4)[:-1]:
        data = codec.compress(image, target_psnr=target)
        assert psnr(image, codec.decompress(data)) >= target
        step = bitstream.unpack(data).rate
        if step:
            smaller = codec.decompress(codec.compress(image, (step - 1) / 256))
            assert psnr(image, smaller) < target
    with pytest.raises(ValueError, match="reaches at most"):
        codec.compress(image, target_psnr=60)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": -0.1}, "rate is -0.1, expected 0 to 2"),
        ({"rate": 2.1}, "rate is 2.1, expected 0 to 2"),
        ({"rate": np.nan}, "rate is nan"),
        ({"target_bpp": np.nan}, "target_bpp is nan"),
        ({"target_psnr": np.nan}, "target_psnr is nan"),
        ({"rate": 1, "target_bpp": 1}, "give one of"),
        ({"extras": {"depth": b""}}, "extras: expected some of"),
    ],
)
def test_options_that_cannot_be(codec, options, message):
    image = np.zeros((9, 9, 3), np.uint8)
    with pytest.raises(ValueError, match=re.escape(message)):
        codec.compress(image, **options)


def test_a_codec_with_a_single_rate():
    codec = small_codecs.codec("mbt2018-mean")
    image = np.zeros((9, 9, 3), np.uint8)
    assert codec.rates == (0.0,)
    assert codec.compress(image, 0) == codec.compress(image)
    for options in ({"target_bpp": 1}, {"target_psnr": 30}):
        with pytest.raises(ValueError, match="theirs has a single rate"):
            codec.compress(image, **options)
    with pytest.raises(ValueError, match="expected 0 to 0 for theirs"):
        codec.compress(image, 1)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((9, 9, 3)), "expected an array of uint8, found float64"),
        ([[[0, 0, 0]]], "expected an array of uint8, found list"),
        (np.zeros((9, 9), np.uint8), "expected shape (h, w, 3), found (9, 9)"),
        (np.zeros((9, 9, 4), np.uint8), "expected shape (h, w, 3), found (9, 9, 4)"),
        (np.zeros((0, 9, 3), np.uint8), "expected shape (h, w, 3), found (0, 9, 3)"),
        (
            np.broadcast_to(np.uint8(0), (2**14, 2**14, 3)),
            "16384 x 16384 pixels, more than the limit",
        ),
    ],
)
def test_what_is_no_image(codec, image, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        codec.compress(image)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "other"}, "written by codec 'other'"),
        ({"fingerprint": b"\0" * 4}, "00000000, this is 'small'"),
        ({"rate": 513}, "the file's rate is 513, this codec's last 512"),
        ({"strings": (b"",)}, "the file has 1 strings, expected 2"),
        ({"strings": (b"", b"", b"")}, "the file has 3 strings, expected 2"),
        ({"height": 2**24, "width": 2**24}, "more than the limit of 134217728"),
        ({"height": 3}, "damaged"),
        ({"strings": (b"\xff" * 9, b"")}, "damaged"),
    ],
)
def test_files_that_cannot_be(codec, changes, message):
    """A right checksum, and content that is not."""
    data = codec.compress(small_codecs.picture(np.random.default_rng(9), 45, 83))
    packet = dataclasses.replace(bitstream.unpack(data), **changes)
    with pytest.raises(ValueError, match=re.escape(message)):
        codec.decompress(bitstream.pack(packet))


def test_a_file_of_other_weights(codec):
    params = codec.params | {"log_gain": codec.params["log_gain"] + 1}
    other = dataclasses.replace(codec, params=params)
    data = other.compress(np.zeros((9, 9, 3), np.uint8))
    expected = f"'small' {other.fingerprint.hex()}, this is 'small'"
    with pytest.raises(ValueError, match=expected):
        codec.decompress(data)


def test_largest_image(codec):
    data = codec.compress(np.zeros((9, 9, 3), np.uint8))
    assert codec.decompress(data, largest_image=81).shape == (9, 9, 3)
    with pytest.raises(ValueError, match="9 x 9 pixels, more than the limit of 80"):
        codec.decompress(data, largest_image=80)


def test_progress(codec, monkeypatch):
    monkeypatch.setattr(trained, "_WINDOW", 8)
    seen = []
    image = small_codecs.picture(np.random.default_rng(10), 130, 150)
    data = codec.compress(image, progress=lambda *told: seen.append(told))
    codec.decompress(data, progress=lambda *told: seen.append(told))
    for stage in ("analysis", "synthesis"):
        shares = [share for name, share in seen if name == stage]
        assert len(shares) == 4
        assert shares == sorted(shares)
        assert shares[-1] == 1


@pytest.mark.parametrize("kind", ["integer", "float", "factorized"])
def test_tiles_leave_no_seam(kind, monkeypatch):
    """Windows of 8 and 5 cells against the whole: the same symbols, and pixels.

    Sums in another order differ in the last bits, and so may a pixel by one level.
    """
    codec = small_codecs.codec(kind)
    image = small_codecs.picture(np.random.default_rng(11), 200, 330)

    def run():
        latents = codec.latents(codec.analysed(image, 1.0), 1.0)
        return latents, codec.decoded(latents, 1.0, image.shape[:2])

    whole, expected = run()
    monkeypatch.setattr(trained, "_WINDOW", 8)
    monkeypatch.setattr(hyperprior, "WINDOW", 5)
    parts, found = run()
    np.testing.assert_array_equal(parts.symbols, whole.symbols)
    np.testing.assert_array_equal(parts.rows, whole.rows)
    if codec.layers:
        np.testing.assert_array_equal(parts.means, whole.means)
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= 1
    assert np.mean(difference > 0) < 1e-4
