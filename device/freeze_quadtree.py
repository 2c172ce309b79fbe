"""Makes a codec of weights that `train_quadtree.py` has written.

python device/freeze_quadtree.py --weights OUT --name qt256 --out qt256.npz
"""

import argparse
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp

sys.path.insert(0, str(Path(__file__).resolve().parent))

from train_quadtree import restore

from codec_jax import freezing, loading
from codec_jax.models.architectures import networks
from codec_jax.models.quadtree import QuadtreeConfig


def main():
    """Reads weights and configuration, writes the codec."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    values = json.loads((options.weights / "config.json").read_text())
    config = QuadtreeConfig.from_dict(values)
    example = jnp.zeros((1, 64, 64, 3)), jnp.zeros(1)
    shapes = jax.eval_shape(networks(config).init, jax.random.key(0), *example)
    params = restore(options.weights, shapes["params"])
    codec = freezing.freeze(params, config, options.name)
    loading.save(codec, options.out, {"config": values})
    print(options.out, options.out.stat().st_size, "bytes", codec.fingerprint.hex())


if __name__ == "__main__":
    main()
