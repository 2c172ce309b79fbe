"""Writes piq_metrics.npz beside this file: what piq says of the pairs of natural_pairs.py.

    pip install piq==0.8.0 numpy; python tests/golden/piq_metrics.py

Made with piq 0.8.0 and PyTorch 2.14.1 on a CPU, in float32. For each metric `NAME/HxW`,
the distance or similarity as piq returns it, one value for each pair, and `NAME/gradient`,
by the second image at GRADIENT_SIZE, (n, h, w, 3) float16 divided by its largest value,
which is in `NAME/gradient-size`.
"""

import sys
from pathlib import Path

import numpy as np
import piq
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
import natural_pairs

# Small patches, odd sizes, and sizes that FSIM and VSI average by 1, 2 and 3.
SIZES = {
    (64, 64): 4,
    (61, 47): 2,
    (301, 383): 1,
    (385, 401): 1,
    (640, 719): 1,
    (641, 650): 1,
}
GRADIENT_SIZE = (25, 28)
METRICS = {
    "gmsd": piq.gmsd,
    "ms-gmsd": piq.multi_scale_gmsd,
    "fsim": lambda x, y, **k: piq.fsim(x, y, chromatic=False, **k),
    "fsimc": piq.fsim,
    "vsi": piq.vsi,
}


def tensors(size: tuple[int, int], count: int) -> list[torch.Tensor]:
    """A batch of pairs, (n, 3, h, w)."""
    images = natural_pairs.unit_pairs(*size, count)
    return [torch.from_numpy(x.transpose(0, 3, 1, 2).copy()) for x in images]


def main() -> None:
    """Writes the file."""
    found = {}
    for name, metric in METRICS.items():
        for size, count in SIZES.items():
            with torch.no_grad():
                values = metric(*tensors(size, count), reduction="none")
            found[f"{name}/{size[0]}x{size[1]}"] = values.numpy().reshape(count)
        a, b = tensors(GRADIENT_SIZE, 3)
        b.requires_grad_()
        metric(a, b, reduction="sum").backward()
        gradient = b.grad.numpy().transpose(0, 2, 3, 1)
        size = np.abs(gradient).max(axis=(1, 2, 3))
        found[f"{name}/gradient"] = (gradient / size[:, None, None, None]).astype("f2")
        found[f"{name}/gradient-size"] = size
    np.savez_compressed(Path(__file__).with_suffix(".npz"), **found)


if __name__ == "__main__":
    main()
