"""Writes pyramid_metrics.npz beside this file: image pairs and what metrics say of them.

    pip install pyiqa==0.1.16 piq==0.8.0 scikit-image
    python tests/golden/pyramid_metrics.py

Made with PyTorch 2.14. The images are parts of the portrait of Eileen Collins that
scikit-image ships (NASA, public domain), distorted with NumPy and Pillow. Arrays:
`PAIR/a` and `PAIR/b`, (h, w, 3) uint8, the second one distorted, and `PAIR/METRIC`, one
number each:

- nlpd-gray: NLPD of pyiqa on RGB in [0, 1].
- vif: piq.vif_p on luma in double precision.
- cw-ssim, mad: CW_SSIM and MAD of pyiqa on luma as they are; `-rounded`: on luma rounded
  to integers, as pyiqa does by itself when it is given RGB and asked for luma.

MAD of pyiqa scrambles one of its filters where height and width differ, so all values of
it belong to the largest square part at the upper left. Given RGB and not asked for luma,
which is its default, it also mixes up the blocks of the three channels.
"""

import io
from pathlib import Path

import numpy as np
import piq
import skimage.data
import torch
from PIL import Image
from pyiqa.archs.mad_arch import MAD
from pyiqa.archs.nlpd_arch import NLPD
from pyiqa.archs.ssim_arch import CW_SSIM

FILE = Path(__file__).with_suffix(".npz")
LUMA = (0.299, 0.587, 0.114)


def jpeg(image: np.ndarray) -> np.ndarray:
    """Compressed with quality 15 and decoded."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=15)
    return np.asarray(Image.open(stream))


def noisy(image: np.ndarray) -> np.ndarray:
    """Noise of standard deviation 12."""
    noise = np.random.default_rng(0).normal(0, 12, image.shape)
    return np.clip(np.round(image + noise), 0, 255).astype(np.uint8)


def contrasted(image: np.ndarray) -> np.ndarray:
    """Contrast about mid-grey raised by 20 %."""
    return np.clip(np.round(127.5 + 1.2 * (image - 127.5)), 0, 255).astype(np.uint8)


def pairs() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Even and odd sizes, height and width that differ."""
    portrait = skimage.data.astronaut()
    jpeg_part = portrait[40:136, 160:288]
    noisy_part = portrait[200:301, 300:387]
    contrast_part = portrait[100:180, 40:121]
    return {
        "jpeg": (jpeg_part, jpeg(jpeg_part)),
        "noise": (noisy_part, noisy(noisy_part)),
        "contrast": (contrast_part, contrasted(contrast_part)),
    }


def tensor(image: np.ndarray) -> torch.Tensor:
    """(1, 3, h, w) float64 in [0, 1]."""
    return torch.from_numpy(image.transpose(2, 0, 1)[None] / 255.0)


def luma(image: torch.Tensor) -> torch.Tensor:
    """(1, 1, h, w) in [0, 255], not rounded."""
    weights = torch.tensor(LUMA, dtype=image.dtype)
    return 255 * torch.einsum("nchw,c->nhw", image, weights)[:, None]


def square(image: torch.Tensor) -> torch.Tensor:
    """The part at the upper left with as many rows as columns, in single precision."""
    side = min(image.shape[2:])
    return image[:, :, :side, :side].float()


def values(a: torch.Tensor, b: torch.Tensor) -> dict[str, torch.Tensor]:
    """What every metric says of a reference and a distorted image."""
    grey_a, grey_b = luma(a), luma(b)
    return {
        "nlpd-gray": NLPD()(b.float(), a.float()),
        "vif": piq.vif_p(grey_b, grey_a, data_range=255.0),
        "cw-ssim": CW_SSIM()(grey_b, grey_a),
        "cw-ssim-rounded": CW_SSIM()(b, a),
        "mad": MAD()(square(grey_b) / 255, square(grey_a) / 255),
        "mad-rounded": MAD(test_y_channel=True)(square(b), square(a)),
    }


def main() -> None:
    """Writes the file."""
    arrays: dict[str, np.ndarray] = {}
    for name, (a, b) in pairs().items():
        arrays |= {f"{name}/a": a, f"{name}/b": b}
        with torch.no_grad():
            found = values(tensor(a), tensor(b))
        for metric, value in found.items():
            arrays[f"{name}/{metric}"] = np.float64(value.item())
            print(f"{name:10s} {metric:15s} {value.item():.8g}")
    np.savez_compressed(FILE, **arrays)


if __name__ == "__main__":
    main()
