"""From the config's `optimizer` block to an Optax optimizer."""

from typing import Any

import jax
import optax
import optax.contrib


def learning_rate_schedule(config: Any, steps: int) -> optax.Schedule:
    """The learning rate as a function of the number of updates done.

    A straight line up to `learning_rate` over the first `warmup_steps` updates: update
    number k, from 0, uses (k + 1) / (warmup_steps + 1) of it, so that none is wasted on
    a rate of zero. Then half a cosine down to `learning_rate * final_fraction` at
    `steps` (constant: no change).

    Args:
      config: `learning_rate`, `warmup_steps`, `schedule` ('cosine' or 'constant'),
        `final_fraction` in [0, 1].
      steps: length of the whole run in updates.

    Raises:
      ValueError: an unknown schedule, or a warm-up that does not end before `steps`.
    """
    peak, warmup = config.learning_rate, config.warmup_steps
    if config.schedule not in ("cosine", "constant"):
        raise ValueError(
            f"optimizer.schedule is {config.schedule!r},"
            " expected 'cosine' or 'constant'"
        )
    if not 0 <= warmup < steps:
        raise ValueError(
            f"optimizer.warmup_steps is {warmup}, expected 0 <= warmup_steps < steps"
            f" = {steps}"
        )
    if not 0.0 <= config.final_fraction <= 1.0:
        raise ValueError(
            f"optimizer.final_fraction is {config.final_fraction}, expected 0..1"
        )
    if config.schedule == "cosine":
        after = optax.cosine_decay_schedule(
            peak, steps - warmup, alpha=config.final_fraction
        )
    else:
        after = optax.constant_schedule(peak)
    if warmup == 0:
        return after
    before = optax.linear_schedule(peak / (warmup + 1), peak, warmup)
    return optax.join_schedules([before, after], [warmup])


def _kernels(params: Any) -> Any:
    """True for arrays of rank 2 and above: biases and scales are not decayed."""
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def _convolutions(params: Any) -> Any:
    """Kernels (height, width, inputs, outputs) as matrices; None for all other arrays."""
    matrix = optax.contrib.MuonDimensionNumbers((0, 1, 2), 3)
    return jax.tree.map(lambda leaf: matrix if leaf.ndim == 4 else None, params)


def make(config: Any, steps: int) -> optax.GradientTransformation:
    """AdamW or Muon with clipping by the global norm, warm-up and decay.

    Args:
      config: the keys of `learning_rate_schedule`, and `clip_norm` (0 does not clip),
        `b1`, `b2`, `weight_decay` (decoupled, times the learning rate; 0 is Adam), and
        `name`: 'adam' (also where there is none) or 'muon', which moves the kernels of
        convolutions by orthogonal matrices with Adam's usual root mean square, and all
        else as Adam with Nesterov's momentum does; it decays those kernels alone.
      steps: length of the whole run in updates.

    Raises:
      ValueError: as `learning_rate_schedule`, another name, or a negative clip_norm or
        weight_decay.

    Source: Kingma & Ba 2015, https://arxiv.org/abs/1412.6980; Loshchilov & Hutter 2019,
      https://arxiv.org/abs/1711.05101; Liu et al. 2025,
      https://arxiv.org/abs/2502.16982.
    """
    for name in ("clip_norm", "weight_decay"):
        if config[name] < 0:
            raise ValueError(f"optimizer.{name} is {config[name]}, expected >= 0")
    rate = learning_rate_schedule(config, steps)
    name = config.get("name", "adam")
    if name == "adam":
        moves = optax.adamw(
            rate,
            b1=config.b1,
            b2=config.b2,
            weight_decay=config.weight_decay,
            mask=_kernels,
        )
    elif name == "muon":
        moves = optax.contrib.muon(
            rate,
            beta=0.95,
            weight_decay=config.weight_decay,
            adam_b1=config.b1,
            adam_b2=config.b2,
            muon_weight_dimension_numbers=_convolutions,
            consistent_rms=0.2,
        )
    else:
        raise ValueError(f"optimizer.name is {name!r}, expected 'adam' or 'muon'")
    if config.clip_norm == 0:
        return moves
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), moves)
