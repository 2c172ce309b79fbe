"""Makes `pieapp.npz`: PieAPP of piq on random weights.

    python -m tests.golden.pieapp        # in an environment with piq; tests need none

Made with piq 0.8.0, torch 2.14.1 on a CPU.
"""

from pathlib import Path

import numpy as np

from tests.golden import networks

SIZE = (96, 70)  # two windows, and pixels that are in none
POSITIVE = "fc2_weight.weight"


def main() -> None:
    """What piq computes."""
    import piq.pieapp
    import torch

    model = piq.pieapp.PieAPPModel()
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    arrays = {
        name: torch.from_numpy(value)
        for name, value in networks.state(shapes, POSITIVE).items()
    }
    model.load_state_dict(arrays)
    loss = piq.PieAPP.__new__(piq.PieAPP)
    torch.nn.Module.__init__(loss)
    loss.model, loss.data_range, loss.reduction = model, 1.0, "none"
    loss.stride, loss.enable_grad = 27, True
    x, y = (
        torch.from_numpy(v.transpose(0, 3, 1, 2).copy()) for v in networks.images(*SIZE)
    )
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
