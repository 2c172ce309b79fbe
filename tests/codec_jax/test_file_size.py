"""Remarks on files that are larger than they should be."""

import numpy as np

from codec_jax import classical, file_size

RNG = np.random.default_rng(0)
WAVES = 128 + 90 * np.sin(np.arange(96) / 9)[:, None, None] * np.ones((96, 80, 3))
IMAGE = (WAVES + RNG.integers(0, 9, (96, 80, 3))).astype(np.uint8)
DECODED = classical.CLASSICAL["jpeg444"].decompress(
    classical.CLASSICAL["jpeg444"].compress(IMAGE, 60)
)


def test_jpeg_with_the_same_error():
    of_60 = len(classical.CLASSICAL["jpeg444"].compress(IMAGE, 60))
    assert 0 < file_size.jpeg_size(IMAGE, DECODED) <= of_60
    assert file_size.jpeg_size(IMAGE, IMAGE) is None


def test_remarks():
    jpeg = file_size.jpeg_size(IMAGE, DECODED)
    assert file_size.remark(jpeg, None, IMAGE, DECODED) is None
    assert file_size.remark(jpeg, jpeg + 1, IMAGE, DECODED) is None
    larger = file_size.remark(jpeg + 1, None, IMAGE, DECODED)
    assert f"{jpeg + 1} bytes, and JPEG with the same error {jpeg}" in larger
    source = file_size.remark(500, 400, IMAGE, DECODED)
    assert "500 bytes, and the one it was made from 400" in source
    assert "\n" not in larger + source
