"""The search for a rate: on curves that rise, and on those that do not."""

import numpy as np

from codec_jax.inference import target_rate


def test_grids():
    assert target_rate.grid(512, 256, 0) == (0, 256, 512)
    assert target_rate.grid(512, 256, 5) == (0, 128, 256, 384, 512)
    assert target_rate.grid(512, 256, 8) == (0, 128, 256, 384, 512)
    assert target_rate.grid(512, 256, 10**6) == tuple(range(513))
    assert target_rate.grid(0, 256, 4) == (0,)


def test_rising_curves_give_the_very_step():
    rng = np.random.default_rng(0)
    for _ in range(50):
        quality = np.cumsum(rng.integers(1, 9, 513))
        target = rng.integers(quality[0], quality[-1])
        steps = target_rate.grid(512, 256, int(rng.integers(1, 40)))
        above, below = quality >= target, quality <= target
        at_least = target_rate.first_that_holds(above.__getitem__, steps)
        assert at_least == np.flatnonzero(above)[0]
        at_most = target_rate.first_that_holds(below.__getitem__, steps[::-1])
        assert at_most == np.flatnonzero(below)[-1]


def test_curves_that_fall_again():
    """What is reached in the middle alone is found, by the fine grid at the latest."""
    quality = 40 - np.abs(np.arange(513) - 140) / 100

    def holds(step):
        return quality[step] >= 39.9

    coarse, fine = (target_rate.grid(512, 256, n) for n in (3, 33))
    assert target_rate.first_that_holds(holds, coarse) is None
    found = target_rate.best_of(holds, coarse, fine)
    assert holds(found)
    assert not holds(found - 1)
    assert target_rate.best_of(lambda step: False, coarse, fine) is None
