"""A contrastive task of a few hundred weights; as a script, a run of it.

Its loss compares each row with all rows of the global batch and draws noise for it, so it
goes wrong wherever devices, processes or restarts do not share batch and randomness.
"""

import argparse
import functools
import json
import signal
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from pim_jax.training import devices, loop, optimizer
from pim_jax.training.task import Task, gradient_update, initial_state

jax.config.update("jax_threefry_partitionable", True)

WIDTH, BATCH = 8, 16


def get_config(**changes):
    config = ConfigDict(
        {
            "seed": 3,
            "steps": 5,
            "log_every": 2,
            "evaluate_every": 0,
            "checkpoint_every": 0,
            "keep_checkpoints": 3,
            "compile": "jit",
            "devices": 1,
            "debug_nans": False,
            "ema_decay": 0.9,
            "model": {"hidden": 12, "activation": "tanh"},
            "optimizer": {
                "learning_rate": 0.05,
                "warmup_steps": 1,
                "schedule": "cosine",
                "final_fraction": 0.1,
                "clip_norm": 1.0,
                "b1": 0.9,
                "b2": 0.999,
                "weight_decay": 0.01,
            },
        }
    )
    with config.unlocked():
        config.update(changes)
    return config.lock()


def _batch(step):
    return np.random.default_rng((7, step)).normal(size=(BATCH, WIDTH))


@functools.cache  # the same functions again need not be compiled again
def _functions(config_json):
    """(init, update) of the task."""
    config = ConfigDict(json.loads(config_json))
    optimizer_ = optimizer.make(config.optimizer, config.steps)
    axis_name = devices.axis_name(config.compile)

    def init(key):
        first, second = jax.random.split(key)
        hidden = config.model.hidden
        params = {
            "in": {
                "kernel": jax.random.normal(first, (WIDTH, hidden)) / WIDTH**0.5,
                "bias": jnp.zeros((hidden,)),
            },
            "out": {"kernel": jax.random.normal(second, (hidden, 4)) / hidden**0.5},
        }
        return initial_state(params, optimizer_)

    def embed(params, x):
        hidden = jnp.tanh(x @ params["in"]["kernel"] + params["in"]["bias"][None])
        return hidden @ params["out"]["kernel"]

    def loss(params, batch, key, step):
        noise = 0.1 * jax.random.normal(key, (BATCH, WIDTH))
        x = batch["x"]
        a = embed(params, x)
        b = embed(params, x + devices.local_part(noise, axis_name))
        everyone = devices.gather(b, axis_name)
        scores = -jnp.sum(jnp.square(a[:, None] - everyone[None, :]), -1)
        own = -jnp.sum(jnp.square(a - b), -1)
        value = jnp.mean(jax.nn.logsumexp(scores, 1) - own)
        return value, {"own": jnp.mean(own)}

    return init, gradient_update(loss, optimizer_, config.ema_decay, axis_name)


def make(config, bad_step=None, seconds_per_batch=0.0, batches=None):
    """The task; its batch number `bad_step` (from 0) holds a NaN."""
    keys = ("model", "optimizer", "steps", "ema_decay", "compile")
    used = {key: config.to_dict()[key] for key in keys}
    init, update = _functions(json.dumps(used))

    def stream(process_index, process_count, start_step):
        rows = BATCH // process_count
        step = start_step
        while batches is None or step < batches:
            time.sleep(seconds_per_batch)
            x = _batch(step).astype(np.float32)
            if step == bad_step:
                x[0, 0] = np.nan
            yield {"x": x[process_index * rows : (process_index + 1) * rows]}
            step += 1

    def norm(state):
        leaves = jax.tree.leaves(state.ema_params)
        return {"norm": sum(float(jnp.sum(leaf**2)) for leaf in leaves)}

    def kernel(state):
        values = np.asarray(state.params["in"]["kernel"])
        grey = np.clip(128 + 64 * values, 0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, -1)

    return Task(
        init=init,
        update=update,
        batches=stream,
        evaluations={"weights": norm},
        pictures={"kernel": kernel},
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--config", type=json.loads, default={})
    parser.add_argument("--seconds_per_batch", type=float, default=0.0)
    parser.add_argument("--coordinator")
    parser.add_argument("--processes", type=int)
    parser.add_argument("--process", type=int)
    parser.add_argument("--result", type=Path, help="where to save the parameters")
    options = parser.parse_args()
    devices.start(options.coordinator, options.processes, options.process)
    config = get_config(**options.config)
    task = make(config, seconds_per_batch=options.seconds_per_batch)
    state = loop.train(task, config, options.workdir)
    if options.result:
        leaves = jax.tree.leaves(jax.device_get(state))
        np.savez(options.result, *leaves)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


if __name__ == "__main__":
    main()
