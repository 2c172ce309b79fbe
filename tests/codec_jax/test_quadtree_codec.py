"""The quadtree codec's files: exact symbols, windows without seams, weights of 8 bits."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codec_jax import loading, storage, trained
from codec_jax.coding import bitstream
from codec_jax.inference.tiling import Tiles
from codec_jax.latents import hyperprior, quadtree
from codec_jax.models.quadtree import QuadtreeConfig
from tests.codec_jax import small_codecs
from tests.golden import coded_files, quadtree_file


@pytest.fixture(scope="module")
def codec():
    return small_codecs.quadtree_codec()


def image(height, width):
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / a + y / b) for a, b in ((5, 9), (13, -7), (-4, 21))]
    return np.uint8(np.round(127.5 + 100 * np.stack(waves, -1)))


def test_files_hold_what_reconstruct_says(codec):
    picture = image(60, 64)
    data = codec.compress(picture, 1.25)
    shown = codec.decompress(data)
    again, bits = codec.reconstruct(jnp.asarray(picture[None], jnp.float32) / 255, 1.25)
    # A latent midway between two integers may be rounded either way.
    assert np.mean(np.abs(255 * np.asarray(again[0]) - shown) > 0.51) < 0.01
    strings = 8 * sum(map(len, bitstream.unpack(data).strings))
    assert strings == pytest.approx(float(bits[0]), rel=0.02, abs=40)
    assert codec.compress(picture, 1.25) == data


@pytest.mark.parametrize("size", [(1, 1), (17, 33), (64, 64)])
def test_every_size(codec, size):
    assert codec.decompress(codec.compress(image(*size), 0.5)).shape == (*size, 3)


def test_symbols_do_not_depend_on_floating_point(codec):
    """A receiver whose floats differ reads the same symbols, and nearly the same image."""
    picture = image(60, 50)
    strings = bitstream.unpack(codec.compress(picture, 2)).strings
    expected = codec.parsed(strings, (60, 50), 2)
    noisy = jax.tree.map(lambda x: x * (1 + 1e-4), codec.params)
    found = dataclasses.replace(codec, params=noisy).parsed(strings, (60, 50), 2)
    np.testing.assert_array_equal(found.symbols, expected.symbols)
    np.testing.assert_array_equal(found.rows, expected.rows)
    np.testing.assert_array_equal(found.hyper, expected.hyper)
    assert not np.array_equal(found.means, expected.means)


def test_windows_leave_no_seams(codec, monkeypatch):
    picture = image(16 * 60, 32)
    y = codec.analysed(picture, 1)
    whole = codec.latents(y, 1)
    tiles = Tiles(window=12, margin=5, sides=(2, 12))
    monkeypatch.setattr(quadtree, "_TILES", tiles)
    monkeypatch.setattr(hyperprior, "WINDOW", 8)
    monkeypatch.setattr(hyperprior, "SIDES", (2, 8))
    pieces = codec.latents(y, 1)
    np.testing.assert_array_equal(pieces.rows, whole.rows)
    assert np.mean(pieces.symbols != whole.symbols) < 0.001
    np.testing.assert_allclose(
        pieces.symbols + pieces.means, whole.symbols + whole.means, atol=1.01
    )


def test_progress(codec, monkeypatch):
    monkeypatch.setattr(trained, "_WINDOW", 12)
    monkeypatch.setattr(trained, "_SIDES", (4, 12))
    seen = []
    codec.compress(image(16 * 20, 32), 1, progress=lambda *told: seen.append(told))
    assert [stage for stage, _ in seen] == ["analysis"] * len(seen)
    shares = [share for _, share in seen]
    assert len(shares) > 2
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_weights_are_written_and_read(codec, tmp_path):
    loading.save(codec, tmp_path / "small.npz", {})
    loaded = loading.load(tmp_path / "small.npz")
    assert isinstance(loaded.config, QuadtreeConfig)
    assert loaded.fingerprint == codec.fingerprint
    picture = image(40, 40)
    assert loaded.compress(picture, 1) == codec.compress(picture, 1)


def test_eight_bits_stay_as_they_are():
    matrix = np.random.default_rng(0).normal(size=(30, 20)).astype(np.float32)
    matrix[:, 3] = 0
    whole, step = storage.to_bytes(matrix)
    stored = storage.from_bytes(whole, step)
    again, step_again = storage.to_bytes(stored)
    np.testing.assert_array_equal(again, whole)
    np.testing.assert_array_equal(step_again, step)
    assert np.abs(stored - matrix).max() <= step.max() / 2 * 1.001


def test_a_target_is_reached(codec):
    picture = image(48, 64)
    pixels = 48 * 64
    middle = len(codec.compress(picture, 1.0)) * 8 / pixels
    data = codec.compress(picture, target_bpp=middle)
    assert len(data) * 8 / pixels <= middle


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("params/log_gain"), "log_gain"),
        (lambda arrays: arrays.pop("layers/1/bias"), "layers"),
        (
            lambda arrays: arrays.update(
                {"bytes/first_means/kernel": np.zeros((1, 1))}
            ),
            "int8",
        ),
        (
            lambda arrays: arrays.update(
                {"params/prior_shift": np.full((3, 4), np.inf)}
            ),
            "finite",
        ),
        (lambda arrays: arrays.update({"other/x": np.zeros(3)}), "unknown array"),
    ],
)
def test_damaged_weights_are_refused(codec, tmp_path, monkeypatch, change, message):
    arrays = codec.arrays()
    change(arrays)
    monkeypatch.setattr(
        trained.TrainedCodec, "arrays", lambda self: arrays, raising=True
    )
    loading.save(codec, tmp_path / "bad.npz", {})
    with pytest.raises(ValueError, match=message):
        loading.load(tmp_path / "bad.npz")


def test_straight_through_gradients(codec):
    images = jnp.asarray(image(32, 32)[None], jnp.float32) / 255

    def total(images, rounding):
        shown, bits = codec.reconstruct(images, 1, rounding=rounding)
        return jnp.sum(shown) + jnp.sum(bits)

    gradient = jax.jit(jax.grad(total), static_argnums=1)
    assert np.abs(gradient(images, "straight_through")).max() > 0
    assert np.abs(gradient(images, "nearest")).max() == 0


def test_the_codec_that_ships_reads_its_earlier_files():
    codec = loading.load(loading.DEFAULT)
    with np.load(quadtree_file.FILE) as stored:
        data, expected = stored["data"].tobytes(), stored["pixels"]
    assert np.abs(codec.decompress(data).astype(int) - expected).max() <= 1
    picture = coded_files.picture(quadtree_file.CASE)
    again = codec.compress(picture, quadtree_file.CASE.rate)
    # Latents midway between two integers may be rounded either way.
    assert len(again) == pytest.approx(len(data), rel=0.01)
    error = np.mean(np.square(picture - codec.decompress(again).astype(float)))
    assert error == pytest.approx(
        np.mean(np.square(picture - expected.astype(float))), rel=0.05
    )
