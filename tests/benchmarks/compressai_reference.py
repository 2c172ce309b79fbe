"""CompressAI in a Python of its own, the yardstick for speed; it does what it is told.

    PYTHON compressai_reference.py FOLDER THREADS HEIGHT WIDTH BATCH CROP N M

writes FOLDER/state.npz and FOLDER/image.npz, then reads a name from each line of its
standard input, does that once and answers with the seconds it took. Imports nothing of
this project, so that its Python needs PyTorch and CompressAI alone.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def model(n: int, m: int) -> Any:
    """A hyperprior with random weights whose latents are some steps large."""
    import torch
    from compressai.models import ScaleHyperprior

    torch.manual_seed(0)
    codec = ScaleHyperprior(n, m)
    x = torch.rand(1, 3, 256, 256)
    with torch.no_grad():
        # At about half a bit a pixel: latents with deviations of 2, scales to fit.
        codec.g_a[6].weight /= codec.g_a(x).std() / 2
        codec.h_s[4].bias += 2
    codec.update()
    return codec


def coding_calls(codec: Any, x: Any) -> dict[str, Callable[[], Any]]:
    """Both directions, whole and in pieces."""
    import torch

    y = codec.g_a(x)
    z = codec.h_a(torch.abs(y))
    strings_z = codec.entropy_bottleneck.compress(z)
    z_hat = codec.entropy_bottleneck.decompress(strings_z, z.shape[-2:])
    rows = codec.gaussian_conditional.build_indexes(codec.h_s(z_hat))
    strings_y = codec.gaussian_conditional.compress(y, rows)
    coded = codec.compress(x)

    def encode() -> None:
        codec.entropy_bottleneck.compress(z)
        codec.gaussian_conditional.compress(y, rows)

    def decode() -> None:
        codec.entropy_bottleneck.decompress(strings_z, z.shape[-2:])
        codec.gaussian_conditional.decompress(strings_y, rows)

    return {
        "encode": lambda: codec.compress(x),
        "decode": lambda: codec.decompress(coded["strings"], coded["shape"]),
        "analysis": lambda: codec.g_a(x),
        "hyper-analysis": lambda: codec.h_a(torch.abs(y)),
        "hyper-synthesis": lambda: codec.gaussian_conditional.build_indexes(
            codec.h_s(z_hat)
        ),
        "synthesis": lambda: codec.g_s(torch.round(y)),
        "range encoder": encode,
        "range decoder": decode,
    }


def training_call(codec: Any, batch: int, crop: int) -> Callable[[], Any]:
    """A step as in CompressAI's examples/train.py, with its two optimisers."""
    import torch

    names = [k for k, _ in codec.named_parameters()]
    weights = dict(codec.named_parameters())
    main = torch.optim.Adam(
        [weights[k] for k in names if not k.endswith("quantiles")], lr=1e-4
    )
    auxiliary = torch.optim.Adam(
        [weights[k] for k in names if k.endswith("quantiles")], lr=1e-3
    )
    x = torch.rand(batch, 3, crop, crop)

    def step() -> None:
        main.zero_grad()
        auxiliary.zero_grad()
        out = codec(x)
        bits = sum(-torch.log2(p).sum() for p in out["likelihoods"].values())
        error = torch.mean((x - out["x_hat"]) ** 2)
        loss = 0.0130 * 255**2 * error + bits / (batch * crop * crop)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(codec.parameters(), 1.0)
        main.step()
        codec.aux_loss().backward()
        auxiliary.step()

    return step


def main() -> None:
    """Answers until its input ends."""
    import compressai
    import torch

    folder = Path(sys.argv[1])
    threads, height, width, batch, crop, n, m = map(int, sys.argv[2:])
    torch.set_num_threads(threads)
    codec = model(n, m).eval()
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 9), np.cos(y / 7), np.sin((x + y) / 11)]
    noise = np.random.default_rng(0).normal(size=(height, width, 3))
    pixels = np.clip(100 * np.stack(waves, -1) + 128 + 10 * noise, 0, 255).astype("u1")
    state = {k: v.numpy() for k, v in codec.state_dict().items()}
    image = torch.from_numpy(pixels.transpose(2, 0, 1)[None] / np.float32(255))
    with torch.no_grad():
        calls = coding_calls(codec, image)
        coded = codec.compress(image)
    sizes = [len(string[0]) for string in coded["strings"]]
    np.savez(folder / "state.npz", **state)
    np.savez(folder / "image.npz", pixels=pixels)
    versions = {"compressai": compressai.__version__, "torch": torch.__version__}
    print(json.dumps({**versions, "bytes": sum(sizes)}), flush=True)
    train = None
    for line in sys.stdin:
        name = line.strip()
        if name == "training step":
            train = train or training_call(model(n, m).train(), batch, crop)
            start = time.perf_counter()
            train()
        else:
            with torch.no_grad():
                start = time.perf_counter()
                calls[name]()
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
