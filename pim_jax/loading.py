"""From a name or a folder to a metric."""

import difflib
from pathlib import Path

from pim_jax.metric import Metric
from pim_jax.metrics import METRICS
from pim_jax.pim import checkpoints
from pim_jax.pim.distance import pim_metric


class UnknownMetricError(ValueError, FileNotFoundError):
    """Neither the name of a metric nor an existing folder."""


def load(name_or_folder: str | Path, weights: str | Path | None = None) -> Metric:
    """The metric of that name, or of the weights in that folder.

    Args:
      name_or_folder: a name in METRICS, else a folder of one of the kinds of
        `pim.checkpoints` (write ./NAME for a folder that has the name of a metric). Of a
        training run the averaged weights of the newest checkpoint are taken.
      weights: for names: a file or folder to take the weights from, in place of the
        packaged or cached ones.

    Raises:
      UnknownMetricError (a ValueError and a FileNotFoundError): there is neither.
      FileNotFoundError: files are missing, or weights cannot be downloaded.
      ValueError: the weights do not fit the architecture in config.json (the message
        names the parameter and both shapes), or a file is damaged.
    """
    if isinstance(name_or_folder, str) and name_or_folder in METRICS:
        return METRICS[name_or_folder](weights)
    folder = Path(name_or_folder)
    if not folder.exists():
        raise UnknownMetricError(_unknown(str(name_or_folder)))
    if weights is not None:
        raise ValueError(
            f"weights={str(weights)!r} goes with the name of a metric, found the folder "
            f"{str(folder)!r}; load the weights' own folder"
        )
    params, config = checkpoints.read(folder)
    return pim_metric(params, config, folder.resolve().name)


def _unknown(name: str) -> str:
    # All names are in lower case.
    close = difflib.get_close_matches(name.lower(), METRICS, n=1)
    return (
        f"{name!r} is neither a metric nor a folder"
        + (f"; did you mean {close[0]!r}?" if close else ";")
        + f" Known metrics: {', '.join(METRICS)}"
    )
