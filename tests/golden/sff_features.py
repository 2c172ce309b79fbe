"""Learns the features of SFF from photographs, as its authors did from theirs.

    python -m tests.golden.sff_features --images_dir=DIR     # needs scikit-learn

18,000 blocks of 8x8 pixels and three channels, as many from each photograph; without
their means, whitened to the eight largest principal components, and rotated by FastICA
(tanh, symmetric). Writes `pim_jax/metrics/packaged/sff_features.npz`. What ships was made
with scikit-learn 1.9.1 and NumPy 1.26.4, of the 286 photographs that
`codec_jax/packaged/ms128.md` lists.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.decomposition import FastICA

SIDE, COUNT, FEATURES = 8, 18_000, 8
OUT = (
    Path(__file__).parents[2] / "pim_jax" / "metrics" / "packaged" / "sff_features.npz"
)


def blocks(folder: Path, random: np.random.Generator) -> np.ndarray:
    """Blocks at random places, without their means, (COUNT, 8 * 8 * 3)."""
    paths = sorted(
        p for p in folder.rglob("*") if p.suffix in (".jpg", ".png", ".webp")
    )
    found = []
    for number, path in enumerate(paths):
        share = COUNT * (number + 1) // len(paths) - COUNT * number // len(paths)
        pixels = np.asarray(Image.open(path).convert("RGB"), np.float64)
        rows, columns = (
            random.integers(0, n - SIDE + 1, share) for n in pixels.shape[:2]
        )
        found += [
            pixels[i : i + SIDE, j : j + SIDE].copy()
            for i, j in zip(rows, columns, strict=True)
        ]
    flat = np.reshape(found, (COUNT, -1))
    return flat - flat.mean(1, keepdims=True)


def learn(x: np.ndarray) -> np.ndarray:
    """Features (8, 8 * 8 * 3) of blocks."""
    values, vectors = np.linalg.eigh(x.T @ x / len(x))
    whitening = (vectors / np.sqrt(np.maximum(values, 1e-12))).T[::-1][:FEATURES]
    ica = FastICA(whiten=False, fun="logcosh", max_iter=2000, tol=1e-8, random_state=0)
    ica.fit(x @ whitening.T)
    return ica.components_ @ whitening


def main() -> None:
    """Learns and writes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images_dir", type=Path, required=True)
    features = learn(blocks(parser.parse_args().images_dir, np.random.default_rng(0)))
    np.savez(OUT, features=features.reshape(FEATURES, SIDE, SIDE, 3).astype(np.float32))


if __name__ == "__main__":
    main()
