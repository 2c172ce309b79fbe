"""The benchmarks of the codec run, at tiny sizes and without CompressAI."""

import sys

import numpy as np
import pytest

from tests.benchmarks import codec_speed, transposed

TINY = codec_speed.Sizes(64, 64, 1, 64, 4, 6)


def test_times_every_piece():
    result = codec_speed.run(TINY, None, 0)
    assert len(result["seconds"]) == 9
    assert not result["ratios"]
    assert codec_speed.table(result).row_count == 9
    (table,) = result["tables"]
    assert table["results"].keys() == result["seconds"].keys()


def test_a_python_without_compressai_says_so(tmp_path):
    # Without packages: not even NumPy.
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    python.chmod(0o755)
    with pytest.raises(ValueError, match="CompressAI does not run"):
        codec_speed.run(TINY, str(python), 0)


def test_forms_of_the_transposed_convolution_agree():
    random = np.random.default_rng(0)
    x = random.normal(size=(1, 3, 4, 2)).astype(np.float32)
    kernel = random.normal(size=(5, 5, 2, 3)).astype(np.float32)
    found = [form(x, kernel, 2) for form in transposed.FORMS.values()]
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-4, atol=1e-4)


def test_times_all_forms():
    result = transposed.run(2, 3, 0)
    assert len(result["entries"]) == 4 * len(transposed.FORMS)
