"""Colour discrimination: the ellipses of a metric beside those that MacAdam measured.

For two uniform patches of nearly one colour a metric is a quadratic form of the difference
of the colours, its metric tensor. In the plane of CIE 1931 xy, at constant luminance, that
is an ellipse of colours at the same distance from its centre; MacAdam (1942) measured such
ellipses for an observer. A metric that sees colour as he did has ellipses of his shapes,
directions and relative areas, and in a uniform colour space all of his are equal circles.

One scale is free: a metric has no unit, so that areas are compared up to a factor.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pim_jax.data import macadam
from pim_jax.evaluation.distances import Representing
from pim_jax.evaluation.tables import Score, Table
from pim_jax.metric import Metric
from pim_jax.ops import chromaticity

POINTS = 72  # on each ellipse
STEP = 0.02  # of finite differences of stored colour values in [0, 1]
# Degrees of a metric that count as quadratic: D(2 h) = 2^degree D(h).
_QUADRATIC = (1.75, 2.25)
_TINY = 1e-12  # a distance below this is none
_DEGENERATE = 1e-4  # ratio of eigenvalues below which an ellipse has no end

# Differences of finite forms: along each colour value, and along each pair.
_PROBE = np.array([1, 0.5, 0.25], np.float32)  # for the degree; no channel like another
_DIRECTIONS = np.array(
    [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]], np.float32
)


class Tensor(NamedTuple):
    """How a metric sees small differences of colour.

    Attributes:
      of_rgb: (n, 3, 3) symmetric; D(c, c + d)^(2 / degree) is about d' of_rgb d for
        stored sRGB values.
      degree: D grows as this power of a small difference.
    """

    of_rgb: np.ndarray
    degree: float


def _patch_distance(metric: Metric, side: int) -> Callable[..., Array]:
    """(colours a, b (n, 3)) -> (n,), distances between uniform patches."""

    def patch(colour: Array) -> Array:
        shape = (colour.shape[0], side, side, 3)
        return jnp.broadcast_to(colour[:, None, None], shape)

    def distance(metric: Metric, a: Array, b: Array) -> Array:
        return metric(patch(a), patch(b))

    compiled = jax.jit(distance)
    return lambda a, b: compiled(metric, a, b)


def _finite_form(
    distance: Callable[..., Array], colours: Float[np.ndarray, "n 3"], degree: float
) -> np.ndarray:
    """The tensor from distances at `STEP` to both sides of each colour."""
    columns = []
    for direction in _DIRECTIONS * np.float32(STEP):
        both = [distance(colours, colours + s * direction) for s in (1, -1)]
        powers = [
            np.maximum(np.asarray(d, np.float64), 0) ** (2 / degree) for d in both
        ]
        columns.append(sum(powers) / 2 / STEP**2)
    tensor = np.zeros((len(colours), 3, 3))
    for i in range(3):
        tensor[:, i, i] = columns[i]
    for (i, j), column in zip(((0, 1), (0, 2), (1, 2)), columns[3:], strict=True):
        tensor[:, i, j] = (column - columns[i] - columns[j]) / 2
        tensor[:, j, i] = tensor[:, i, j]
    return tensor


def _hessian_form(
    metric: Metric, colours: Float[np.ndarray, "n 3"], side: int
) -> np.ndarray:
    """Half the second derivative of the distance at no difference."""

    def patch(colour: Array) -> Array:
        return jnp.broadcast_to(colour, (1, side, side, 3))

    def plain(metric: Metric, colour: Array) -> Array:
        return jax.hessian(lambda moved: metric(patch(colour), patch(moved))[0])(colour)

    def pulled_back(metric: Any, colour: Array) -> Array:
        # The distance of representations has no slope at no difference, so only the
        # first derivatives of the representation count: those are cheap.
        at, push = jax.linearize(lambda c: metric.represent(patch(c)), colour)
        tangents = jax.vmap(push)(jnp.eye(3, dtype=jnp.float32))

        def distance(amounts: Array) -> Array:
            moved = jax.tree.map(
                lambda x, t: x + jnp.tensordot(amounts, t, 1), at, tangents
            )
            return metric.compare(at, moved)[0]

        return jax.hessian(distance)(jnp.zeros(3, jnp.float32))

    form = jax.jit(pulled_back if isinstance(metric, Representing) else plain)
    found = [np.asarray(form(metric, colour), np.float64) for colour in colours]
    return np.stack(found) / 2


def tensor(metric: Metric, colours: Float[np.ndarray, "n 3"], side: int = 64) -> Tensor:
    """The metric tensor at uniform colours.

    The degree is measured at `STEP` and twice that. Of a quadratic metric (squared error,
    SSIM, PIM) the tensor is half its Hessian at no difference, exact up to rounding; for
    one whose degree is not within 0.25 of 2 (a distance that is a root, of degree 1, has
    no Hessian there) D^(2 / degree) is quadratic, and its tensor comes from distances at
    `STEP`. The same is done where the Hessian is not finite or has a negative eigenvalue.

    Args:
      metric: what is looked at.
      colours: stored sRGB values in [STEP, 1 - STEP] or near.
      side: of the patches in pixels. A metric that pads its images sees their borders
        too, which is part of its behaviour for uniform images.

    Raises:
      ValueError: it takes some uniform patches of different colours for the same, and so
        sees no colour at all; or it is not finite.
    """
    colours = np.asarray(colours, np.float32)
    distance = _patch_distance(metric, max(side, metric.minimum_size))
    small, large = (
        np.sum(
            [distance(colours, colours + s * factor * STEP * _PROBE) for s in (1, -1)],
            axis=0,
        )
        for factor in (1, 2)
    )
    if not np.isfinite([small, large]).all():
        raise ValueError(f"{metric.name} is not finite for uniform patches")
    if min(small.min(), large.min()) < _TINY:
        raise ValueError(
            f"{metric.name} finds no difference between uniform patches of different "
            "colours, so it has no ellipses"
        )
    degree = float(np.median(np.log2(large / small)))
    if _QUADRATIC[0] < degree < _QUADRATIC[1]:
        found = _hessian_form(metric, colours, max(side, metric.minimum_size))
        if np.isfinite(found).all() and (_eigenvalues(found) > -1e-3).all():
            return Tensor(found, 2.0)
        degree = 2.0
    return Tensor(_finite_form(distance, colours, degree), degree)


def _eigenvalues(tensors: np.ndarray) -> np.ndarray:
    """Of each, as shares of its largest."""
    values = np.linalg.eigvalsh(tensors)
    return values / np.maximum(np.abs(values).max(axis=-1, keepdims=True), 1e-300)


def jacobian(
    function: Callable[[np.ndarray], np.ndarray], xy: np.ndarray, luminance: float
) -> np.ndarray:
    """Derivatives (n, k, 2) by xy, at constant luminance, of a function of XYZ."""
    step = 1e-6  # central differences in double precision: an error of some 1e-9
    columns = []
    for direction in np.eye(2) * step:
        ends = [
            function(chromaticity.xyz(xy + s * direction, luminance)) for s in (1, -1)
        ]
        columns.append((ends[0] - ends[1]) / (2 * step))
    return np.stack(columns, axis=-1)


def in_plane(of_rgb: np.ndarray, xy: np.ndarray, luminance: float) -> np.ndarray:
    """The tensors (n, 2, 2) in xy of tensors (n, 3, 3) of stored sRGB."""
    by_xy = jacobian(chromaticity.srgb, xy, luminance)
    return np.einsum("nki,nkl,nlj->nij", by_xy, of_rgb, by_xy)


def of_space(name: str, xy: np.ndarray, luminance: float) -> np.ndarray:
    """The tensors (n, 2, 2) in xy of Euclidean distance in a colour space."""
    by_xy = jacobian(chromaticity.SPACES[name], xy, luminance)
    return np.einsum("nki,nkj->nij", by_xy, by_xy)


def ellipses(centre: np.ndarray, tensors: np.ndarray) -> macadam.Ellipses:
    """Where d' T d = 1 about each centre; the longer semi-axis first.

    An axis along which nothing changes is infinite.
    """
    values, vectors = np.linalg.eigh(tensors)  # increasing: the longest axis first
    values = np.where(values > _DEGENERATE * values[:, -1:], values, 0)
    with np.errstate(divide="ignore"):
        axes = 1 / np.sqrt(values)
    return macadam.Ellipses(
        centre, axes, np.arctan2(vectors[:, 1, 0], vectors[:, 0, 0]) % np.pi
    )


def gamut(data: macadam.Ellipses, luminance: float) -> np.ndarray:
    """Which centres sRGB holds at this luminance of its white, (n,) bool.

    Raises:
      ValueError: fewer than two.
    """
    linear = chromaticity.linear_srgb(chromaticity.xyz(data.centre, luminance))
    inside = ((linear >= 0) & (linear <= 1)).all(axis=-1)
    if inside.sum() < 2:
        raise ValueError(
            f"at a luminance of {luminance:g} sRGB holds {inside.sum()} of the centres, "
            "fewer than two; it must be above 0, and small"
        )
    return inside


class Radii(NamedTuple):
    """How far from equal circles: all 0 (ratio 1) for a uniform space.

    Attributes:
      between: coefficient of variation, over ellipses, of the mean radius.
      ratio: mean over ellipses of the longest radius by the shortest.
      overall: coefficient of variation of all radii.
    """

    between: float
    ratio: float
    overall: float


def radii_of(distances: Float[np.ndarray, "n p"]) -> Radii:
    """From distances between centres and points on their ellipses."""
    mean = distances.mean(axis=1)
    with np.errstate(divide="ignore"):
        ratio = distances.max(axis=1) / distances.min(axis=1)
    return Radii(
        float(mean.std() / mean.mean()),
        float(ratio.mean()),
        float(distances.std() / distances.mean()),
    )


def space_radii(name: str, data: macadam.Ellipses, luminance: float) -> Radii:
    """Of a colour space, at the true size of the ellipses."""
    space = chromaticity.SPACES[name]
    around = data.centre[:, None] + data.offsets(POINTS)
    difference = (
        space(chromaticity.xyz(around, luminance))
        - space(chromaticity.xyz(data.centre, luminance))[:, None]
    )
    return radii_of(np.linalg.norm(difference, axis=-1))


def tensor_radii(tensors: np.ndarray, data: macadam.Ellipses) -> Radii:
    """Of tensors (n, 2, 2) at the centres of the data."""
    offsets = data.offsets(POINTS)
    squares = np.einsum("npi,nij,npj->np", offsets, tensors, offsets)
    return radii_of(np.sqrt(np.maximum(squares, 0)))


class Agreement(NamedTuple):
    """Of a metric's ellipses with the data; NaN where it is not defined.

    Attributes:
      scale: what its ellipses are multiplied with, so that their geometric mean area is
        that of the data.
      correlation: of the logarithms of areas.
      factor: exp of the standard deviation of log(area / area in the data): 1 for areas
        in the data's proportions, 2 if they are typically twice or half as large.
      angle: mean difference of the long axes in degrees; 45 by chance.
    """

    scale: float
    correlation: float
    factor: float
    angle: float


def agreement(found: macadam.Ellipses, data: macadam.Ellipses) -> Agreement:
    """Compares areas and directions, ellipse by ellipse."""
    turned = (found.angle - data.angle) % np.pi
    angle = np.rad2deg(np.minimum(turned, np.pi - turned))
    circle = found.axes[:, 0] < found.axes[:, 1] * (1 + 1e-6)
    angle = float(angle.mean()) if not circle.any() else np.nan
    if not np.isfinite(found.axes).all():
        return Agreement(np.nan, np.nan, np.nan, angle)
    ours, theirs = np.log(found.area), np.log(data.area)
    constant = ours.std() < 1e-6
    return Agreement(
        float(np.exp((theirs - ours).mean() / 2)),
        np.nan if constant else float(np.corrcoef(ours, theirs)[0, 1]),
        float(np.exp((ours - theirs).std())),
        angle,
    )


class Found(NamedTuple):
    """What was found of one metric or space.

    Attributes:
      ellipses: in xy, at the centres inside the gamut.
      radii: how far the data are from equal circles.
      agreement: with the data.
      degree: see `Tensor`; NaN for a space, whose distance is Euclidean.
    """

    ellipses: macadam.Ellipses
    radii: Radii
    agreement: Agreement
    degree: float


def run(
    metrics: Mapping[str, Metric],
    luminance: float,
    side: int = 64,
    progress: Callable[[str], None] = lambda text: None,
    done: Callable[[dict[str, Found]], None] = lambda found: None,
) -> dict[str, Found]:
    """Metrics, then colour spaces -> their ellipses at the centres inside sRGB.

    Raises:
      ValueError: as `gamut` and `tensor`.
    """
    data = macadam.ellipses()
    data = data.chosen(gamut(data, luminance))
    colours = chromaticity.srgb(chromaticity.xyz(data.centre, luminance))
    results = {}
    for name, metric in metrics.items():
        progress(f"{name} at {len(colours)} colours")
        seen = tensor(metric, colours, side)
        plane = in_plane(seen.of_rgb, data.centre, luminance)
        results[name] = _found(plane, data, seen.degree)
        done(results)
    for name in chromaticity.SPACES:
        if name not in results:
            plane = of_space(name, data.centre, luminance)
            results[name] = _found(plane, data, np.nan)
    return results


def _found(plane: np.ndarray, data: macadam.Ellipses, degree: float) -> Found:
    own = ellipses(data.centre, plane)
    return Found(own, tensor_radii(plane, data), agreement(own, data), degree)


def metric_table(found: Mapping[str, Found], luminance: float) -> Table:
    """One row a metric and a space, at the centres inside sRGB."""
    rows = {}
    for name, (_, radii, agreed, degree) in found.items():
        values = {**_radii_row(radii), **_agreement_row(agreed), "degree": degree}
        rows[name] = {k: Score(v) for k, v in values.items() if np.isfinite(v)}
    count = len(next(iter(found.values())).ellipses.centre)
    columns = [*_radii_row(Radii(0, 0, 0)), *_agreement_row(Agreement(0, 0, 0, 0))]
    return Table(
        f"{count} of MacAdam's 25 ellipses, those inside sRGB at Y = {luminance:g}",
        {**dict.fromkeys(columns, ""), "angle error": "deg", "degree": ""},
        rows,
        (
            "CV: coefficient of variation of the metric's radius of MacAdam's ellipses.",
            "axis ratio: longest by shortest such radius. Uniform: CV 0, ratio 1.",
            "areas: of the metric's own ellipses and MacAdam's, correlation of logarithms.",
            "area factor: by which areas differ after one common scale; 1 is best.",
            "angle error: between long axes; 45 by chance.",
            "degree: the metric's own; distances were raised to 2 / degree.",
        ),
        drawn=False,
    )


def _radii_row(radii: Radii) -> dict[str, float]:
    between, ratio, overall = radii
    return {"CV of means": between, "axis ratio": ratio, "CV of all": overall}


def _agreement_row(agreed: Agreement) -> dict[str, float]:
    return {
        "areas": agreed.correlation,
        "area factor": agreed.factor,
        "angle error": agreed.angle,
    }


def space_table(luminance: float) -> Table:
    """Colour spaces at all 25 centres, inside sRGB or not."""
    data = macadam.ellipses()
    rows = {
        name: {
            measure: Score(value)
            for measure, value in _radii_row(space_radii(name, data, luminance)).items()
        }
        for name in chromaticity.SPACES
    }
    return Table(
        "Colour spaces at all 25 of MacAdam's ellipses",
        dict.fromkeys(next(iter(rows.values())), ""),
        rows,
        ("Lab for illuminant C, which MacAdam's observer was adapted to.",),
        drawn=False,
    )
