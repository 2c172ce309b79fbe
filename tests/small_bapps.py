"""A small BAPPS set in the official layout, whose scores can be computed by hand.

Photographs that ship inside scikit-image with white noise of two strengths: PSNR prefers
the weaker one.
"""

from pathlib import Path

import numpy as np
import PIL.Image
import skimage.data

from pim_jax.data import distortions

PHOTOS = (skimage.data.astronaut, skimage.data.coffee, skimage.data.chelsea)
# Of each photograph's two noisy versions, and the share of raters for the second.
NOISES = ((4, 20), (30, 6), (10, 12))
JUDGE = (0.2, 1.0, 0.4)
# For JND: noise against the photograph, and the share of raters who saw no difference.
JND_NOISE = (8, 2, 30)
SAME = (0.0, 1.0, 1 / 3)

# PSNR prefers image 0, 1, 0, so 0.8, 1.0 and 0.6 of the raters agree with it.
TWO_AFC = {"traditional": 0.8, "cnn": 0.9, "mean": 0.85}
# Sorted by noise 2, 8, 30 the labels are 1, 0, 1/3, precision 1, 1/2, 4/9. Three quarters
# of the recall come at the first pair, a quarter at the last.
JND = 0.75 + 0.25 * 4 / 9


def patches() -> list[np.ndarray]:
    """A 64x64 patch of each photograph."""
    return [np.asarray(photo()[60:124, 100:164]) for photo in PHOTOS]


def save_image(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path)


def save_label(path: Path, value: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.array([value]))


def write(root: Path) -> Path:
    """2AFC `traditional` (three triplets) and `cnn` (the first two), JND `cnn`."""
    for i, (patch, noise) in enumerate(zip(patches(), NOISES, strict=True)):
        images = {
            "ref": patch,
            "p0": distortions.noise(patch, noise[0], 1),
            "p1": distortions.noise(patch, noise[1], 2),
        }
        for subset, count in (("traditional", 3), ("cnn", 2)):
            if i < count:
                folder = root / "2afc" / "val" / subset
                for name, pixels in images.items():
                    save_image(folder / name / f"{i:06d}.png", pixels)
                save_label(folder / "judge" / f"{i:06d}.npy", JUDGE[i])
        folder = root / "jnd" / "val" / "cnn"
        save_image(folder / "p0" / f"{i:06d}.png", patch)
        noisy = distortions.noise(patch, JND_NOISE[i], 5)
        save_image(folder / "p1" / f"{i:06d}.png", noisy)
        save_label(folder / "same" / f"{i:06d}.npy", SAME[i])
    return root


def write_learnable(root: Path, train: int, held_out: int) -> Path:
    """2AFC of one rule: every rater prefers blur to noise, however strong they are.

    Training patches are of the left halves of the photographs, others of the right.
    """
    random = np.random.default_rng(0)
    photos = [np.asarray(photo()) for photo in PHOTOS]
    for split, count in (("train", train), ("val", held_out)):
        folder = root / "2afc" / split / "traditional"
        for i in range(count):
            whole = photos[i % len(photos)]
            middle = whole.shape[1] // 2
            photo = whole[:, :middle] if split == "train" else whole[:, middle:]
            top, left = (random.integers(0, n - 64) for n in photo.shape[:2])
            patch = photo[top : top + 64, left : left + 64]
            blurred = distortions.blur(patch, random.uniform(0.7, 2))
            noisy = distortions.noise(patch, random.uniform(7, 25), 100 * i)
            judge = i // 3 % 2  # whether the blurred one is image 1
            images = {"ref": patch, "p0": noisy, "p1": blurred}
            if not judge:
                images = {"ref": patch, "p0": blurred, "p1": noisy}
            for name, pixels in images.items():
                save_image(folder / name / f"{i:06d}.png", pixels)
            save_label(folder / "judge" / f"{i:06d}.npy", float(judge))
    return root
