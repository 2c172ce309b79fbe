"""Coders of a toy source, trained and compared: slide 13 of the DCC 2023 talk.

    python eval.py --config=configs/eval_toy.py
    python eval.py --config=configs/eval_toy.py:sawbridge

The argument is a source as in `configs/toy.py`, by default the banana. Trains each of
`coders` with each of `seeds` into OUT/CODER-SEED; what is trained already is only scored.
Any setting of a training can be set: --config.coders.ntc.steps=480.

Hardware and time: 12 minutes of CPU time for the banana, 2.5 a seed for the sawbridge.
Result: a table of R, D and R + lambda D in OUT/toy.{json,csv,png}, and OUT/cells.png.
"""

import ml_collections

from configs import toy


def get_config(source: str = "") -> ml_collections.ConfigDict:
    """The settings for a source; '' is the banana."""
    if source and source not in toy.SOURCES:
        raise ValueError(
            f"configs/eval_toy.py has no variant {source!r}, only {sorted(toy.SOURCES)}"
        )
    config = ml_collections.ConfigDict()
    config.evaluation = "toy"
    config.out = f"runs/toy-{source}" if source else "runs/toy"
    config.seeds = (0, 1, 2)
    config.samples = 200_000 if source in toy.FUNCTIONS else 10_000_000
    config.coders = ml_collections.ConfigDict()
    for coder in toy.CODERS:
        config.coders[coder] = toy.get_config(f"{coder},{source}")
    return config.lock()
