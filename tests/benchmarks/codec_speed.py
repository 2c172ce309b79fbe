"""Speed of encoding, decoding and training beside CompressAI, with the same weights.

    python -m tests.benchmarks.codec_speed --out=runs/codec_speed.json \
        --compressai_python=PATH   # or the environment variable COMPRESSAI_PYTHON

PATH is a Python with CompressAI (`pip install compressai`). The codec is
bmshj2018-hyperprior with N = 128, M = 192; the image 512x768, training at batch 8 of 256^2.
Both have as many threads, each in a process of its own, and take turns: while one is timed
the other waits. `ratio` is ours by theirs in one round; below 1 ours is faster.
Without CompressAI ours are timed alone.

`encode` and `decode` are pixels to bytes and back; the rest are their pieces.
"""

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import rich
from rich.table import Table

from codec_jax import compressai
from codec_jax.coding import range_coder
from codec_jax.entropy import factorized, gaussian_conditional
from codec_jax.inference import programs, tiling
from codec_jax.models.architectures import networks
from codec_jax.models.config import CodecConfig
from codec_jax.trained import TrainedCodec
from tests.benchmarks import speed, timing

REFERENCE = Path(__file__).with_name("compressai_reference.py")


class Sizes(NamedTuple):
    """What is timed: side lengths in pixels, and the codec's widths."""

    height: int = 512
    width: int = 768
    batch: int = 8
    crop: int = 256
    filters: int = 128
    latents: int = 192


class Reference:
    """CompressAI in another process.

    Args:
      python: a Python that has it.
      folder: where it writes its weights and the image.
      sizes: what is timed.

    Raises:
      ValueError: it does not run there; the message has the end of what it said.
    """

    def __init__(self, python: str, folder: Path, sizes: Sizes) -> None:
        threads = len(os.sched_getaffinity(0))
        arguments = [folder, threads, *sizes]
        command = [python, str(REFERENCE), *map(str, arguments)]
        self._errors = (folder / "errors").open("w+")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self.about: dict[str, Any] = json.loads(self._line())

    def call(self, name: str) -> float:
        """Does it once there; seconds."""
        assert self._process.stdin
        self._process.stdin.write(f"{name}\n")
        self._process.stdin.flush()
        return float(self._line())

    def _line(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            raise ValueError(f"CompressAI does not run: {self._errors.read()[-500:]}")
        return line

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()
        self._errors.close()


def trained(state: Path) -> TrainedCodec:
    """A codec of ours with CompressAI's weights and tables."""
    found = compressai.read_compressai(state)
    return TrainedCodec(
        found.name,
        found.config,
        found.params,
        (),
        found.prior_tables,
        found.scale_tables,
    )


def untrained(sizes: Sizes) -> TrainedCodec:
    """Random weights, for a machine without CompressAI."""
    config = _config(sizes)
    codec, key = networks(config), jax.random.key(0)
    images = jnp.zeros((1, 64, 64, 3))
    params: Any = jax.jit(codec.init)(key, images, jnp.zeros(1))["params"]
    prior = factorized.Factorized(sizes.filters, config.factorized_filters)
    tables = factorized.make_tables(params["prior"], prior)
    return TrainedCodec(
        "untrained", config, params, (), tables, gaussian_conditional.make_tables()
    )


def _config(sizes: Sizes) -> CodecConfig:
    return CodecConfig(
        filters=sizes.filters,
        latents=sizes.latents,
        centre=0.0,
        normalization="original",
        prior="scale",
        hyper="scale",
        factorized_filters=(3, 3, 3, 3),
        lambdas=(0.0130,),
    )


def coding_calls(codec: TrainedCodec, pixels: np.ndarray) -> dict[str, timing.Call]:
    """Both directions, whole and in pieces, of ours."""
    rate = jnp.zeros(1)

    def compiled(module: nn.Module, method: str) -> Callable[..., Any]:
        return lambda *a: programs.call(module, method, codec.params, *a)

    # As `compress` and `decompress` have them.
    analysis = compiled(codec.networks, "features")
    synthesis = compiled(codec.networks, "synthesis")
    hyper_analysis = compiled(codec.latent_codec, "hyper_analysis")
    hyper_synthesis = compiled(codec.latent_codec, "hyper_synthesis")
    images = jnp.asarray(pixels[None], jnp.float32) / 255
    cells = tiling.counts((-(-pixels.shape[0] // 16), -(-pixels.shape[1] // 16)))
    y = analysis(images, rate, cells)
    z = jnp.round(hyper_analysis(y))
    y_hat = jnp.round(y)
    data = codec.compress(pixels)
    latents = codec.latents(np.asarray(y[0]), 0.0)
    tables, scale_tables = codec.tables, codec.scale_tables
    assert latents.hyper is not None
    assert scale_tables is not None
    channels = np.arange(latents.hyper.shape[-1], dtype=np.int32)
    hyper_rows = np.broadcast_to(channels, latents.hyper.shape)
    strings = (
        range_coder.encode(latents.hyper, hyper_rows, tables),
        range_coder.encode(latents.symbols, latents.rows, scale_tables),
    )

    def encode() -> None:
        range_coder.encode(latents.hyper, hyper_rows, tables)
        range_coder.encode(latents.symbols, latents.rows, scale_tables)

    def decode() -> None:
        range_coder.decode(strings[0], hyper_rows, tables)
        range_coder.decode(strings[1], latents.rows, scale_tables)

    return {
        "encode": lambda: codec.compress(pixels),
        "decode": lambda: codec.decompress(data),
        "analysis": lambda: analysis(images, rate, cells),
        "hyper-analysis": lambda: hyper_analysis(y),
        "hyper-synthesis": lambda: hyper_synthesis(z),
        "synthesis": lambda: synthesis(y_hat, rate, cells),
        "range encoder": encode,
        "range decoder": decode,
    }


def training_call(sizes: Sizes) -> timing.Call:
    """Gradient and Adam, with the noise and the loss of CompressAI's training."""
    codec = networks(_config(sizes))
    images = jnp.asarray(
        np.random.default_rng(0).random((sizes.batch, sizes.crop, sizes.crop, 3)),
        jnp.float32,
    )
    rate, moves = (
        jnp.zeros(sizes.batch),
        optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-4)),
    )
    params: Any = jax.jit(codec.init)(jax.random.key(0), images[:1, :64, :64], rate[:1])

    def loss(params: Any, keys: Any) -> Any:
        passed: Any = codec.apply(params, images, rate, keys, "noise")
        error = jnp.mean((images - passed.images) ** 2)
        pixels = sizes.batch * sizes.crop**2
        return 0.0130 * 255**2 * error + jnp.sum(passed.bits) / pixels

    @jax.jit
    def step(params: Any, state: Any, keys: Any) -> Any:
        updates, state = moves.update(jax.grad(loss)(params, keys), state, params)
        return optax.apply_updates(params, updates), state

    state = moves.init(params)
    keys = jax.random.split(jax.random.key(1), sizes.batch)
    return lambda: step(params, state, keys)


def run(
    sizes: Sizes, python: str | None, seconds: float, training: bool = True
) -> dict[str, Any]:
    """Times everything; what `main` writes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        reference = Reference(python, folder, sizes) if python else None
        try:
            return _timed(sizes, reference, folder, seconds, training)
        finally:
            if reference:
                reference.close()


def _timed(
    sizes: Sizes,
    reference: Reference | None,
    folder: Path,
    seconds: float,
    training: bool,
) -> dict[str, Any]:
    if reference:
        codec = trained(folder / "state.npz")
        pixels = np.load(folder / "image.npz")["pixels"]
    else:
        codec = untrained(sizes)
        shape = (sizes.height, sizes.width, 3)
        pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    about = {**speed.environment(), **(reference.about if reference else {})}
    result: dict[str, Any] = {
        "environment": about,
        "sizes": sizes._asdict(),
        "bytes": len(codec.compress(pixels)),
        "seconds": {},
        "ratios": {},
    }
    groups = coding_calls(codec, pixels)
    if training:
        groups["training step"] = training_call(sizes)
    for name, ours in groups.items():
        calls: dict[str, timing.Call] = {name: ours}
        if reference:
            calls[f"compressai {name}"] = lambda name=name: reference.call(name)  # type: ignore[misc]
        taken = timing.in_turn(calls, seconds)
        for which, values in taken.items():
            result["seconds"][which] = timing.summary(values)._asdict()
        if reference:
            found = timing.ratio(taken[name], taken[f"compressai {name}"])
            result["ratios"][name] = found._asdict()
    return result


def table(result: dict[str, Any]) -> Table:
    """The result for the screen."""
    shown = Table("", "ours", "CompressAI", "ratio", "quartiles")
    for name, ours in result["seconds"].items():
        if name.startswith("compressai "):
            continue
        theirs = result["seconds"].get(f"compressai {name}")
        ratio = result["ratios"].get(name)
        shown.add_row(
            name,
            f"{ours['median'] * 1e3:.1f} ms",
            f"{theirs['median'] * 1e3:.1f} ms" if theirs else "",
            f"{ratio['median']:.2f}" if ratio else "",
            f"{ratio['lower']:.2f} .. {ratio['upper']:.2f}" if ratio else "",
        )
    return shown


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="How fast the codec is here.")
    parser.add_argument("--out", required=True, type=Path, help="JSON file to write")
    parser.add_argument(
        "--compressai_python",
        default=os.environ.get("COMPRESSAI_PYTHON"),
        help="a Python with CompressAI; default: $COMPRESSAI_PYTHON",
    )
    parser.add_argument("--seconds", type=float, default=10, help="for each comparison")
    parser.add_argument("--no-training", action="store_true", help="coding alone")
    arguments = parser.parse_args()
    if not arguments.compressai_python:
        rich.print(
            "No CompressAI to compare with: give --compressai_python=PATH, a Python "
            "where `pip install compressai` was run."
        )
    result = run(
        Sizes(),
        arguments.compressai_python,
        arguments.seconds,
        not arguments.no_training,
    )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    rich.print(table(result))


if __name__ == "__main__":
    main()
