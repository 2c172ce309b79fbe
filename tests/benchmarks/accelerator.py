"""Values and speed on this device; beside those of another, how far they are apart.

    python -m tests.benchmarks.accelerator --out=cpu --image=kodim05.png
    python -m tests.benchmarks.accelerator --out=gpu --image=kodim05.png --other=cpu

The first on one machine, the second on another, with the folder that the first wrote.
Compared are distances of METRICS, at the default precision of matrix products and at the
highest, and what a file of ms64 that the other wrote decodes to here. Timed are the product
of two matrices, as what the device can do, PIM-1's distance and its gradient, and forward
pass and gradient of a codec of full width.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import rich
import scipy.ndimage

import codec_jax
import pim_jax
from codec_jax.models.architectures import networks
from codec_jax.models.config import MODELS
from pim_jax.data.images import read_pixels
from pim_jax.metric import Metric
from tests.benchmarks import speed, timing

METRICS = (
    "pim-1",
    "pim-5",
    "pim-1-small",
    "ssim",
    "ms-ssim",
    "nlpd",
    "gmsd",
    "fsimc",
    "vif",
)
# Products for each pixel of the codec's transforms: configs/eval_complexity.py.
CODEC_MACS = 96.5e3


def pairs() -> tuple[np.ndarray, np.ndarray]:
    """Four pairs of 64x64 in [0, 1]: two of noise, two of smooth pictures."""
    random = np.random.default_rng(0)
    a = random.uniform(size=(4, 64, 64, 3)).astype(np.float32)
    b = np.clip(a + 0.05 * random.standard_normal(a.shape), 0, 1).astype(np.float32)
    a[2:] = scipy.ndimage.gaussian_filter(a[2:], (0, 3, 3, 0))
    b[2:] = np.clip(a[2:] + 0.02 * random.standard_normal(a[2:].shape), 0, 1)
    return a, b


@jax.jit
def _distance(metric: Metric, a: Any, b: Any) -> Any:
    return metric(a, b)


@jax.jit
def _precise(metric: Metric, a: Any, b: Any) -> Any:
    return metric(a, b)


def distances() -> dict[str, np.ndarray]:
    """'name' and 'name, highest precision' -> the distances of `pairs`."""
    a, b = pairs()
    found = {}
    for name in METRICS:
        metric = pim_jax.load(name)
        found[name] = np.asarray(_distance(metric, a, b))
        with jax.default_matmul_precision("highest"):
            found[f"{name}, highest precision"] = np.asarray(_precise(metric, a, b))
    return found


def speeds(side: int, batch: int, crop: int, seconds: float) -> list[speed.Entry]:
    """Seconds and operations a second."""
    random = np.random.default_rng(0)
    rows = []
    for dtype in (jnp.float32, jnp.bfloat16):
        x = jnp.asarray(random.standard_normal((side, side)), dtype)
        product = jax.jit(jnp.matmul)
        (taken,) = timing.in_turn(
            {"": lambda f=product, x=x: f(x, x)}, seconds
        ).values()
        rows.append(speed.entry(f"product {side} {x.dtype}", taken, 2 * side**3))
    plan = speed.Plan({}, (), (), {}, seconds, side)
    rows += speed.distances("pim-1", speed.MODELS["pim-1"], (batch, 64, 64), plan)
    codec = networks(MODELS["mbt2018-mean"])
    images = jnp.asarray(random.uniform(size=(batch // 2, crop, crop, 3)), jnp.float32)
    rate = jnp.full(len(images), 3.0)
    params = jax.jit(codec.init)(jax.random.key(0), images[:1, :64, :64], rate[:1])[
        "params"
    ]
    keys = jax.random.split(jax.random.key(1), len(images))

    def loss(params: Any) -> Any:
        passed: Any = codec.apply({"params": params}, images, rate, keys)
        error = jnp.mean(jnp.square(255 * (passed.images - images)))
        return jnp.mean(passed.bits) / crop**2 + 0.013 * error

    calls = {"forward": jax.jit(loss), "gradient": jax.jit(jax.grad(loss))}
    for (name, call), passes in zip(calls.items(), (1, 3), strict=True):
        (taken,) = timing.in_turn({"": lambda f=call: f(params)}, seconds).values()
        flops = 2 * CODEC_MACS * images[..., 0].size * passes
        rows.append(
            speed.entry(f"codec {len(images)}x{crop}x{crop} {name}", taken, flops)
        )
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="new folder")
    parser.add_argument("--other", type=Path, help="what another device wrote")
    parser.add_argument("--image", type=Path, required=True, help="256x384 or larger")
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True)
    codec, image = codec_jax.load("ms64"), read_pixels(options.image)[:256, :384]
    found, data = distances(), codec.compress(image, rate=3.0)
    np.savez(options.out / "distances.npz", **found)
    np.save(options.out / "decoded.npy", codec.decompress(data))
    (options.out / "image.cjx").write_bytes(data)
    rich.print(f"{jax.devices()[0].device_kind}, JAX {jax.__version__}")
    if options.other:
        with np.load(options.other / "distances.npz") as theirs:
            for name, ours in found.items():
                apart = np.max(np.abs(ours / theirs[name] - 1))
                rich.print(f"{name}: relative difference {apart:.1e}")
        decoded = codec.decompress((options.other / "image.cjx").read_bytes())
        apart = np.abs(decoded - np.load(options.other / "decoded.npy").astype(int))
        rich.print(
            f"the other's file, decoded: levels differ by {apart.max()} at most, and in "
            f"{np.mean(apart > 0):.2%} of the samples"
        )
    sizes = (256, 2, 64, 0.2) if options.quick else (8192, 16, 256, 3)
    rows = speeds(*sizes)
    for row in rows:
        rich.print(
            f"{row['name']}: {row['median']:.3g} s, {row['gflop_per_s']:.3g} GFLOP/s"
        )
    (options.out / "speeds.json").write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
