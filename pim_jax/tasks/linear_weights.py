"""Training a metric on human judgements: weights of channels on features that stay.

The linear layers of LPIPS (Zhang et al. 2018, https://arxiv.org/abs/1801.03924), on 2AFC
judgements in the layout of BAPPS, for the features of any network: a backbone, or what
`make` is given, such as the analysis transform of a codec.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from jaxtyping import Array, PRNGKeyArray

from pim_jax.data import batching
from pim_jax.data.bapps_folder import Source
from pim_jax.evaluation import scores
from pim_jax.evaluation.distances import source_distances
from pim_jax.features import backbones, linear_weights, torchvision
from pim_jax.metric import Metric
from pim_jax.metrics import lpips
from pim_jax.ops import bounds
from pim_jax.training import checkpoint, devices, run_config
from pim_jax.training.task import (
    Batches,
    Task,
    TrainState,
    Update,
    gradient_update,
)

_ORDER = 9  # what batching's random numbers are used for
_EPOCHS = 10
# Of the published schedule: the rate falls after the sixth of ten epochs.
_RATES = (1.0,) * 6 + (0.8, 0.6, 0.4, 0.2)
_NAMES = ("reference", "image_0", "image_1")
_PAIRS = [("reference", "image_0"), ("reference", "image_1")]


class Network(NamedTuple):
    """Features that the weights belong to.

    Attributes:
      params: of the network; they are not trained.
      function: (params, images in [0, 1]) -> features by name; pure and hashable.
      channels: of each feature, in the order of the layers.
      minimum_size: of images, in pixels.
    """

    params: Any
    function: Callable[[Any, Array], Mapping[str, Array]]
    channels: Mapping[str, int]
    minimum_size: int


Networks = Mapping[str, Callable[[str, int], Network]]


class HeadsState(TrainState):
    """`TrainState` with the network that the features are of."""

    network: Any


def _lpips_network(name: str) -> Callable[[str, int], Network]:
    def load(weights: str, seed: int) -> Network:
        trunk = lpips.TRUNKS[name]
        params = (
            backbones.random_params(trunk.backbone, seed)
            if weights == "random"
            else torchvision.load(trunk.backbone, weights or None)
        )
        channels = backbones.taps(trunk.backbone)
        return Network(
            {"backbone": params},
            lpips.LpipsFunction(trunk).features,
            {layer: channels[layer] for layer in trunk.layers},
            backbones.MINIMUM_SIZE[trunk.backbone],
        )

    return load


# (weights, seed) -> features. `weights` is a path, "" for the cache or a download, or
# "random".
NETWORKS: dict[str, Callable[[str, int], Network]] = {
    "alex": _lpips_network("alex"),
    "vgg": _lpips_network("vgg"),
    "squeeze": _lpips_network("squeeze"),
}


def make(config: ml_collections.ConfigDict, networks: Networks = NETWORKS) -> Task:
    """Training of the weights of channels on 2AFC judgements.

    Args:
      config: as in `configs/lpips.py`.
      networks: what `config.network.name` may be.
    Raises: ValueError for options that do not fit, FileNotFoundError for missing data.
    """
    from pim_jax.data import bapps

    devices.check_batch_size(config.data.batch_size, config.devices)
    network = network_of(config.network, networks)
    if not 0 <= config.dropout < 1:
        raise ValueError(f"dropout is {config.dropout}, expected 0 <= dropout < 1")
    axis_name = devices.axis_name(config.compile)
    optimizer = make_optimizer(config.optimizer, config.steps)
    names = tuple(network.channels)
    train = _joined(bapps.two_afc_train(config.data.data_dir))
    held_out = {
        name: _limited(source, config.data.validation_triplets)
        for name, source in bapps.two_afc(config.data.data_dir).items()
    }
    inner = gradient_update(
        make_loss(names, config.dropout, axis_name), optimizer, 0.0, axis_name
    )

    def validation(state: HeadsState) -> Mapping[str, float]:
        weights = state.ema_params["heads"]
        return two_afc_scores(metric_of(network, state.network, weights), held_out)

    return Task(
        init=lambda key: _initial_state(key, network, optimizer),
        update=_on_features(network, inner),
        batches=_batches(train, config.data.batch_size, config.seed),
        evaluations={"validation": validation},
    )


def _initial_state(
    key: PRNGKeyArray, network: Network, optimizer: optax.GradientTransformation
) -> HeadsState:
    params = initial_params(key, network.channels)
    return HeadsState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        ema_params=params,
        opt_state=optimizer.init(params),
        network=jax.tree.map(jnp.asarray, network.params),
    )


def _on_features(network: Network, inner: Update) -> Update:
    """An update on images, from one on their features."""

    def update(
        state: HeadsState, batch: Mapping[str, Array], key: PRNGKeyArray
    ) -> tuple[HeadsState, dict[str, Any]]:
        images = jnp.concatenate([batch[name] for name in _NAMES])
        images = images.astype(jnp.float32) / 255
        found = network.function(state.network, images)
        # Of the three images of every row, in one pass.
        split = {k: jnp.split(v, 3) for k, v in found.items()}
        features = {
            name: {k: parts[i] for k, parts in split.items()}
            for i, name in enumerate(_NAMES)
        }
        return inner(state, {**features, "judge": batch["judge"]}, key)

    return update


def _batches(train: Source, batch_size: int, seed: int) -> Batches:
    """Minibatches of triplets, in an order of their own in every epoch."""

    def batches(
        process_index: int, process_count: int, start_step: int
    ) -> Iterator[dict[str, np.ndarray]]:
        rows = batching.rows_of_process(batch_size, process_index, process_count)

        def batch(step: int) -> dict[str, np.ndarray]:
            order = batching.order(len(train), batch_size, seed, _ORDER, step)
            return _stacked([train[int(order[row])] for row in rows])

        return batching.ahead(batch, start_step)

    return batches


def network_of(
    config: ml_collections.ConfigDict, networks: Networks = NETWORKS
) -> Network:
    """The features that a config asks for: `name`, `weights`, `seed`.

    Raises: ValueError for an unknown name; and as its loader.
    """
    if config.name not in networks:
        raise ValueError(
            f"network.name is {config.name!r}, expected one of {[*networks]}"
        )
    return networks[config.name](config.weights, config.seed)


def initial_params(key: PRNGKeyArray, channels: Mapping[str, int]) -> dict[str, Any]:
    """Random 'heads' >= 0, and the 'ranking' network."""
    of_heads, of_ranking = jax.random.split(key)
    return {
        "heads": linear_weights.initial(of_heads, channels),
        "ranking": linear_weights.initial_ranking(of_ranking),
    }


def make_optimizer(
    config: ml_collections.ConfigDict, steps: int
) -> optax.GradientTransformation:
    """Adam, after which negative weights of channels become 0.

    The rate is constant in the first six tenths of the run, then 0.8, 0.6, 0.4 and 0.2 of
    it, as in the published ten epochs. The ranking network is not projected.

    Args:
      config: `learning_rate`, `b1`, `b2`.
      steps: length of the run in updates.
    """

    def rate(step: Array) -> Array:
        epoch = jnp.minimum(step * _EPOCHS // steps, _EPOCHS - 1)
        return config.learning_rate * jnp.asarray(_RATES, jnp.float32)[epoch]

    def is_head(params: Any) -> Any:
        return {
            part: jax.tree.map(lambda _, part=part: part == "heads", tree)
            for part, tree in params.items()
        }

    return optax.chain(
        optax.adam(rate, b1=config.b1, b2=config.b2),
        optax.masked(optax.keep_params_nonnegative(), is_head),
    )


def make_loss(names: tuple[str, ...], dropout: float, axis_name: str | None) -> Any:
    """The loss of `gradient_update`: mean cross-entropy of the judgements.

    Args:
      names: of the layers.
      dropout: share of the squared differences that are left out.
      axis_name: the pmap axis, or None under jit.
    """

    def loss(
        params: Any, batch: Mapping[str, Any], key: PRNGKeyArray, step: Array
    ) -> tuple[Array, dict[str, Array]]:
        del step
        judge = batch["judge"]
        keys = devices.keys_of_rows(key, len(judge), axis_name)

        def distance(k: int) -> Array:
            pair = batch["reference"], batch[f"image_{k}"]
            if not dropout:
                return linear_weights.distance(*pair, params["heads"], names)
            of_pair = jax.vmap(lambda row: jax.random.fold_in(row, k))(keys)
            return linear_weights.dropped(
                *pair, params["heads"], names, of_pair, dropout
            )

        d0, d1 = distance(0), distance(1)
        logits = linear_weights.ranking_logits(params["ranking"], d0, d1)
        agree = jnp.where(d0 < d1, 1 - judge, jnp.where(d0 > d1, judge, 0.5))
        return jnp.mean(linear_weights.judgement_loss(logits, judge)), {
            "two_afc": jnp.mean(agree)
        }

    return loss


def two_afc_scores(metric: Metric, sources: Mapping[str, Source]) -> dict[str, float]:
    """The 2AFC score of each subset, and their mean, 0 to 1."""
    found = {}
    for name, source in sources.items():
        judge = [source[i]["judge"] for i in range(len(source))]
        first, second = source_distances(metric, source, _PAIRS)
        found[name] = scores.two_afc(first, second, np.array(judge))
    return {**found, "mean": float(np.mean([*found.values()]))}


@dataclasses.dataclass(frozen=True)
class HeadsFunction:
    """The distance of a `Network`; equal networks are equal functions."""

    function: Callable[[Any, Array], Mapping[str, Array]]
    names: tuple[str, ...]

    def __call__(self, params: Any, image_a: Array, image_b: Array) -> Array:
        """The distances (n,)."""
        of = functools.partial(self.function, params["network"])
        a, b = linear_weights.of_both(of, image_a, image_b)
        found = linear_weights.distance(a, b, params["heads"], self.names)
        return bounds.zero_where_equal(found, image_a, image_b)


def metric_of(network: Network, params: Any, weights: Any, name: str = "") -> Metric:
    """The distance by these parameters of the network and these weights of channels."""
    return Metric(
        params={"network": params, "heads": weights},
        function=HeadsFunction(network.function, tuple(network.channels)),
        name=name,
        minimum_size=network.minimum_size,
    )


def read(workdir: str | Path, networks: Networks = NETWORKS) -> Metric:
    """The metric that a run has trained, from its newest checkpoint.

    Raises: FileNotFoundError or ValueError, as `checkpoint.read_parameters` and the
      loader of the network.
    """
    folder = Path(workdir)
    options = json.loads((folder / run_config.FILE).read_text(encoding="utf-8"))
    network = network_of(ml_collections.ConfigDict(options["network"]), networks)
    weights = checkpoint.read_parameters(folder)["heads"]
    return metric_of(network, network.params, weights, folder.resolve().name)


class _Chosen:
    """Some examples of one or several sources, in this order."""

    def __init__(self, items: list[tuple[Source, int]]):
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        source, i = self._items[index]
        return source[i]


def _joined(sources: Mapping[str, Source]) -> Source:
    """Several sources, one after the other."""
    return _Chosen(
        [(source, i) for source in sources.values() for i in range(len(source))]
    )


def _limited(source: Source, count: int) -> Source:
    """Triplets evenly from all of a source; all of them if `count` is 0."""
    if not 0 < count < len(source):
        return source
    return _Chosen([(source, i * len(source) // count) for i in range(count)])


def _stacked(examples: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    return {
        name: np.stack([np.asarray(e[name]) for e in examples])
        for name in (*_NAMES, "judge")
    }
