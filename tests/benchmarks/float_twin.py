"""The codec of a run with a hyper-synthesis of floating point numbers: what integers cost.

    python -m tests.benchmarks.float_twin runs/codec twin.npz
    python eval.py --config=configs/eval_kodak.py --config.codec=runs/codec/codec.npz \\
        --config.anchor=twin.npz --config.images_dir=kodak

The same trained weights, but neither weights nor activations are rounded to integers; the
index of the scale is rounded at the end, as a table needs it. Its files cannot be trusted
to open on another device; it is here to compare file sizes.
"""

import argparse
import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp

from codec_jax import freezing, loading
from codec_jax.latents import integer
from codec_jax.models.config import CodecConfig
from pim_jax.training import checkpoint, run_config


def twin(params: dict, config: CodecConfig) -> tuple[dict, CodecConfig]:
    """Parameters and architecture of the float twin of an integer hyper-synthesis."""
    model = integer.IntegerHyperSynthesis(config.latents, config.prior == "mean_scale")
    inner = params["hyper_synthesis_transform"]
    bound, inputs, convs = model.bind({"params": inner}), config.filters, {}
    for number, conv in enumerate(bound.convs):
        kernel, bias = conv.weights(inputs)
        convs[f"conv_{number}"] = {"kernel": kernel, "bias": bias}
        inputs = conv.features
    last = convs[f"conv_{len(bound.convs) - 1}"]
    first_index = integer.FIRST_INDEX * (jnp.arange(inputs) < config.latents)
    last["bias"] = last["bias"] + first_index
    return {**params, "hyper_synthesis_transform": convs}, dataclasses.replace(
        config, hyper="index", hyper_activation="relu"
    )


def main() -> None:
    """From the folder of a run to a file of weights."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    config = json.loads((options.run / run_config.FILE).read_text())
    params = jax.tree.map(jnp.asarray, checkpoint.read_parameters(options.run))
    codec = freezing.freeze(
        *twin(params, CodecConfig.from_dict(config["model"])), name="float-twin"
    )
    loading.save(codec, options.out, {"twin of": config})


if __name__ == "__main__":
    main()
