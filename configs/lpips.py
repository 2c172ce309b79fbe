"""Training a metric on 2AFC judgements: the weights of channels in LPIPS.

    python train.py --config=configs/lpips.py --workdir=runs/lpips \
        --config.data.data_dir=DIR                 # BAPPS, or any set in its layout
    python train.py --config=configs/lpips.py:vgg --workdir=runs/lpips-vgg

Variants, after a colon, with commas: `vgg` and `squeeze` (another backbone than AlexNet),
`codec` (the analysis transform of the codec that ships with this package), `demo` (few
steps on a small set, with a random backbone).

Hardware and time: BAPPS has 151,400 triplets for training (5.3 GB), and ten epochs are
30,280 steps of 50; it has not been run here. `demo`: minutes on two CPU cores.
Result: a 2AFC score near 70 % for the published recipe; 
`pim_jax.tasks.linear_weights.read` gives the metric.
"""

import ml_collections


def get_config(variants: str = "") -> ml_collections.ConfigDict:
    """The settings; `variants` state only what differs."""
    config = ml_collections.ConfigDict()
    config.task = "heads"
    config.seed = 0
    config.steps = 30_280  # ten epochs; the rate falls in the last four
    config.log_every = 100
    config.evaluate_every = 3_028
    config.checkpoint_every = 3_028
    config.keep_checkpoints = 2
    config.compile = "jit"  # over a mesh of all devices; or 'pmap'
    config.devices = 0  # all
    config.debug_nans = False
    config.dropout = 0.5  # of squared differences

    config.network = ml_collections.ConfigDict()
    config.network.name = "alex"  # or 'vgg', 'squeeze', 'codec'
    config.network.weights = ""  # cache or download; or a file, or 'random'
    config.network.seed = 0  # of random weights

    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.learning_rate = 1e-4
    config.optimizer.b1 = 0.5
    config.optimizer.b2 = 0.999

    config.data = ml_collections.ConfigDict()
    config.data.data_dir = ""  # empty: downloaded by tensorflow-datasets
    config.data.batch_size = 50  # triplets, over all devices of all processes
    config.data.validation_triplets = 500  # of each subset; 0 for all

    for variant in filter(None, variants.split(",")):
        if variant not in VARIANTS:
            raise ValueError(
                f"configs/lpips.py has no variant {variant!r}, only {sorted(VARIANTS)}"
            )
        config.update_from_flattened_dict(VARIANTS[variant])
    return config.lock()


VARIANTS = {
    "vgg": {"network.name": "vgg"},
    "squeeze": {"network.name": "squeeze"},
    "codec": {"network.name": "codec"},
    "demo": {
        "steps": 200,
        "log_every": 10,
        "evaluate_every": 100,
        "checkpoint_every": 100,
        "network.name": "squeeze",
        "network.weights": "random",
        "optimizer.learning_rate": 3e-3,
        "data.batch_size": 10,
    },
}
