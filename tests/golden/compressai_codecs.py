"""Writes compressai_*.npz beside this file: tiny codecs of CompressAI and what they give.

    pip install compressai==1.2.8; python tests/golden/compressai_codecs.py

Made with CompressAI 1.2.8 and PyTorch 2.13. N = 4, M = 6, random weights, medians away
from zero. Arrays: `param/NAME` of the state dict, without the tables of the normal
distributions, which are large; `image` (h, w, 3) uint8; and, with CompressAI's order of
axes, what `forward` computes on the way. Of `x_hat` every third sample in both directions.
"""

from pathlib import Path

import numpy as np
import torch
from compressai.models import FactorizedPrior, MeanScaleHyperprior, ScaleHyperprior

FOLDER = Path(__file__).parent
# The first needs no multiple of 64, only one of 16.
CODECS = {
    "bmshj2018-factorized": (FactorizedPrior, (48, 80)),
    "bmshj2018-hyperprior": (ScaleHyperprior, (64, 128)),
    "mbt2018-mean": (MeanScaleHyperprior, (64, 128)),
}
N, M = 4, 6


def perturbed(model: torch.nn.Module) -> torch.nn.Module:
    """Random weights in all places, so that none of them can be mistaken for another."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in sorted(model.named_parameters()):
            noise = torch.randn(value.shape, generator=generator)
            if name.endswith("quantiles"):
                continue
            if name.endswith("beta"):
                value += 0.2 * noise.abs()
            elif name.endswith("gamma"):
                value += 0.1 * noise.abs()
            elif name.startswith("entropy_bottleneck"):
                value += 0.3 * noise
            else:
                value += (0.5 if value.ndim == 1 else 0.1) * noise
        # Latents of some steps, scales of some, images near 0..1, narrow priors.
        model.g_a[6].weight *= 20
        if hasattr(model, "h_a"):
            model.h_a[4].weight *= 3
            model.h_s[4].weight *= 6
        model.entropy_bottleneck.matrices[0] += 2
        x = torch.rand((1, 3, 64, 64), generator=generator)
        model.g_s[6].weight *= 0.3 / model.eval()(x)["x_hat"].std()
    model.entropy_bottleneck.update(force=True, update_quantiles=True)
    return model.eval()


def picture(height: int, width: int) -> np.ndarray:
    """Smooth colours with some noise, (height, width, 3) uint8."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 5), np.cos(y / 7), np.sin((x + y) / 11)]
    noise = np.random.default_rng(0).integers(-8, 9, (height, width, 3))
    return np.clip(np.stack(waves, -1) * 100 + 128 + noise, 0, 255).astype(np.uint8)


def outputs(model: torch.nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """What `forward` and `compress` compute on the way."""
    y = model.g_a(x)
    found = {"y": y}
    passed = model(x)
    if isinstance(model, FactorizedPrior):
        found["y_hat"] = model.entropy_bottleneck(y)[0]
        found["likelihoods_y"] = passed["likelihoods"]["y"]
    else:
        mean_scale = isinstance(model, MeanScaleHyperprior)
        z = model.h_a(y if mean_scale else y.abs())
        z_hat = model.entropy_bottleneck(z)[0]
        parameters = model.h_s(z_hat)
        scales = parameters.chunk(2, 1)[0] if mean_scale else parameters
        found |= {
            "z": z,
            "z_hat": z_hat,
            "scales": model.gaussian_conditional.lower_bound_scale(scales),
            "indexes": model.gaussian_conditional.build_indexes(scales),
            "likelihoods_y": passed["likelihoods"]["y"],
            "likelihoods_z": passed["likelihoods"]["z"],
        }
        means = parameters.chunk(2, 1)[1] if mean_scale else None
        found["y_hat"] = model.gaussian_conditional.quantize(y, "dequantize", means)
        if means is not None:
            found["means"] = means
    found["x_hat"] = passed["x_hat"][..., ::3, ::3]
    return found


def main() -> None:
    """Writes all files."""
    for name, (kind, size) in CODECS.items():
        torch.manual_seed(0)
        model = perturbed(kind(N, M))
        image = picture(*size)
        x = torch.from_numpy(image.transpose(2, 0, 1)[None] / np.float32(255))
        if hasattr(model, "gaussian_conditional"):
            table = np.exp(np.linspace(np.log(0.11), np.log(256), 64))
            model.gaussian_conditional.update_scale_table(table)
        with torch.no_grad():
            arrays = {k: v.numpy() for k, v in outputs(model, x).items()}
        state = {
            f"param/{k}": v.numpy()
            for k, v in model.state_dict().items()
            if not (
                k.startswith("gaussian") and k.endswith(("cdf", "offset", "length"))
            )
        }
        np.savez_compressed(
            FOLDER / f"compressai_{name}.npz", image=image, **arrays, **state
        )


if __name__ == "__main__":
    main()
