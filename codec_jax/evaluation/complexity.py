"""How much a model computes: parameters, and multiplications counted in its program."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib.figure
import numpy as np
from jax.extend import core

from codec_jax.evaluation import bjontegaard
from codec_jax.evaluation.curves import Published
from codec_jax.models import architectures
from codec_jax.models.architectures import Architecture
from codec_jax.models.codec import Codec
from pim_jax.evaluation.tables import Score, Table

# How files of published curves call these architectures, and the anchor.
_PUBLISHED = {
    "bls2017": "Ballé 2017 (ICLR, opt. MSE)",
    "bmshj2018-hyperprior": "Ballé 2018 (ICLR, opt. MSE)",
    "mbt2018-mean": "Minnen 2018 (NeurIPS - No Context)",
}
_ANCHOR = "JPEG (4:2:0)"
_PUBLISHED_RATE = "published BD-rate"  # a column


class Products(NamedTuple):
    """Multiply-accumulates of a program.

    Attributes:
      useful: with operands that are data or the zeros around an image.
      zeros: with zeros that a transposed convolution inserts between samples; it depends
        on the compiler whether they are computed.
    """

    useful: int
    zeros: int


def macs(function: Callable[..., Any], *args: Any) -> int:
    """Multiply-accumulates of convolutions and matrix products of a call; 1 is 2 FLOPs.

    The function is traced, never run, so arguments may be `jax.ShapeDtypeStruct`. As
    others count: zeros around an image are multiplied, those that a transposed
    convolution inserts between samples are not (see `products`), and additions,
    activations and coding are free.

    Raises:
      ValueError: a loop whose number of turns depends on values.
    """
    return products(function, *args).useful


def products(function: Callable[..., Any], *args: Any) -> Products:
    """`macs`, and apart from them the multiplications with inserted zeros."""
    return _of_jaxpr(jax.make_jaxpr(function)(*args).jaxpr)


def _total(several: Iterable[Products], repeats: int = 1) -> Products:
    listed = list(several)
    return Products(
        repeats * sum(one.useful for one in listed),
        repeats * sum(one.zeros for one in listed),
    )


def _of_jaxpr(jaxpr: core.Jaxpr) -> Products:
    return _total(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation: core.JaxprEqn) -> Products:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        return _of_dot(equation)
    if name == "conv_general_dilated":
        return _of_convolution(equation)
    inner = [_of_jaxpr(jaxpr) for jaxpr in _jaxprs_in(params)]
    if name == "cond":
        return max(inner)
    if name == "while" and any(found.useful for found in inner):
        raise ValueError("a while loop multiplies: its number of turns is not known")
    return _total(inner, params["length"] if name == "scan" else 1)


def _jaxprs_in(params: Mapping[str, Any]) -> Iterator[core.Jaxpr]:
    """Programs that a call, loop or branch contains."""
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, core.ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, core.Jaxpr):
                yield item


def _shape(variable: Any) -> tuple[int, ...]:
    return variable.aval.shape


def _of_dot(equation: core.JaxprEqn) -> Products:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = _shape(equation.invars[0])
    depth = math.prod(left[axis] for axis in contracted)
    return Products(math.prod(_shape(equation.outvars[0])) * depth, 0)


def _of_convolution(equation: core.JaxprEqn) -> Products:
    params = equation.params
    numbers = params["dimension_numbers"]
    right = _shape(equation.invars[1])
    out = _shape(equation.outvars[0])
    # Of the kernel: outputs, inputs of a group, then space.
    inputs, *taps = (right[axis] for axis in numbers.rhs_spec[1:])
    batch, features, *sizes = (out[axis] for axis in numbers.out_spec)
    channels = batch * features * inputs
    every = channels * math.prod(sizes) * math.prod(taps)
    useful = channels * math.prod(
        _pairs(*each)
        for each in zip(
            sizes,
            taps,
            params["window_strides"],
            params["padding"],
            params["lhs_dilation"],
            params["rhs_dilation"],
            strict=True,
        )
    )
    return Products(useful, every - useful)


def _pairs(
    size: int,
    taps: int,
    stride: int,
    padding: tuple[int, int],
    inserted: int,
    spacing: int,
) -> int:
    """Pairs of an output sample and a tap that do not meet on an inserted zero."""
    place = np.arange(size)[:, None] * stride + np.arange(taps) * spacing - padding[0]
    return int(np.sum(place % inserted == 0))


def parameters(variables: Any) -> int:
    """How many numbers a pytree of arrays, or of their shapes, holds."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables))


class Complexity(NamedTuple):
    """Of a codec; multiply-accumulates are per pixel of the image."""

    parameters: int
    encoder: float
    decoder: float


def of_codec(codec: Codec) -> Complexity:
    """Parameters, and multiply-accumulates per pixel of both directions, without coding.

    The encoder's include all that the decoder computes of the side information, which it
    needs as well. Measured on a square image of eight by eight latents.
    """
    side = 8 * codec.stride
    image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    rate = jax.ShapeDtypeStruct((1,), jnp.float32)
    variables = jax.eval_shape(codec.init, jax.random.key(0), image, rate)

    def through(module: nn.Module, method: str, *args: Any) -> tuple[int, Any]:
        def apply(variables: Any, *args: Any) -> Any:
            return module.apply(variables, *args, method=method)

        return macs(apply, variables, *args), jax.eval_shape(apply, variables, *args)

    analysis, y = through(codec, "analysis", image, rate)
    synthesis, _ = through(codec, "synthesis", y, rate)
    latent_codec = codec.latent_codec
    hyper_analysis, z = through(latent_codec, "hyper_analysis", y)
    prediction, _ = through(latent_codec, "predicted", z, y)
    return Complexity(
        parameters(variables),
        (analysis + hyper_analysis + prediction) / side**2,
        (synthesis + prediction) / side**2,
    )


def bd_rates(published: Sequence[Published]) -> dict[str, float]:
    """Of published PSNR curves of the architectures against JPEG's, in per cent.

    Raises:
      ValueError: JPEG's is not among them.
    """
    curves = {one.name: one.curve for one in published if one.measure == "psnr"}
    if _ANCHOR not in curves:
        raise ValueError(f"no published PSNR curve of {_ANCHOR!r}, only {[*curves]}")
    return {
        model: bjontegaard.bd_rate(curves[_ANCHOR], curves[name])
        for model, name in _PUBLISHED.items()
        if name in curves
    }


def picture(shown: Table) -> matplotlib.figure.Figure:
    """What fewer bits cost: BD-rate over multiply-accumulates to decode a pixel.

    Args:
      shown: of `table`, with rates.
    """
    drawn = matplotlib.figure.Figure(figsize=(6, 4), layout="constrained")
    axis = drawn.subplots()
    for model, scores in shown.rows.items():
        if _PUBLISHED_RATE in scores:
            place = scores["decoder"].value, 100 * scores[_PUBLISHED_RATE].value
            axis.plot(*place, "o")
            axis.annotate(model, place, (6, 4), textcoords="offset points", fontsize=8)
    axis.set_xscale("log")
    axis.set_xlim(3, 300)
    axis.set_xlabel("decoder, kMAC per pixel")
    axis.set_ylabel("published BD-rate against JPEG, PSNR (%)")
    axis.grid(alpha=0.3, which="both")
    return drawn


def table(
    models: Mapping[str, Architecture],
    rates: Mapping[str, float] | None = None,
) -> Table:
    """Parameters and thousands of multiply-accumulates per pixel of architectures.

    Args:
      models: by name.
      rates: of `bd_rates`, for a column of their own.
    """
    columns = {"parameters": "M", "encoder": "kMAC/px", "decoder": "kMAC/px"}
    rows = {}
    for name, config in models.items():
        found = of_codec(architectures.networks(config))
        values = (found.parameters / 1e6, found.encoder / 1e3, found.decoder / 1e3)
        rows[name] = {
            column: Score(value) for column, value in zip(columns, values, strict=True)
        }
    notes = [
        "Convolutions and matrix products, GDN's included; 1 MAC is 2 FLOPs.",
        "Without entropy coding. The encoder's include the hyper-synthesis.",
    ]
    if rates is not None:
        columns[_PUBLISHED_RATE] = "%"
        for name in rows.keys() & rates.keys():
            rows[name][_PUBLISHED_RATE] = Score(rates[name] / 100)
        notes.append(
            f"BD-rate of published PSNR curves against {_ANCHOR}'s; for their high rates "
            "the authors took more filters than are counted here."
        )
    return Table("Complexity", columns, rows, notes, drawn=False)
