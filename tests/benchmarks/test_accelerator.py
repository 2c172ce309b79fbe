"""A device agrees with itself."""

import json

import numpy as np
import PIL.Image
import pytest

from tests.benchmarks import accelerator


@pytest.mark.slow
def test_twice_on_this_device(tmp_path, capsys):
    image = np.random.default_rng(0).integers(0, 256, (256, 384, 3), np.uint8)
    PIL.Image.fromarray(image).save(tmp_path / "image.png")
    common = ["--quick", f"--image={tmp_path / 'image.png'}"]
    accelerator.main([*common, f"--out={tmp_path / 'a'}"])
    accelerator.main([*common, f"--out={tmp_path / 'b'}", f"--other={tmp_path / 'a'}"])
    said = capsys.readouterr().out
    assert said.count("relative difference 0.0e+00") == 2 * len(accelerator.METRICS)
    assert "levels differ by 0 at most" in said
    for row in json.loads((tmp_path / "b" / "speeds.json").read_text()):
        assert row["gflop_per_s"] > 0
