"""A hyper-synthesis of integers: every device computes the same scales.

The scale of a latent selects the table that codes it. If sender and receiver disagree
about one, everything after it is decoded wrongly, and two devices, or two batch sizes, do
disagree about the last bits of a floating point sum. So kernels here are integers of 8
bits, activations integers of 0..255, and what a layer sums stays below 2^24 in magnitude,
whatever the input: sums of such integers are exact in float32, in any order. Divisors are
powers of two, so that divisions are exact as well.

After Ballé, Johnston & Minnen 2019, "Integer networks for data compression with latent-
variable models" (https://openreview.net/forum?id=S1zz2i0cY7), who learn divisors; the
bound on the sums, which lets the fast matrix products of any device be used, is ours.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from codec_jax import layers, ops
from codec_jax.entropy import gaussian_conditional
from pim_jax.ops.fast_cpu import strided

# Hyper latents beyond this are coded, but clipped where scales are predicted from them.
LARGEST_INPUT = 127
LARGEST_ACTIVATION = 255
_LARGEST_WEIGHT = 127
_LARGEST_SUM = 2**24 - 1
_LARGEST_SHIFT = 20
# Start: hyper latents of about 1 become activations of some tens, and these indexes.
_GAINS = (32.0, 1.0, 1 / 16)
_HIDDEN_BIAS = 32.0
FIRST_INDEX = 18.0  # a scale of 1


class Layer(NamedTuple):
    """Integers of one layer: (sum of kernel * input + bias) / 2^shift.

    Attributes:
      kernel: int8 (k, k, inputs, outputs).
      bias: int32 (outputs,).
      shift: int32 (outputs,), 0 to 20.
    """

    kernel: Int[np.ndarray, "k k i o"]
    bias: Int[np.ndarray, " o"]
    shift: Int[np.ndarray, " o"]


def _shift(
    kernel: Float[Array, "k k i o"], bias: Float[Array, " o"], largest: int
) -> Float[Array, " o"]:
    """The largest shift for which weights fit 8 bits and sums 24, whatever the input."""
    weight = jnp.max(jnp.abs(kernel), (0, 1, 2))
    # Rounding may add 1/2 to each weight and to the bias.
    total = largest * jnp.sum(jnp.abs(kernel), (0, 1, 2)) + jnp.abs(bias)
    slack = largest * (kernel[..., 0].size / 2) + 1
    fits = jnp.minimum(
        _LARGEST_WEIGHT / jnp.maximum(weight, 1e-12),
        (_LARGEST_SUM - slack) / jnp.maximum(total, 1e-12),
    )
    return jnp.clip(jnp.floor(jnp.log2(fits)), 0, _LARGEST_SHIFT)


class IntegerConv(nn.Module):
    """A layer as it is trained: integers in the forward pass, floats behind them.

    Attributes:
      features: outputs.
      size, stride: of a convolution upwards.
      largest: bound on the magnitude of the inputs.
      gain: factor of the kernel, so that one learning rate suits all layers.
      offset: of the bias.
    """

    features: int
    size: int
    stride: int
    largest: int
    gain: float
    offset: float

    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n h2 w2 o"]:
        """The sums, still with fractions."""
        kernel, bias = self.weights(x.shape[-1])
        step = 2.0 ** -jax.lax.stop_gradient(_shift(kernel, bias, self.largest))
        steps = ops.aligned(step, kernel)
        kernel = ops.round_straight_through(kernel / steps) * steps
        bias = ops.round_straight_through(bias / step) * step
        y = strided.conv_transpose(x, kernel, self.stride)
        return y + ops.aligned(bias, y)

    @nn.compact
    def weights(self, inputs: int) -> tuple[Array, Array]:
        """Kernel and bias before they are rounded."""
        taps = self.size**2 * inputs / self.stride**2
        shape = (self.size, self.size, inputs, self.features)
        kernel = self.param(
            "kernel", nn.initializers.normal(1 / np.sqrt(taps)), shape, jnp.float32
        )
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        return kernel * self.gain, bias + self.offset


class IntegerHyperSynthesis(nn.Module):
    """Hyper latents to the parameters of the latents' distributions.

    Attributes:
      latents: channels of the latents.
      means: whether means are predicted as well.
    """

    latents: int
    means: bool

    stride = 4
    margin = layers.reach_up(((5, 2), (5, 2), (3, 1)))

    def setup(self) -> None:
        """Three layers, upwards by 2, 2 and 1."""
        m = self.latents
        widths = (m, 3 * m // 2, 2 * m if self.means else m)
        limits = (LARGEST_INPUT, LARGEST_ACTIVATION, LARGEST_ACTIVATION)
        offsets = (_HIDDEN_BIAS, _HIDDEN_BIAS, 0.0)
        self.convs = [
            IntegerConv(width, size, stride, limit, gain, offset)
            for width, size, stride, limit, gain, offset in zip(
                widths, (5, 5, 3), (2, 2, 1), limits, _GAINS, offsets, strict=True
            )
        ]

    def __call__(
        self, z: Float[Array, "n h w c"], cells: None = None
    ) -> tuple[Float[Array, "n 4*h 4*w m"], Float[Array, "n 4*h 4*w m"]]:
        """Indexes of scales, integers 0..63, and means; both with useful gradients.

        Args:
          z: integers.
          cells: none: files are coded by `coded`.
        """
        assert cells is None
        h = ops.upper_bound(ops.lower_bound(z, -LARGEST_INPUT), LARGEST_INPUT)
        for conv in self.convs[:-1]:
            h = ops.lower_bound(conv(h), 0)
            # Halves up, as integers are shifted.
            h = ops.upper_bound(_round_half_up(h), LARGEST_ACTIVATION)
        out = self.convs[-1](h)
        index = _round_half_up(out[..., : self.latents] + FIRST_INDEX)
        index = ops.upper_bound(
            ops.lower_bound(index, 0), gaussian_conditional.COUNT - 1
        )
        means = out[..., self.latents :] if self.means else jnp.zeros_like(index)
        return index, means

    @nn.nowrap
    def coded(
        self,
        frozen: Sequence[Layer],
        z: Int[Array, "n h w c"],
        cells: layers.Cells | None = None,
    ) -> tuple[Int[Array, "n 4*h 4*w m"], Float[Array, "n 4*h 4*w m"]]:
        """Rows of tables, and means, by exact arithmetic: see `parameters`."""
        return parameters(z.astype(jnp.int32), list(frozen), self.latents, cells)

    @nn.nowrap
    def freeze(self, params: Any) -> tuple[Layer, ...]:
        """The integers of trained weights; see the function of that name."""
        return tuple(freeze(params, self))

    @nn.nowrap
    def thaw(self, frozen: Sequence[Layer]) -> dict[str, dict[str, np.ndarray]]:
        """Parameters with the values of these integers."""
        return thaw(frozen, self)

    @nn.nowrap
    def check(self, frozen: Sequence[Layer], inputs: int) -> None:
        """Raises ValueError for integers of another network, or inexact ones.

        Args:
          frozen: the layers.
          inputs: channels of the hyper latents.
        """
        check(list(frozen))
        expected = [inputs, *widths(self)]
        kernels = [layer.kernel.shape[2:] for layer in frozen]
        if kernels != list(itertools.pairwise(expected)):
            raise ValueError(f"layers: expected the widths {expected}, found {kernels}")


def _round_half_up(x: Array) -> Array:
    return x + jax.lax.stop_gradient(jnp.floor(x + 0.5) - x)


def freeze(params: Any, model: IntegerHyperSynthesis) -> list[Layer]:
    """The integers of trained weights: once, after training.

    Args:
      params: of `model`.
      model: the architecture.

    Raises:
      ValueError: weights are not finite, or too large for the integers.
    """
    inputs = params["convs_0"]["kernel"].shape[2]
    bound = model.bind({"params": jax.tree.map(jnp.asarray, params)})
    frozen = []
    for number, conv in enumerate(bound.convs):
        kernel, bias = conv.weights(inputs)
        what = f"layer {number} of the integer network"
        if not (jnp.isfinite(kernel).all() and jnp.isfinite(bias).all()):
            raise ValueError(f"{what} has weights that are not finite")
        shift = np.asarray(_shift(kernel, bias, conv.largest)).astype(np.int32)
        steps = 2.0**shift
        frozen.append(
            Layer(
                _integers(np.asarray(kernel) * steps, np.int8, _LARGEST_WEIGHT, what),
                _integers(np.asarray(bias) * steps, np.int32, _LARGEST_SUM, what),
                shift,
            )
        )
        inputs = conv.features
    check(frozen)
    return frozen


def read(arrays: Mapping[str, np.ndarray]) -> tuple[Layer, ...]:
    """Layers of arrays named '0/kernel', '0/bias', '0/shift', '1/kernel' and so on.

    Raises:
      ValueError: some are missing, or there are others.
    """
    count = len({name.split("/")[0] for name in arrays})
    names = [f"{number}/{field}" for number in range(count) for field in Layer._fields]
    if sorted(arrays) != sorted(names):
        raise ValueError(f"layers: expected {names}, found {sorted(arrays)}")
    return tuple(
        Layer(*(arrays[f"{number}/{field}"] for field in Layer._fields))
        for number in range(count)
    )


def widths(model: IntegerHyperSynthesis) -> tuple[int, ...]:
    """Outputs of each layer."""
    return tuple(conv.features for conv in model.bind({}).convs)


def thaw(
    frozen: Sequence[Layer], model: IntegerHyperSynthesis
) -> dict[str, dict[str, np.ndarray]]:
    """Parameters with the values of these integers: to train them further.

    Args:
      frozen: the layers.
      model: the architecture that they have.
    """
    params = {}
    for number, (layer, conv) in enumerate(
        zip(frozen, model.bind({}).convs, strict=True)
    ):
        step = np.float32(2.0) ** -layer.shift
        params[f"convs_{number}"] = {
            "kernel": np.asarray(layer.kernel * step / conv.gain, np.float32),
            "bias": np.asarray(layer.bias * step - conv.offset, np.float32),
        }
    return params


def _integers(
    values: Float[np.ndarray, "*s"], dtype: Any, largest: int, what: str
) -> Int[np.ndarray, "*s"]:
    rounded = np.rint(values)
    if np.abs(rounded).max() > largest:
        raise ValueError(
            f"{what} has weights too large for its integers: "
            f"{np.abs(rounded).max():g}, expected {largest} at most"
        )
    return rounded.astype(dtype)


def check(frozen: list[Layer]) -> None:
    """Shows that no input can make a sum of these layers inexact.

    Raises:
      ValueError: one could, or these are not three layers of integers that fit together.
    """
    if len(frozen) != len(_GAINS):
        raise ValueError(f"expected {len(_GAINS)} layers, found {len(frozen)}")
    largest, inputs = LARGEST_INPUT, frozen[0].kernel.shape[-2:-1]
    for number, layer in enumerate(frozen):
        what = f"layer {number} of the integer network"
        _check_form(layer, inputs, what)
        # All but the bias is summed in float32, and with it means are made float32.
        total = np.abs(layer.kernel.astype(np.int64)).sum((0, 1, 2)) * largest
        total += np.abs(layer.bias.astype(np.int64))
        if total.max() > _LARGEST_SUM:
            raise ValueError(
                f"{what} may sum to {total.max()}, more than {_LARGEST_SUM}"
            )
        largest, inputs = LARGEST_ACTIVATION, layer.bias.shape


def _check_form(layer: Layer, inputs: tuple[int, ...], what: str) -> None:
    kernel, bias, shift = layer
    types = [array.dtype for array in layer]
    if types != [np.int8, np.int32, np.int32]:
        raise ValueError(f"{what}: expected int8, int32 and int32, found {types}")
    outputs = kernel.shape[3:]
    side = kernel.shape[:1]
    right = kernel.ndim == 4 and kernel.shape == side * 2 + inputs + outputs
    if not right or not kernel.size or bias.shape != outputs or shift.shape != outputs:
        raise ValueError(
            f"{what}: shapes {kernel.shape}, {bias.shape} and {shift.shape} do not fit "
            f"together or to {inputs} inputs"
        )
    if not 0 <= shift.min() <= shift.max() <= _LARGEST_SHIFT:
        raise ValueError(f"{what}: expected a shift of 0 to {_LARGEST_SHIFT}")


def parameters(
    z: Int[Array, "n h w c"],
    frozen: list[Layer],
    latents: int,
    cells: layers.Cells | None = None,
) -> tuple[Int[Array, "n 4*h 4*w m"], Float[Array, "n 4*h 4*w m"]]:
    """What `IntegerHyperSynthesis` gives, with exact arithmetic throughout.

    Args:
      z: hyper latents.
      frozen: the layers, with strides 2, 2 and 1.
      latents: channels of the latents.
      cells: rows and columns of hyper latents that there are; None: all. What belongs to
        others comes out as anything.

    Returns: indexes of scales, int32 0..63, and means, float32 (zeros if the last layer
      has none): the same bits on every device, for every batch and tile size.
    """
    h = layers.zero_beyond(jnp.clip(z, -LARGEST_INPUT, LARGEST_INPUT), cells, 1)
    for layer, scale in zip(frozen[:-1], (2, 4), strict=True):
        h = jnp.clip(_divided(_sums(h, layer, 2), layer), 0, LARGEST_ACTIVATION)
        h = layers.zero_beyond(h, cells, scale)
    last = frozen[-1]
    sums = _sums(h, last, 1)
    raised = sums[..., :latents]
    raised += ops.aligned(round(FIRST_INDEX) << last.shift[:latents], raised)
    first = Layer(last.kernel, last.bias, last.shift[:latents])
    index = jnp.clip(_divided(raised, first), 0, gaussian_conditional.COUNT - 1)
    if sums.shape[-1] == latents:
        return index, jnp.zeros(index.shape, jnp.float32)
    unit = jnp.ldexp(jnp.float32(1.0), -last.shift[latents:])
    return index, sums[..., latents:].astype(jnp.float32) * ops.aligned(unit, sums)


def _sums(
    x: Int[Array, "n h w i"], layer: Layer, stride: int
) -> Int[Array, "n h2 w2 o"]:
    """In int32: kernel * x + bias, by matrix products in float32 that are exact."""
    found = strided.by_phases(
        x.astype(jnp.float32),
        jnp.asarray(layer.kernel, jnp.float32),
        stride,
        convolution=_exact_convolution,
    )
    return found.astype(jnp.int32) + ops.aligned(layer.bias, found)


def _exact_convolution(
    x: Float[Array, "n h w i"],
    kernel: Float[Array, "a b i o"],
    padding: tuple[tuple[int, int], tuple[int, int]],
) -> Float[Array, "n h w o"]:
    """A matrix product for each tap, in float32 throughout (`highest`).

    Libraries choose algorithms for convolutions that transform their inputs, and round.
    """
    (top, bottom), (left, right) = padding
    n, h, w, _ = x.shape
    x = jnp.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    out = jnp.zeros((n, h, w, kernel.shape[-1]), jnp.float32)
    for a in range(kernel.shape[0]):
        for b in range(kernel.shape[1]):
            out += jnp.einsum(
                "nhwi,io->nhwo",
                x[:, a : a + h, b : b + w],
                kernel[a, b],
                precision="highest",
            )
    return out


def _divided(sums: Int[Array, "n h w o"], layer: Layer) -> Int[Array, "n h w o"]:
    """Of sums / 2^shift, rounded, halves up."""
    shift = ops.aligned(layer.shift, sums)
    return (sums + ((1 << shift) >> 1)) >> shift
