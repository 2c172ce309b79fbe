"""Training a coder of a toy source: linear, nonlinear, or vector quantisation.

    python train.py --config=configs/toy.py:ntc --workdir=runs/toy/ntc

Variants, after a colon, with commas: the coder, `ltc` (linear transform coding), `ntc`
(nonlinear) or `ecvq` (vector quantisation with entropy constraint); and a source other
than the banana, `laplace`, `sawbridge`, `sphere`, `ramp` or `sinusoid`, with what suits it.

Hardware and time: a CPU; one to two minutes of its time for the banana.
Result: `python eval.py --config=configs/eval_toy.py` trains all three and compares them.
"""

import ml_collections


def get_config(variants: str = "ntc") -> ml_collections.ConfigDict:
    """The settings; `variants` state only what differs."""
    config = ml_collections.ConfigDict()
    config.task = "toy"
    config.seed = 0
    config.steps = 240
    config.updates_per_step = 50  # of the optimizer in a step of the loop
    config.log_every = 10
    config.evaluate_every = 60
    config.checkpoint_every = 0  # only at the end
    config.keep_checkpoints = 1
    config.compile = "jit"
    config.devices = 1
    config.debug_nans = False
    config.ema_decay = 0.0

    config.source = "banana"
    config.lmbda = 8.0  # loss = rate in bits for a vector + lmbda * distortion
    config.distortion = "sum"  # of squared errors over the dimensions; or their 'mean'
    config.batch_size = 512  # fresh samples for each update
    config.validation_samples = 100_000

    config.model = ml_collections.ConfigDict()
    config.model.coder = "ntc"
    config.model.latents = 2  # ltc, ntc
    config.model.widths = (100, 100)  # ntc: hidden layers of either transform
    config.model.alpha = 3.0  # ltc, ntc: soft rounding sharpens from 0 to this
    config.model.codewords = 256  # ecvq: in the beginning

    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.learning_rate = 1e-2
    config.optimizer.warmup_steps = 0
    config.optimizer.schedule = "cosine"
    config.optimizer.final_fraction = 0.0
    config.optimizer.clip_norm = 0.0
    config.optimizer.b1 = 0.9
    config.optimizer.b2 = 0.999
    config.optimizer.weight_decay = 0.0

    for variant in filter(None, variants.split(",")):
        if variant not in VARIANTS:
            raise ValueError(
                f"configs/toy.py has no variant {variant!r}, only {sorted(VARIANTS)}"
            )
        config.update_from_flattened_dict(VARIANTS[variant])
    return config.lock()


CODERS = {
    "ltc": {
        "model.coder": "ltc",
        "steps": 400,
        "batch_size": 1024,
        # A linear transform and a small prior bear a rate that a network does not.
        "optimizer.learning_rate": 3e-2,
    },
    "ecvq": {"model.coder": "ecvq", "steps": 200, "batch_size": 1024},
    "ntc": {},
}
# Functions of time, at 1024 points.
FUNCTIONS = {
    name: {
        "source": name,
        "lmbda": 60.0,
        "distortion": "mean",
        "batch_size": 128,
        "model.latents": 10,
        "model.codewords": 50,
        "optimizer.learning_rate": 1e-2,
    }
    for name in ("sawbridge", "ramp", "sinusoid")
}
SOURCES = {
    **FUNCTIONS,
    "laplace": {
        "source": "laplace",
        "lmbda": 1.0,
        "model.latents": 1,
        "model.widths": (50, 50),
        "model.codewords": 128,
    },
    "sphere": {"source": "sphere", "model.latents": 3},
}
VARIANTS = {**CODERS, **SOURCES}
