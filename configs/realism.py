"""Realism as a divergence between sets of images, on the latents of PIM and on pixels.

    python eval.py --config=configs/realism.py --config.metric=untrained,runs/pim
    python eval.py --config=configs/realism.py:demo

Divergences between photographs and distorted photographs, as sets, and what they do with
distortions, with other pairs and with other samples of a texture
(`pim_jax/evaluation/realism.py`, `pim_jax/evaluation/realism_checks.py`).

Hardware and time, two CPU cores: three minutes for `pim-1-small`; longer for the full
width, which was not measured. Result: tables, OUT/realism.{json,csv}, and curves over the
strengths (OUT/curves.png). Measures of sets do not know pairs: permuted:paired is near 1,
where squared error has far more.
"""

import ml_collections


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """The settings; the variant `demo` measures less, with a narrow untrained PIM."""
    if variant not in ("", "demo"):
        raise ValueError(f"configs/realism.py has no variant {variant!r}, only 'demo'")
    config = ml_collections.ConfigDict()
    config.evaluation = "realism"
    # Folders or names of PIM metrics, or `untrained`, with commas.
    config.metric = "untrained"
    config.untrained_filters = (64, 64, 64, 3)  # of the metric `untrained`
    config.images_dir = ""  # empty: photographs inside scikit-image
    config.images = 48  # crops in each of two sets, an even number
    config.texture_images = 24  # crops in each of two sets of a texture, even as well
    config.side = 64  # pixels of a crop
    config.points = 1536  # of each set and level, for densities and the MMD
    config.sigmas = (0.0, 4.0, 16.0)  # pixels, of the Wasserstein distortion
    config.batch_size = 16
    config.seed = 0
    config.out = "runs/realism"
    if variant == "demo":
        config.untrained_filters = (16, 3)
        config.images = 16
        config.texture_images = 8
        config.points = 512
    return config.lock()
