"""The metrics of a comma-separated list: what evaluations are told to compare."""

from typing import NamedTuple

from pim_jax import loading
from pim_jax.metric import Metric
from pim_jax.metrics import METRICS
from pim_jax.pim import checkpoints, packaged
from pim_jax.pim.distance import PimMetric, untrained


class Named(NamedTuple):
    """A metric, what it is called in tables, and the folder it came from, if any."""

    name: str
    metric: Metric
    folder: str | None


def names_in(text: str, key: str) -> list[str]:
    """The parts of a list with commas, the value of `config.KEY`.

    Raises:
      ValueError: there is none, or one twice.
    """
    names = [part.strip() for part in text.split(",") if part.strip()]
    if not names:
        raise ValueError(f"config.{key} must name at least one, found none")
    if len(set(names)) < len(names):
        raise ValueError(f"config.{key} names one twice: {text}")
    return names


def _parts_of(text: str) -> list[str]:
    """The parts of a list of metrics, `all` replaced by what it stands for."""
    at_hand = [name for name, entry in METRICS.items() if not entry.needs_download]
    parts = []
    for part in names_in(text, "metric"):
        parts += at_hand if part == "all" else [part]
    return list(dict.fromkeys(parts))


def load_metrics(text: str) -> list[Named]:
    """The metrics of a comma-separated list.

    Each is a name in METRICS, a name with the path of its weights as NAME=PATH, or a
    checkpoint folder, which is called by its last part, or by all of it where that is
    taken. `all` stands for every metric that needs no download.

    Raises:
      ValueError: the list is empty or names one twice; and as `pim_jax.load`.
      FileNotFoundError: as `pim_jax.load`.
    """
    loaded: list[Named] = []
    for part in _parts_of(text):
        name, _, path = part.partition("=")
        if name in METRICS:
            ours = name in packaged.SHIPPED
            folder = (path or str(packaged.folder_of(name))) if ours else None
            loaded.append(Named(name, loading.load(name, path or None), folder))
            continue
        metric = loading.load(part)
        taken = metric.name in {named.name for named in loaded}
        loaded.append(Named(part if taken else metric.name, metric, part))
    return loaded


def by_name(text: str) -> dict[str, Metric]:
    """Name -> metric of a list, as `load_metrics`."""
    return {name: metric for name, metric, _ in load_metrics(text)}


def initial_seed(named: Named) -> int:
    """The seed that its training started from; 0 where that is not known."""
    return checkpoints.initial_seed(named.folder) if named.folder else 0


def untrained_twin(named: Named) -> PimMetric | None:
    """The same architecture with the weights its training began with; of PIM only."""
    if not isinstance(named.metric, PimMetric):
        return None
    return untrained(named.metric.config, initial_seed(named))


def with_untrained(metrics: list[Named], twins: bool = True) -> dict[str, Metric]:
    """Name -> metric, behind every PIM metric its `untrained_twin`."""
    found: dict[str, Metric] = {}
    for named in metrics:
        found[named.name] = named.metric
        twin = untrained_twin(named) if twins else None
        if twin is not None:
            found[f"{named.name} untrained"] = twin
    return found
