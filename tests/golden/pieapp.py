"""Makes `pieapp.npz`: PieAPP of piq on random weights.

    python tests/golden/pieapp.py        # in an environment with piq; tests need none

Made with piq 0.8.0, torch 2.14.1 on a CPU.
"""

from pathlib import Path

import numpy as np

SIZE = (96, 70)  # two windows, and pixels that are in none


def images() -> tuple[np.ndarray, np.ndarray]:
    """References and images, (2, 96, 70, 3) in [0, 1], float32: waves and noise."""
    random = np.random.default_rng(3)
    i, j, c = np.meshgrid(*map(np.arange, (*SIZE, 3)), indexing="ij")
    x = 0.5 + 0.3 * np.sin(0.2 * i + 0.3 * j + c) + 0.1 * np.sin(1.1 * i - 0.7 * j * c)
    x = np.stack([x, random.uniform(0, 1, x.shape)])
    y = np.clip(0.9 * x + 0.1 * random.uniform(0, 1, x.shape), 0, 1)
    return x.astype(np.float32), y.astype(np.float32)


def state(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Random weights by the published names, which keep the size of what passes."""
    random = np.random.default_rng(5)
    found = {}
    for name, shape in shapes.items():
        inputs = int(np.prod(shape[1:])) if len(shape) > 1 else 25
        array = random.standard_normal(shape, np.float32)
        found[name] = array * np.float32(np.sqrt(2 / inputs))
    # Most windows count.
    found["fc2_weight.weight"] = np.abs(found["fc2_weight.weight"])
    return found


def main() -> None:
    """What piq computes."""
    import piq.pieapp
    import torch

    model = piq.pieapp.PieAPPModel()
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    arrays = {name: torch.from_numpy(value) for name, value in state(shapes).items()}
    model.load_state_dict(arrays)
    loss = piq.PieAPP.__new__(piq.PieAPP)
    torch.nn.Module.__init__(loss)
    loss.model, loss.data_range, loss.reduction = model, 1.0, "none"
    loss.stride, loss.enable_grad = 27, True
    x, y = (torch.from_numpy(v.transpose(0, 3, 1, 2).copy()) for v in images())
    y.requires_grad_(True)
    value = loss(y, x)
    (gradient,) = torch.autograd.grad(value.sum(), y)
    np.savez_compressed(
        Path(__file__).with_suffix(".npz"),
        value=value.detach().numpy(),
        gradient=gradient.numpy().transpose(0, 2, 3, 1)[:, ::3, ::3],
    )


if __name__ == "__main__":
    main()
