"""Classical codecs: files that others read, rates that rise, errors in clear words."""

import io
import json
import sys

import numpy as np
import PIL.Image
import PIL.JpegImagePlugin
import pytest
import skimage.data
import skimage.metrics

from codec_jax.evaluation.classical import CLASSICAL
from pim_jax.data import images

PHOTOGRAPH = skimage.data.astronaut()[:160, 150:342]
NAMES = list(CLASSICAL)


def psnr(a, b):
    return skimage.metrics.peak_signal_noise_ratio(a, b, data_range=255)


def test_names_are_keys():
    assert [codec.name for codec in CLASSICAL.values()] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_files_grow_and_errors_shrink_along_the_ladder(name):
    codec = CLASSICAL[name]
    rates, qualities = [], []
    for quality in codec.qualities:
        data = codec.compress(PHOTOGRAPH, quality)
        decoded = codec.decompress(data)
        assert decoded.shape == PHOTOGRAPH.shape
        assert decoded.dtype == np.uint8
        rates.append(len(data))
        qualities.append(psnr(PHOTOGRAPH, decoded))
    assert rates == sorted(set(rates))
    assert qualities == sorted(set(qualities))
    assert len(rates) >= 7


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (13, 2), (65, 64)])
@pytest.mark.parametrize("name", NAMES)
def test_any_size(name, shape):
    codec = CLASSICAL[name]
    image = PHOTOGRAPH[: shape[0], : shape[1]]
    decoded = codec.decompress(codec.compress(image, codec.qualities[-1]))
    assert decoded.shape == image.shape


@pytest.mark.parametrize(("name", "sampling"), [("jpeg", 2), ("jpeg444", 0)])
def test_jpeg_has_the_chroma_that_it_is_named_for(name, sampling):
    data = CLASSICAL[name].compress(PHOTOGRAPH, 50)
    with PIL.Image.open(io.BytesIO(data)) as image:
        assert PIL.JpegImagePlugin.get_sampling(image) == sampling


def test_jpeg2000_transforms_colours_and_is_irreversible():
    """Read from the marker COD of ISO/IEC 15444-1, A.6.1."""
    data = CLASSICAL["jpeg2000"].compress(PHOTOGRAPH, 0.5)
    start = data.index(b"\xff\x52")
    assert data[start + 8] == 1  # multiple component transformation
    assert data[start + 13] == 0  # 9-7 irreversible wavelet


@pytest.mark.parametrize("rate", [0.1, 0.5, 1.5])
def test_jpeg2000_comes_close_to_its_rate(rate):
    image = skimage.data.astronaut()
    data = CLASSICAL["jpeg2000"].compress(image, rate)
    bpp = 8 * len(data) / (image.shape[0] * image.shape[1])
    assert bpp == pytest.approx(rate, rel=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_damaged_files_are_refused(name):
    codec = CLASSICAL[name]
    data = codec.compress(PHOTOGRAPH, codec.qualities[-1])
    other = CLASSICAL["webp" if name != "webp" else "jpeg"].compress(PHOTOGRAPH, 50)
    for damaged in (b"", b"abc", data[:30], data[: len(data) // 2], other):
        with pytest.raises(ValueError, match=f"not a readable {name} file"):
            codec.decompress(damaged)


@pytest.mark.parametrize(
    "image",
    [
        PHOTOGRAPH.astype(np.float32),
        PHOTOGRAPH[:, :, 0],
        PHOTOGRAPH[None],
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_what_is_no_image_is_refused(image):
    with pytest.raises(ValueError, match="expected"):
        CLASSICAL["jpeg"].compress(image, 50)


def test_a_rate_of_zero_is_refused():
    with pytest.raises(ValueError, match="more than 0"):
        CLASSICAL["jpeg2000"].compress(PHOTOGRAPH, 0)


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [("jpegxl", "imagecodecs", "imagecodecs"), ("heif", "pillow_heif", "pillow-heif")],
)
def test_a_missing_library_is_named(monkeypatch, name, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    codec = CLASSICAL[name]
    for call in (lambda: codec.compress(PHOTOGRAPH, 5), lambda: codec.decompress(b"")):
        with pytest.raises(ModuleNotFoundError, match=f"pip install {package}"):
            call()


MEASURED = {
    "jpeg": "jpeg-420 (Pillow libjpeg-turbo, optimize)",
    "jpeg444": "jpeg-444 (Pillow libjpeg-turbo, optimize)",
    "jpeg2000": "jpeg2000 (Pillow OpenJPEG, 9/7+ICT, by rate)",
    "webp": "webp (Pillow libwebp, method 6)",
    "jpegxl": "jpegxl (imagecodecs libjxl, effort 7, by distance)",
    "avif": "avif-420 (Pillow libavif, speed 6)",
    "heif": "heif-420 (pillow-heif x265, slow, tune psnr)",
}


@pytest.mark.shared
@pytest.mark.parametrize("name", NAMES)
def test_agrees_with_measured_curves(shared, name):
    """On one Kodak image, at one quality, with the same libraries measured apart."""
    file = shared / "data" / "rd-curves" / "classical_kodak.json"
    points = json.loads(file.read_text())["codecs"][MEASURED[name]]
    image = images.read_pixels(shared / "data" / "kodak" / "kodim01.png")
    codec = CLASSICAL[name]
    # The first after the lowest: encoders of video are slow at high rates.
    point = [p for p in points if p["quality"] in codec.qualities][1]
    data = codec.compress(image, point["quality"])
    bpp = 8 * len(data) / (image.shape[0] * image.shape[1])
    # Releases of one library differ by a little.
    assert bpp == pytest.approx(point["bpp_each"][0], rel=0.01)
    found = psnr(image, codec.decompress(data))
    assert found == pytest.approx(point["psnr_each"][0], abs=0.05)
