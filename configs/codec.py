"""A transform codec, trained for rate + lambda * distortion.

    python train.py --config=configs/codec.py:mbt2018-mean --workdir=runs/codec \
        --config.data.image_dir=DIR
    python train.py --config=configs/codec.py:mbt2018-mean,narrow --workdir=... ...

The argument is a model of `codec_jax.models.architectures.NAMED`, and variants. Hardware
and time: `gpu`, and then `gpu,gpu-more` with `--config.start_from=` the first run, is what
`ms128` was trained with, 125 to 150 steps a second on an H200, 22 minutes in all beside
other runs; `narrow` has half the width, for two CPU cores, about 0.3 s for a step.
`docs/results.md` records both with their results.
"""

import ml_collections

from codec_jax.models.architectures import NAMED

MODULES = (
    "analysis_transform",
    "synthesis_transform",
    "hyper_analysis_transform",
    "hyper_synthesis_transform",
    "prior",
    "log_gain",
    "log_inverse_gain",
    # Of the quadtree codec.
    "first_means",
    "scale_synthesis",
    "context",
    "prior_log_scale",
    "prior_shift",
    "log_analysis_gain",
    "log_synthesis_gain",
)


def get_config(variants: str = "") -> ml_collections.ConfigDict:
    """The settings: of one word the model, of all others what differs."""
    words = [word for word in variants.split(",") if word]
    model = next((word for word in words if word in NAMED), "mbt2018-mean")
    others = [word for word in words if word != model]
    config = ml_collections.ConfigDict()
    config.task = "codec"
    config.seed = 0
    config.steps = 500_000
    config.log_every = 100
    config.evaluate_every = 10_000
    config.checkpoint_every = 1_000
    config.keep_checkpoints = 3
    config.compile = "jit"  # over a mesh of all devices; or 'pmap'
    config.devices = 0  # all
    config.debug_nans = False
    config.ema_decay = 0.9995
    # Weights to go on from: a run's folder (averaged ones), a codec's file or name.
    config.start_from = ""

    config.model = ml_collections.ConfigDict(NAMED[model].to_dict())

    config.objective = ml_collections.ConfigDict()
    # 'mse' on the scale 0..255, or names of pim_jax.METRICS; several with commas.
    config.objective.distortion = "mse"
    config.objective.weights = (1.0,)  # of each, times lambda
    # lambda at each rate, on the scale of the distortion. Empty: its defaults in
    # codec_jax.objective for the rates of model.lambdas, which are those of 'mse'. With
    # several names they are those of 'mse' if it is among them, else of the first.
    config.objective.lambdas = ()
    # What replaces rounding: 'mixed', 'noise', 'straight_through', 'soft_round'.
    config.objective.quantization = "mixed"
    config.objective.alpha = (1.0, 16.0)  # of soft rounding, first and last step
    # The gradient of the rate as its mean over the noise, see `ops`.
    config.objective.expected_gradient = False
    config.objective.balance = 0.5  # see `objective.lagrangian`
    config.objective.lambda_warmup_steps = 0
    config.objective.lambda_start = 1.0  # factor of lambda at the first step

    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.name = "adam"  # or 'muon'
    config.optimizer.learning_rate = 3e-4
    config.optimizer.warmup_steps = 1_000
    config.optimizer.schedule = "cosine"
    config.optimizer.final_fraction = 0.01
    config.optimizer.clip_norm = 1.0
    config.optimizer.b1 = 0.9
    config.optimizer.b2 = 0.999
    config.optimizer.weight_decay = 0.0
    # Factors of the learning rate of single modules of `models.codec.Codec`, in place of
    # a second optimizer: CompressAI's trains part of the prior at ten times the rate. 0
    # freezes a module.
    config.optimizer.factors = ml_collections.ConfigDict(dict.fromkeys(MODULES, 1.0))

    config.data = ml_collections.ConfigDict()
    config.data.image_dir = ""  # folders with commas; subfolders are searched
    config.data.tfds = ""  # or the name of a tfds data set with images
    config.data.tfds_dir = ""  # where tfds keeps its data
    config.data.validation_fraction = 0.05
    config.data.crop = 256
    config.data.batch_size = 16  # over all devices of all processes
    config.data.scale = (1.0, 2.0)  # crop windows, in units of the crop
    config.data.validation_crops = 16
    config.data.validation_crop = 256

    for variant in others:
        if variant not in VARIANTS:
            raise ValueError(
                f"configs/codec.py has no variant {variant!r}, only {sorted(VARIANTS)} "
                f"and the models {[*NAMED]}"
            )
        config.update_from_flattened_dict(VARIANTS[variant])
    return config.lock()


_SIX_RATES = (0.0018, 0.0035, 0.0067, 0.0130, 0.0250, 0.0483)
VARIANTS = {
    # Two CPU cores.
    "narrow": {
        "steps": 8_500,
        "log_every": 20,
        "evaluate_every": 1_000,
        "checkpoint_every": 500,
        "ema_decay": 0.998,
        "model.filters": 64,
        "model.latents": 96,
        "model.lambdas": _SIX_RATES,
        "optimizer.name": "muon",
        "optimizer.learning_rate": 1.5e-3,
        "optimizer.warmup_steps": 100,
        "optimizer.factors.prior": 3.0,
        # Few large crops: hyper latents of small ones lie at edges, and what is learned
        # there fails inside of images.
        "data.batch_size": 2,
    },
    # One GPU, with a loss for six rates; docs/results.md has the run.
    "gpu": {
        "steps": 45_000,
        "evaluate_every": 5_000,
        "ema_decay": 0.999,
        "model.lambdas": _SIX_RATES,
        "optimizer.name": "muon",
        "optimizer.learning_rate": 1.5e-3,
        "optimizer.warmup_steps": 500,
        "optimizer.factors.prior": 3.0,
        "data.batch_size": 8,
    },
    # After `gpu`: its averaged weights, and the learning rate up again.
    "gpu-more": {"steps": 60_000, "optimizer.learning_rate": 1e-3},
}
