"""Every kind of image file, through the reader and through both packages."""

import io
import warnings
from concurrent.futures import ThreadPoolExecutor

import image_matrix
import numpy as np
import PIL.ExifTags
import PIL.Image
import PIL.ImageFile
import PIL.PngImagePlugin
import pytest

from codec_jax import image_files
from pim_jax.data.images import read_image, read_pixels
from pim_jax.io import exif, images
from pim_jax.io.images import heif, pillow, tiff

CASES = image_matrix.cases()


def test_the_matrix_is_large():
    assert len({case.name for case in CASES}) == len(CASES) >= 200


def test_threads_read_alike_and_leave_the_filters_of_warnings_alone():
    before = list(warnings.filters)
    some = [io.BytesIO(case.data) for case in CASES[::5]]
    alone = [images.read(file).samples for file in some]
    with ThreadPoolExecutor(8) as pool:
        again = [io.BytesIO(case.data) for case in CASES[::5]]
        together = [found.samples for found in pool.map(images.read, again)]
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a, b)
    assert warnings.filters == before


@pytest.mark.parametrize("format", ["PNG", "JPEG", "BMP", "PPM", "GIF", "JPEG2000"])
def test_what_is_cut_off_is_refused_whatever_the_program_has_set(format, monkeypatch):
    monkeypatch.setattr(PIL.ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    stream = io.BytesIO()
    PIL.Image.fromarray(noise).save(stream, format)
    half = stream.getvalue()[: len(stream.getvalue()) // 2]
    for read in (images.read, image_files.read):
        with pytest.raises(ValueError, match="cannot read the image the stream"):
            read(io.BytesIO(half))
    assert PIL.ImageFile.LOAD_TRUNCATED_IMAGES


def test_long_comments_in_png_are_passed_over():
    before = PIL.PngImagePlugin.MAX_TEXT_CHUNK
    text = PIL.PngImagePlugin.PngInfo()
    text.add_text("Comment", "x" * (before + 1), zip=True)
    stream = io.BytesIO()
    PIL.Image.new("RGB", (5, 4), (1, 2, 3)).save(stream, "PNG", pnginfo=text)
    stream.seek(0)
    assert (images.read(stream).samples == (1, 2, 3)).all()
    assert before == PIL.PngImagePlugin.MAX_TEXT_CHUNK


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Without a suffix: the content decides."""
    return tmp_path_factory.mktemp("matrix") / "image"


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_every_kind_is_read_right_by_both_packages(case, path):
    found = images.read(io.BytesIO(case.data))
    allowed = case.tolerance + 1e-9
    assert found.samples.shape == case.samples.shape
    shown = np.ones(case.samples.shape[:2], bool)
    if case.alpha is None or (case.alpha == 1).all():
        assert found.alpha is None
    else:
        assert np.abs(found.alpha / found.white - case.alpha).max() <= allowed
        shown = case.alpha > 0
    difference = np.abs(found.samples / found.white - case.samples)[shown]
    assert difference.max() <= allowed
    path.write_bytes(case.data)
    picture = image_files.read(path)
    rounded = np.rint(255 * case.samples)[shown]
    assert picture.grey == (case.samples.shape[2] == 1)
    difference = np.abs(picture.pixels[shown] - rounded)
    assert difference.max() <= np.ceil(255 * case.tolerance)

    if found.alpha is not None:
        with pytest.raises(ValueError, match="of its pixels are transparent"):
            read_image(path)
        return
    np.testing.assert_array_equal(read_pixels(path), picture.pixels)
    image = read_image(path)
    assert image.dtype == np.float32
    assert image.shape == picture.pixels.shape
    assert np.abs(image - case.samples).max() <= case.tolerance + 1e-7


@pytest.mark.parametrize("fault", [TypeError, KeyError, AttributeError, ValueError])
@pytest.mark.parametrize(
    ("module", "name", "case"),
    [
        (pillow, "upright", "gif-7-1"),
        (pillow, "_channels", "webp-4-5"),
        (pillow, "_jpeg_2000_depth", "jpeg2000-3-12"),
        (pillow, "split", "jpeg2000-3-12"),
        (tiff, "upright", "tiff-16-rgb-tiles-lzw"),
        (tiff, "_checked_tags", "tiff-16-rgb-tiles-lzw"),
        (tiff, "split", "tiff-16-rgb-tiles-lzw"),
        (heif, "upright", "heic-8-3"),
        (heif, "split", "heic-8-3"),
    ],
)
def test_errors_of_our_own_are_not_those_of_the_file(
    module, name, case, fault, monkeypatch
):
    def wrong(*_):
        raise fault("our own")

    cases = {case.name: case.data for case in CASES}
    if case not in cases:
        pytest.skip(f"no decoder of {case}")
    monkeypatch.setattr(module, name, wrong)
    with pytest.raises(fault, match=r"^.?our own.?$"):
        images.read(io.BytesIO(cases[case]))


@pytest.mark.parametrize("name", ["_turned_upright", "without_prefix"])
@pytest.mark.parametrize("fault", [TypeError, KeyError, AttributeError, ValueError])
def test_errors_of_our_own_are_not_those_of_exif(name, fault, monkeypatch):
    def wrong(*_):
        raise fault("our own")

    data, stream = PIL.Image.Exif(), io.BytesIO()
    data[PIL.ExifTags.Base.Artist] = "somebody"
    PIL.Image.new("RGB", (5, 4)).save(stream, "JPEG", exif=data)
    monkeypatch.setattr(exif, name, wrong)
    with pytest.raises(fault, match=r"^.?our own.?$"):
        images.read(io.BytesIO(stream.getvalue()))


def png_with_text(keyword):
    text, stream = PIL.PngImagePlugin.PngInfo(), io.BytesIO()
    text.add_text(keyword, "text")
    PIL.Image.new("RGB", (5, 4), (1, 2, 3)).save(stream, "PNG", pnginfo=text)
    return io.BytesIO(stream.getvalue())


@pytest.mark.parametrize("keyword", ["icc_profile", "exif", "gamma"])
def test_text_in_png_under_a_name_of_pillow(keyword):
    """It is no colour profile and no EXIF."""
    found = images.read(png_with_text(keyword))
    assert (found.samples == (1, 2, 3)).all()
    assert (found.icc, found.exif) == (None, None)


def test_text_in_png_under_the_name_of_transparency():
    with pytest.raises(ValueError, match="cannot read the image the stream"):
        images.read(png_with_text("transparency"))
