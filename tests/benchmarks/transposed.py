"""Speed of four forms of the transposed convolution, forward and backward.

    python -m tests.benchmarks.transposed --out=runs/transposed.json

5x5, two times up: 64 -> 64 channels, and 64 -> 3 as at the end of a synthesis transform.
`dilated`: XLA's own form, a convolution over samples with zeros in between. `phases` and
`products`: `strided.by_phases`, `strided.by_products`. `subpixel`: one 3x3 convolution with
four times the outputs, moved to their places. `layers`: what is used, with its own
gradient; the others have XLA's. GFLOP/s count products with samples, none with zeros.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import rich
from jax import lax
from rich.table import Table

from pim_jax.ops.fast_cpu import strided
from tests.benchmarks import speed, timing

SIZE, STRIDE = 5, 2
CASES = {"64 -> 64": (64, 64), "64 -> 3": (64, 3)}
_LAYOUT: Any = ("NHWC", "HWIO", "NHWC")


def dilated(x: Any, kernel: Any, stride: int) -> Any:
    """XLA's own form."""
    before = SIZE - 1 - SIZE // 2
    return lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        ((before, before + stride - 1),) * 2,
        lhs_dilation=(stride, stride),
        dimension_numbers=_LAYOUT,
    )


def subpixel(x: Any, kernel: Any, stride: int) -> Any:
    """One convolution for all places of the outputs, then depth to space; 5x5, up 2."""
    n, h, w, _ = x.shape
    inputs, outputs = kernel.shape[2:]
    # Taps 0, 2, 4 are those of even places, 1 and 3 the last two of odd ones.
    taps = jnp.pad(kernel, ((1, 0), (1, 0), (0, 0), (0, 0)))
    taps = jnp.stack([taps[1::2], taps[0::2]], 2)
    taps = jnp.stack([taps[:, 1::2], taps[:, 0::2]], 3)
    taps = taps.transpose(0, 1, 4, 2, 3, 5).reshape(3, 3, inputs, 4 * outputs)
    y = lax.conv_general_dilated(
        x, taps, (1, 1), ((1, 1), (1, 1)), dimension_numbers=_LAYOUT
    )
    y = y.reshape(n, h, w, stride, stride, outputs).transpose(0, 1, 3, 2, 4, 5)
    return y.reshape(n, h * stride, w * stride, outputs)


FORMS: dict[str, Callable[[Any, Any, int], Any]] = {
    "layers": strided.conv_transpose,
    "phases": strided.by_phases,
    "products": strided.by_products,
    "dilated": dilated,
    "subpixel": subpixel,
}


def run(height: int, width: int, seconds: float) -> dict[str, Any]:
    """Times all forms on one batch of this size; what `main` writes."""
    random, entries = np.random.default_rng(0), []
    for case, (inputs, outputs) in CASES.items():
        kernel = jnp.asarray(random.normal(size=(5, 5, inputs, outputs)), jnp.float32)
        x = jnp.asarray(random.normal(size=(1, height, width, inputs)), jnp.float32)
        shape = (1, STRIDE * height, STRIDE * width, outputs)
        weights = jnp.asarray(random.normal(size=shape), jnp.float32)
        flops = 2 * SIZE**2 * inputs * outputs * height * width
        for what, times in (("forward", 1), ("gradient", 2)):
            calls = {
                name: _call(form, what, x, kernel, weights)
                for name, form in FORMS.items()
            }
            for name, taken in timing.in_turn(calls, seconds).items():
                entries.append(
                    speed.entry(f"{case} {what} {name}", taken, times * flops)
                )
    return {"environment": speed.environment(), "entries": entries}


def _call(form: Any, what: str, x: Any, kernel: Any, weights: Any) -> timing.Call:
    """The output, or the gradients of a linear function of it."""
    if what == "forward":
        forward = jax.jit(lambda x, kernel: form(x, kernel, STRIDE))
        return lambda: forward(x, kernel)

    def value(x: Any, kernel: Any, weights: Any) -> Any:
        return jnp.sum(form(x, kernel, STRIDE) * weights)

    gradient = jax.jit(jax.grad(value, argnums=(0, 1)))
    return lambda: gradient(x, kernel, weights)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Forms of transposed convolutions.")
    parser.add_argument("--out", required=True, type=Path, help="JSON file to write")
    parser.add_argument("--seconds", type=float, default=4, help="for each comparison")
    arguments = parser.parse_args()
    result = run(64, 96, arguments.seconds)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    shown = Table("", "median", "GFLOP/s")
    for line in result["entries"]:
        milliseconds = f"{line['median'] * 1e3:.1f} ms"
        shown.add_row(line["name"], milliseconds, f"{line['gflop_per_s']:.1f}")
    rich.print(shown)


if __name__ == "__main__":
    main()
