"""Ellipses of colour: the published table of spaces, tensors that are known, shapes."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from pim_jax.data import macadam
from pim_jax.evaluation import colour as cd
from pim_jax.evaluation import pictures
from pim_jax.metric import Metric
from pim_jax.metrics import METRICS
from pim_jax.ops import chromaticity
from pim_jax.pim.distance import untrained
from pim_jax.pim.model import ModelConfig

TINY = ModelConfig(filters=(3,), z_dim=2, mixtures=1, num_scales=1, steerable_order=0)
COLOURS = np.array([[0.4, 0.5, 0.6], [0.3, 0.7, 0.2]], np.float32)
DATA = macadam.ellipses()


def made(function, name="made"):
    return Metric((), lambda params, a, b: function(a, b), name)


def root(a, b):
    return jnp.sqrt(jnp.mean(jnp.square(a - b), axis=(1, 2, 3)))


def test_the_data():
    assert DATA.centre.shape == DATA.axes.shape == (25, 2)
    np.testing.assert_allclose(DATA.centre[0], [0.160, 0.057])
    np.testing.assert_allclose(DATA.axes[3], [9.6e-3, 2.3e-3])
    np.testing.assert_allclose(np.rad2deg(DATA.angle[[0, 24]]), [62.5, 40.0])
    assert (DATA.axes[:, 0] > DATA.axes[:, 1]).all()
    offsets = DATA.offsets(72)
    np.testing.assert_allclose(np.linalg.norm(offsets[:, 0], axis=1), DATA.axes[:, 0])
    along = np.arctan2(offsets[:, 0, 1], offsets[:, 0, 0]) % np.pi
    np.testing.assert_allclose(along, DATA.angle)


@pytest.mark.parametrize("luminance", [0.15, 0.5])
@pytest.mark.parametrize(
    ("space", "expected"),
    [
        ("xy", (0.470, 2.95, 0.588)),
        ("u'v'", (0.227, 2.38, 0.359)),
        ("Lab", (0.309, 3.44, 0.477)),
        ("Oklab", (0.264, 2.27, 0.386)),
    ],
)
def test_spaces(space, expected, luminance):
    """Values computed apart from this program; so small, ellipses are as their tensors."""
    found = cd.space_radii(space, DATA, luminance)
    np.testing.assert_allclose(found, expected, rtol=2e-3)
    tensors = cd.of_space(space, DATA.centre, luminance)
    np.testing.assert_allclose(cd.tensor_radii(tensors, DATA), found, rtol=2e-2)


@pytest.mark.parametrize(("luminance", "count"), [(0.15, 14), (0.2, 12), (0.3, 11)])
def test_centres_inside_srgb(luminance, count):
    assert cd.gamut(DATA, luminance).sum() == count


def test_too_bright_for_any_centre():
    with pytest.raises(ValueError, match=r"at a luminance of 1\.5 sRGB holds 0"):
        cd.gamut(DATA, 1.5)


def test_a_tensor_gives_back_its_ellipses():
    cos, sin = np.cos(DATA.angle), np.sin(DATA.angle)
    axes = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], axis=1)
    tensors = np.einsum("nki,nk,nkj->nij", axes, 1 / DATA.axes**2, axes)
    found = cd.ellipses(DATA.centre, tensors)
    np.testing.assert_allclose(found.axes, DATA.axes)
    np.testing.assert_allclose(found.angle, DATA.angle)
    np.testing.assert_allclose(cd.tensor_radii(tensors, DATA), [0, 1, 0], atol=1e-7)
    larger = found._replace(axes=3 * found.axes, angle=found.angle - np.pi)
    np.testing.assert_allclose(cd.agreement(larger, DATA), [1 / 3, 1, 1, 0], atol=1e-6)
    turned = found._replace(angle=found.angle + np.deg2rad(170))
    assert cd.agreement(turned, DATA).angle == pytest.approx(10)


def test_squared_error():
    """A third of the identity; in xy the slopes of sRGB, here from the chain rule."""
    found = cd.tensor(METRICS["psnr"](), COLOURS, 16)
    np.testing.assert_allclose(
        found.of_rgb, np.tile(np.eye(3) / 3, (2, 1, 1)), atol=1e-6
    )
    assert found.degree == 2
    xy, luminance = np.array([[0.31, 0.33]]), 0.15
    x, y = xy[0]
    by_xy = luminance * np.array(
        [[1 / y, -x / y**2], [0, 0], [-1 / y, -(1 - x) / y**2]]
    )
    of_xyz = chromaticity.xyz(xy, luminance)
    slope = 1.055 / 2.4 * chromaticity.linear_srgb(of_xyz)[0] ** (1 / 2.4 - 1)
    expected = slope[:, None] * (np.linalg.inv(chromaticity.rgb_to_xyz()) @ by_xy)
    np.testing.assert_allclose(
        cd.in_plane(np.eye(3)[None] / 3, xy, luminance)[0],
        expected.T @ expected / 3,
        rtol=1e-6,
    )


def test_ssim():
    """1 - 2 a b / (a^2 + b^2) of each channel: d^2 / (2 a^2 + C1)."""
    found = cd.tensor(METRICS["ssim"](), COLOURS, 16)
    expected = 1 / (2 * COLOURS.astype(float) ** 2 + 1e-4) / 3
    diagonal = np.diagonal(found.of_rgb, axis1=1, axis2=2)
    np.testing.assert_allclose(diagonal, expected, rtol=2e-3)


@pytest.mark.parametrize("power", [1, 3])
def test_other_degrees_give_the_same_tensor(power):
    """A root has no second derivative at 0, a cube has none but 0."""
    metric = made(lambda a, b: root(a, b) ** power)
    found = cd.tensor(metric, COLOURS, 16)
    assert found.degree == pytest.approx(power, abs=1e-3)
    np.testing.assert_allclose(
        found.of_rgb, np.tile(np.eye(3) / 3, (2, 1, 1)), atol=1e-4
    )


def test_quadratic_without_a_second_derivative():
    """Where it is not finite, finite differences stand in for it."""
    metric = made(lambda a, b: root(a, b) ** 2)
    found = cd.tensor(metric, COLOURS, 16)
    np.testing.assert_allclose(
        found.of_rgb, np.tile(np.eye(3) / 3, (2, 1, 1)), atol=1e-4
    )


@pytest.mark.parametrize("mixtures", [1, 2])
def test_a_represented_metric_is_pulled_back(mixtures):
    metric = untrained(dataclasses.replace(TINY, mixtures=mixtures))
    plain = Metric(metric.params, metric.function, "plain")
    ours, other = (cd.tensor(m, COLOURS[:1], 16).of_rgb for m in (metric, plain))
    np.testing.assert_allclose(ours, other, rtol=1e-3, atol=1e-4 * np.abs(ours).max())


def test_a_metric_that_sees_luma_alone():
    """At constant luminance it still has a direction, but no area."""
    found = cd.run({"luma": METRICS["ssim-luma"]()}, 0.15, 16)
    assert np.isinf(found["luma"].ellipses.axes[:, 0]).all()
    table = cd.metric_table(found, 0.15)
    assert "areas" not in table.rows["luma"]
    assert "angle error" in table.rows["luma"]
    pictures.chromaticity_panels(found, 0.15)


def test_blind_and_broken_metrics_are_named():
    blind = made(lambda a, b: jnp.zeros(len(a)), "blind")
    with pytest.raises(ValueError, match="blind finds no difference"):
        cd.tensor(blind, COLOURS, 16)
    broken = made(lambda a, b: jnp.full(len(a), jnp.nan), "broken")
    with pytest.raises(ValueError, match="broken is not finite"):
        cd.tensor(broken, COLOURS, 16)


def test_the_table():
    seen = []
    found = cd.run({"psnr": METRICS["psnr"]()}, 0.15, 16, seen.append)
    assert [*found] == ["psnr", "xy", "u'v'", "Lab", "Oklab"]
    assert seen == ["psnr at 14 colours"]
    table = cd.metric_table(found, 0.15)
    assert table.title.startswith("14 of MacAdam's 25")
    row = {name: score.value for name, score in table.rows["psnr"].items()}
    assert row["CV of means"] == pytest.approx(0.377, abs=1e-3)
    assert row["angle error"] == pytest.approx(21.2, abs=0.1)
    # Of xy all ellipses are circles of one size.
    assert {"areas", "angle error"}.isdisjoint(table.rows["xy"])
    assert [*cd.space_table(0.15).rows] == ["xy", "u'v'", "Lab", "Oklab"]
    assert found["Lab"].radii.between == pytest.approx(0.327, abs=1e-3)
