"""Damaged files through a whole codec: ValueError, or the picture that a file asks for."""

import dataclasses

import numpy as np
import pytest

from codec_jax import loading
from codec_jax.coding.bitstream import pack, unpack
from tests.codec_jax import fuzz, small_codecs


@pytest.mark.parametrize(
    ("kind", "count"),
    [("integer", 10_000), ("factorized", 2_000), ("mbt2018-mean", 2_000)],
)
def test_mutated_files(kind, count):
    codec = small_codecs.codec(kind)
    rng = np.random.default_rng(0)
    report = fuzz.run(fuzz.decoder_of(codec), fuzz.samples_of(codec), count, rng)
    assert sum(report.refused.values()) + report.returned == count
    # They get as far as the strings, and some through them.
    reached = " ".join(report.refused)
    for part in ("written by codec", "the image", "damaged or truncated", "alpha"):
        assert part in reached, report.refused
    assert report.returned > 0.01 * count


@pytest.mark.parametrize("kind", ["integer", "float", "factorized", "mbt2018-mean"])
def test_hostile_numbers_that_are_coded_rightly(kind):
    """Any integers that tables can code: floats overflow, and still there is a picture."""
    codec, rng, shown = small_codecs.codec(kind), np.random.default_rng(1), 0
    decode, packet = fuzz.decoder_of(codec), unpack(fuzz.samples_of(codec)[1])
    latents = codec.parsed(packet.strings, (12, 16), packet.rate / 256)
    for bits in np.linspace(1, 29, 40):
        symbols, hyper = (
            None
            if x is None
            else (2 ** rng.uniform(0, bits, x.shape) * rng.choice([-1, 1], x.shape))
            for x in (latents.symbols, latents.hyper)
        )
        rows = latents.rows
        if hyper is not None:
            hyper = hyper.astype(np.int32)
            rows, _ = codec.latent_codec.distributions(
                codec.frozen, hyper, symbols.shape[:2]
            )
        changed = latents._replace(
            symbols=symbols.astype(np.int32), rows=rows, hyper=hyper
        )
        try:
            strings = codec.strings(changed, packet.rate / 256)
        except ValueError:  # Indexes that are no numbers: there is no such file.
            continue
        decode(pack(dataclasses.replace(packet, strings=strings)))
        shown += 1
    assert shown >= 20


def test_as_a_command(capsys, tmp_path):
    loading.save(small_codecs.codec("factorized"), tmp_path / "codec.npz", {})
    assert fuzz.main([f"--codec={tmp_path / 'codec.npz'}", "--count=300"]) == 0
    assert "written by codec" in capsys.readouterr().out


def test_wrong_pictures_are_found():
    """The fuzzer would notice."""

    class Wrong:
        def decompress(self, data, largest_image):
            return np.zeros((1, 1, 3), np.uint8)

    codec = small_codecs.codec("factorized")
    with pytest.raises(AssertionError, match="1, 1, 3"):
        fuzz.run(
            fuzz.decoder_of(Wrong()),
            fuzz.samples_of(codec),
            1000,
            np.random.default_rng(0),
        )
