"""Files of earlier versions: every later one reads them, and writes the same."""

import numpy as np
import pytest

from codec_jax import image_files, loading
from codec_jax.coding import bitstream
from tests.golden import coded_files


@pytest.mark.parametrize("case", coded_files.CASES, ids=lambda case: case.name)
def test_earlier_files(case):
    """Pixels within a level, as other versions of JAX sum in another order."""
    data = (coded_files.FOLDER / f"{case.name}.cjx").read_bytes()
    codec, image = loading.load(case.codec), coded_files.picture(case)
    with np.load(coded_files.PIXELS) as stored:
        expected = stored[case.name]
    found = codec.decompress(data)
    assert found.shape == image.shape
    difference = np.abs(coded_files.some_rows(found).astype(int) - expected)
    assert difference.max() <= 1
    assert np.mean(difference > 0) < 1e-3
    assert codec.compress(image, case.rate, extras=case.extras) == data
    picture = image_files.picture_from(found, bitstream.unpack(data).extras)
    assert picture.grey == case.grey
