"""How codecs behave in use: what is said of wrong calls, hostile files, odd pictures."""

import dataclasses
import pickle
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codec_jax import image_files, loading
from codec_jax.coding import bitstream
from codec_jax.coding.bitstream import Packet
from codec_jax.inference import programs
from tests.golden import coded_files

# All of these pictures have the same programs.
CASE = next(case for case in coded_files.CASES if case.height == 17)
IMAGE = coded_files.picture(CASE)
BATCH = np.float32(IMAGE[None]) / np.float32(255)


@pytest.fixture(scope="module")
def codec():
    return loading.load("ms64")


@pytest.fixture(scope="module")
def reconstruct(codec):
    return jax.jit(codec.reconstruct, static_argnames="rounding")


def test_a_short_repr(codec):
    assert len(repr(codec)) < 200
    assert repr(codec).startswith("TrainedCodec('ms64', fingerprint ")


def test_pickles(codec):
    again = pickle.loads(pickle.dumps(codec))
    assert again.fingerprint == codec.fingerprint
    assert again.compress(IMAGE, 1) == codec.compress(IMAGE, 1)


@pytest.mark.parametrize(
    ("rate", "message"),
    [
        ("high", "rate: expected a number, found 'high'"),
        ([1.0, 2.0], "rate: expected a number, found 'list'"),
        (np.ones(3), "rate: expected a number, found 'ndarray'"),
        (-3, "rate is -3.0, expected 0 to 5"),
    ],
)
def test_rates_that_are_none(codec, rate, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        codec.compress(IMAGE, rate)


@pytest.mark.parametrize("rate", [jnp.float32(1.5), np.float64(1.5), np.array(1.5)])
def test_rates_of_any_type(codec, rate):
    data = codec.compress(IMAGE, rate)
    assert bitstream.unpack(data).rate == 384
    assert data == codec.compress(IMAGE, 1.5)


def test_whatever_has_bytes(codec):
    data = codec.compress(IMAGE, 1.5)
    expected = codec.decompress(data)
    for form in (bytearray(data), memoryview(data)):
        np.testing.assert_array_equal(codec.decompress(form), expected)


@pytest.mark.parametrize(
    ("images", "rate", "message"),
    [
        (IMAGE[None], 1.0, "floating-point images in [0, 1], found uint8"),
        (BATCH[0], 1.0, "a single image needs image[None]"),
        (BATCH * 255, 1.0, "expected values in [0, 1]"),
        (BATCH * np.nan, 1.0, "must be finite"),
        (BATCH, 100.0, "rate is 100.0, expected 0 to 5"),
        (BATCH, -3.0, "rate is -3.0, expected 0 to 5"),
        (BATCH, np.nan, "rate is nan"),
        (BATCH, "high", "rate: expected a number or 1 of them, found 'high'"),
        (BATCH, np.ones(2), "rate: expected a number or 1 of them, found (2,)"),
    ],
)
def test_what_cannot_be_reconstructed(codec, images, rate, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        codec.reconstruct(images, rate)


def test_an_unknown_rounding(codec):
    with pytest.raises(ValueError, match="'nearest' or 'straight_through', found 'up'"):
        codec.reconstruct(BATCH, 1.0, rounding="up")


def test_files_and_reconstruct_have_the_same_rates(codec, reconstruct):
    """A rate between two steps is that of the nearest, and so are pixels and bits."""
    rate = 1.0 + 0.7 / 256
    assert bitstream.unpack(codec.compress(IMAGE, rate)).rate == 257
    found, bits = reconstruct(BATCH, rate)
    expected, expected_bits = reconstruct(BATCH, 257 / 256)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(bits, expected_bits)
    shown = codec.decompress(codec.compress(IMAGE, rate))
    assert np.abs(255 * np.asarray(found[0]) - shown).max() <= 1


def test_under_jit_values_are_clipped_and_nan_stays(reconstruct):
    outside, _ = reconstruct(3 * BATCH - 1, 100.0)
    inside, _ = reconstruct(np.clip(3 * BATCH - 1, 0, 1), 5.0)
    np.testing.assert_array_equal(outside, inside)
    assert np.isnan(reconstruct(BATCH.copy() * np.nan, 1.0)[1]).all()


def test_straight_through_rounding_has_gradients(codec):
    """Of the same numbers: descent lowers what a file takes; without, nothing moves."""

    def run(rounding):
        def loss(images):
            found, bits = codec.reconstruct(images, 1.0, rounding=rounding)
            return bits.sum() + jnp.sum(found), bits

        return jax.jit(jax.value_and_grad(loss, has_aux=True))(BATCH)

    (plain, _), nothing = run("nearest")
    (value, _), gradient = run("straight_through")
    np.testing.assert_allclose(value, plain, rtol=1e-5)
    assert not np.asarray(nothing).any()
    assert np.isfinite(gradient).all()
    assert np.mean(np.asarray(gradient) != 0) > 0.9
    smoother = np.clip(BATCH - 0.02 * np.sign(gradient), 0, 1)
    assert (
        codec.reconstruct(smoother, 1.0)[1].sum()
        < codec.reconstruct(BATCH, 1.0)[1].sum()
    )


def hostile(codec, height, width, strings):
    packet = Packet(codec.name, codec.fingerprint, height, width, 0, strings)
    return bitstream.pack(packet)


@pytest.mark.parametrize(
    ("height", "width", "strings", "message"),
    [
        (11585, 11585, (b"", b""), "a string of 0 bytes, of symbols that take"),
        (11585, 11585, (b"\x80", b"\x80"), "a string of 1 bytes, of symbols that take"),
        (11585, 11585, (b"\x55" * 60_000, b""), "a string of 0 bytes, of symbols"),
        (
            1,
            2**24,
            (b"\x55" * 400_000, b"\x55"),
            "it is filled up to 1073741824 pixels",
        ),
    ],
)
def test_hostile_files_cost_nothing(
    codec, height, width, strings, message, monkeypatch
):
    """Refused before any network or table is asked."""

    def never(*arguments):
        raise AssertionError("something was computed")

    monkeypatch.setattr(programs, "call", never)
    monkeypatch.setattr("codec_jax.coding.range_coder.decode", never)
    with pytest.raises(ValueError, match=message):
        codec.decompress(hostile(codec, height, width, strings))


def test_narrow_pictures(codec):
    """What cannot be read back cannot be written."""
    image = np.broadcast_to(np.uint8(0), (1, 2**23, 3))
    with pytest.raises(ValueError, match="such a narrow image may have"):
        codec.compress(image)


def test_sizes_share_programs(codec):
    """One after the other within one side of a window: nothing is compiled anew."""
    rng = np.random.default_rng(0)

    def there_and_back(height, width):
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        return codec.decompress(codec.compress(image, 1.0)).shape

    there_and_back(64, 64)
    before = programs.call._cache_size()
    for height, width in ((1, 1), (63, 2), (17, 33), (5, 64)):
        assert there_and_back(height, width) == (height, width, 3)
    assert programs.call._cache_size() == before


def psnr(image, other):
    return 10 * np.log10(255**2 / np.mean((image.astype(float) - other) ** 2))


def test_a_target_that_only_a_middle_rate_reaches(codec):
    """Of a flat picture: quality rises and falls with the rate."""
    image = np.zeros((16, 16, 3), np.uint8)
    image[..., 2] = 255
    at = {
        rate: psnr(image, codec.decompress(codec.compress(image, rate)))
        for rate in np.arange(0, 5.01, 1 / 16)
    }
    best = max(at.values())
    data = codec.compress(image, target_psnr=best - 1e-6)
    assert psnr(image, codec.decompress(data)) >= best - 1e-6
    # And not beyond the first that reaches it.
    first = min(rate for rate, quality in at.items() if quality >= best - 1e-6)
    assert bitstream.unpack(data).rate <= 256 * first
    with pytest.raises(ValueError, match=f"reaches at most {best:.2f}"):
        codec.compress(image, target_psnr=best + 20)


def test_the_target_of_a_grey_picture_is_that_of_what_is_shown(codec):
    rng = np.random.default_rng(1)
    image = np.repeat(rng.integers(100, 140, (32, 32, 1), np.uint8), 3, 2)
    extras = {"grey": b""}
    data = codec.compress(image, target_psnr=26.0, extras=extras)
    packet = bitstream.unpack(data)

    def shown(step):
        changed = codec.compress(image, step / 256, extras=extras)
        pixels = codec.decompress(changed)
        return psnr(image, image_files.picture_from(pixels, extras).pixels)

    assert shown(packet.rate) >= 26.0
    assert packet.rate == 0 or shown(packet.rate - 1) < 26.0
    assert dataclasses.replace(packet, rate=0).extras == extras
