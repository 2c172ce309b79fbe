"""Makes `deepiqa.npz`: DeepIQA (WaDIQaM-FR) of pyiqa on random weights.

    python -m tests.golden.deepiqa        # in an environment with pyiqa; tests need none

pyiqa joins features in another order and has another offset than the authors' code; here it
gets theirs. Made with pyiqa 0.1.16, torch 2.14.1 on a CPU.
"""

from pathlib import Path

import numpy as np

from tests.golden import networks

SIZE = (100, 70)  # six windows, and pixels that are in none
POSITIVE = "fc2_a/W"


def main() -> None:
    """What pyiqa computes."""
    import torch
    from pyiqa.archs.wadiqam_arch import WaDIQaM

    channels = (32, 32, 64, 64, 128, 128, 256, 256, 512, 512)
    shapes, inputs = {}, 3
    for number, outputs in enumerate(channels, 1):
        shapes[f"conv{number}/W"] = (outputs, inputs, 3, 3)
        shapes[f"conv{number}/b"] = (outputs,)
        inputs = outputs
    for end in ("", "_a"):
        shapes[f"fc1{end}/W"], shapes[f"fc1{end}/b"] = (512, 1536), (512,)
        shapes[f"fc2{end}/W"], shapes[f"fc2{end}/b"] = (1, 512), (1,)
    arrays = networks.state(shapes, POSITIVE)
    model = WaDIQaM("FR", pretrained=False, eps=1e-6).eval()
    theirs = model.state_dict()
    convolutions = [
        k[:-7] for k in theirs if k.startswith("features") and "weight" in k
    ]
    for number, name in enumerate(convolutions, 1):
        theirs[f"{name}.weight"] = torch.from_numpy(arrays[f"conv{number}/W"])
        theirs[f"{name}.bias"] = torch.from_numpy(arrays[f"conv{number}/b"])
    for end, name in (("", "fc_q"), ("_a", "fc_w")):
        difference, image, reference = np.split(arrays[f"fc1{end}/W"], 3, axis=1)
        first = np.concatenate([reference, image, difference], axis=1)
        theirs[f"{name}.0.weight"] = torch.from_numpy(first)
        theirs[f"{name}.0.bias"] = torch.from_numpy(arrays[f"fc1{end}/b"])
        theirs[f"{name}.3.weight"] = torch.from_numpy(arrays[f"fc2{end}/W"])
        theirs[f"{name}.3.bias"] = torch.from_numpy(arrays[f"fc2{end}/b"])
    model.load_state_dict(theirs)
    x, y = (
        torch.from_numpy(v.transpose(0, 3, 1, 2).copy()) for v in networks.images(*SIZE)
    )
    y.requires_grad_(True)
    value = model(255 * y, 255 * x)
    (gradient,) = torch.autograd.grad(value.sum(), y)
    np.savez_compressed(
        Path(__file__).with_suffix(".npz"),
        value=value.detach().numpy().ravel(),
        gradient=gradient.numpy().transpose(0, 2, 3, 1)[:, ::3, ::3],
    )


if __name__ == "__main__":
    main()
