"""PIM in the table METRICS: the weights of this project, and the released ones."""

import functools

from pim_jax.metrics.entry import Entry
from pim_jax.pim import packaged, published

_LEAST = 8  # pixels, which the pyramid of each of them needs


ENTRIES = (
    Entry(
        "pim-1",
        packaged.load_pim_1,
        "PIM, one Gaussian (Bhardwaj 2020), trained by this project",
        minimum_size=_LEAST,
        version="1dc253e7",
    ),
    Entry(
        "pim-5",
        packaged.load_pim_5,
        "PIM, five Gaussians (Bhardwaj 2020), trained by this project",
        minimum_size=_LEAST,
        version="c1263241",
    ),
    Entry(
        "pim-1-small",
        packaged.load_pim_1_small,
        "PIM-1 at a quarter of its width, trained by this project",
        minimum_size=_LEAST,
        version="db6b8a37",
    ),
    Entry(
        "pim-1-published",
        published.load_pim_1,
        "PIM, one Gaussian (Bhardwaj 2020), released weights",
        minimum_size=_LEAST,
        version="published",
        is_cached=functools.partial(published.is_cached, "pim-1-published"),
    ),
    Entry(
        "pim-5-published",
        published.load_pim_5,
        "PIM, five Gaussians (Bhardwaj 2020), released weights",
        minimum_size=_LEAST,
        version="published",
        is_cached=functools.partial(published.is_cached, "pim-5-published"),
    ),
)
