"""Codecs of a few channels with random weights, and pictures for them.

Nothing is trained: what holds for these holds whatever training makes of the weights.
"""

import functools
from pathlib import Path

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from codec_jax import compressai, freezing
from codec_jax.models.architectures import networks
from codec_jax.models.codec import init_params
from codec_jax.models.config import CodecConfig
from codec_jax.models.quadtree import QuadtreeConfig
from codec_jax.trained import TrainedCodec

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
LAMBDAS = (0.002, 0.02, 0.1)
KINDS = {
    "integer": {},
    "scales": {"prior": "scale"},
    "float": {"hyper": "index"},
    "factorized": {"prior": "factorized", "transforms": "bls2017"},
    "dithered": {"dither": 15},
    "dithered-factorized": {
        "prior": "factorized",
        "transforms": "bls2017",
        "dither": 4,
    },
}


def config_of(kind: str) -> CodecConfig:
    return CodecConfig(filters=8, latents=12, lambdas=LAMBDAS, **KINDS[kind])


@functools.cache
def random_params(kind: str, seed: int = 0) -> dict:
    """As training starts, but with priors and hyperpriors that differ by channel."""
    rng = np.random.default_rng(seed)
    params = init_params(networks(config_of(kind)), jax.random.key(seed))

    def moved(leaf: jax.Array) -> np.ndarray:
        return np.asarray(leaf) + rng.normal(0, 0.2, leaf.shape).astype(np.float32)

    for part in params:
        if part == "prior" or part.startswith("hyper_"):
            params[part] = jax.tree.map(moved, params[part])
    return params


@functools.cache
def codec(kind: str) -> TrainedCodec:
    """One of KINDS, or one of CompressAI with a single rate, by the file's name."""
    if kind in KINDS:
        return freezing.freeze(random_params(kind), config_of(kind), "small")
    with np.load(GOLDEN / f"compressai_{kind}.npz") as stored:
        state = {k[6:]: stored[k] for k in stored if k.startswith("param/")}
    found = compressai.from_compressai(state)
    return TrainedCodec(
        "theirs", found.config, found.params, (), found.prior_tables, found.scale_tables
    )


def picture(
    rng: np.random.Generator, height: int, width: int, kind: str = "photo"
) -> np.ndarray:
    """uint8 (h, w, 3): 'photo' (waves with some noise), 'noise' or 'constant'."""
    shape = height, width, 3
    if kind == "noise":
        return rng.integers(0, 256, shape, np.uint8)
    if kind == "constant":
        return np.full(shape, rng.integers(0, 256, 3), np.uint8)
    y, x = np.mgrid[:height, :width, :1][:2]
    phase, speed = rng.uniform(0, 6, 3), rng.uniform(0.01, 0.3, (2, 3))
    waves = 128 + 90 * np.sin(speed[0] * y + speed[1] * x + phase)
    return np.clip(waves + rng.normal(0, 10, shape), 0, 255).astype(np.uint8)


QUADTREE = QuadtreeConfig(
    features=8,
    latents=8,
    hyper_latents=4,
    analysis_blocks=1,
    synthesis_blocks=1,
    lambdas=(0.001, 0.01, 0.1),
)


@functools.cache
def random_quadtree_params(config: QuadtreeConfig) -> dict:
    """Random ones, drawn without compiling the initialisation of a hundred arrays."""
    shapes = jax.eval_shape(
        networks(config).init,
        jax.random.key(0),
        jnp.zeros((1, 64, 64, 3)),
        jnp.zeros(1),
    )["params"]
    draw = np.random.default_rng(0)
    flat = flax.traverse_util.flatten_dict(shapes, sep="/")

    def values(name, shape):
        if name.endswith(("after/kernel", "narrow/kernel")):
            return 0.1 * draw.normal(size=shape) / np.sqrt(shape[0])
        if name.endswith(("kernel", "depthwise")):
            return draw.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))
        if name.startswith("prior/matrix"):
            return np.full(shape, np.log(np.expm1(0.3)))
        if "gain" in name:
            return np.zeros(shape)
        return 0.1 * draw.normal(size=shape)

    drawn = {n: jnp.asarray(values(n, s.shape), jnp.float32) for n, s in flat.items()}
    return flax.traverse_util.unflatten_dict(drawn, sep="/")


def quadtree_params() -> dict:
    """Of `QUADTREE`."""
    return random_quadtree_params(QUADTREE)


@functools.cache
def quadtree_codec():
    """A codec of a few weights, with everything that a large one has."""
    return freezing.freeze(quadtree_params(), QUADTREE, "small")
