"""Tiles: what is kept covers an axis once, and margins are as wide as what is seen."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codec_jax.inference import tiling
from codec_jax.inference.tiling import Span
from codec_jax.latents import integer
from codec_jax.models import strips
from codec_jax.models.architectures import networks
from codec_jax.models.config import CodecConfig

STRIDE, HYPER_STRIDE = 16, 4


def test_spans_cover_once_and_keep_their_margins():
    rng = np.random.default_rng(0)
    for _ in range(2000):
        margin = int(rng.integers(0, 5))
        window = int(rng.integers(2 * margin + 1, 30))
        total = int(rng.integers(1, 200))
        found = tiling.spans(total, window, margin)
        covered = np.concatenate([np.arange(s.first, s.last) for s in found])
        np.testing.assert_array_equal(covered, np.arange(total))
        for span in found:
            # One program serves all windows.
            assert span.end - span.start == min(total, window)
            assert 0 <= span.start <= span.first < span.last <= span.end <= total
            assert span.start == 0 or span.first - span.start >= margin
            assert span.end == total or span.end - span.last >= margin
        # No more windows than it takes.
        assert len(found) <= 1 + -(-max(0, total - window) // (window - 2 * margin))


def test_spans_of_examples():
    assert tiling.spans(5, 8, 2) == [Span(0, 5, 0, 5)]
    assert tiling.spans(10, 8, 2) == [Span(0, 8, 0, 6), Span(2, 10, 6, 10)]


@pytest.mark.parametrize(("window", "margin"), [(4, 2), (0, 0), (3, 2)])
def test_windows_that_keep_nothing(window, margin):
    with pytest.raises(ValueError, match=f"a window of {window}.*margin.*{margin}"):
        tiling.spans(9, window, margin)


def test_tiled_calls_on_small_windows_and_tells_what_is_done():
    sizes, cells = [], []
    x = np.arange(2 * 17 * 2 * 11).reshape(34, 22, 1)

    def halved(part):
        sizes.append(part.shape[:2])
        return part[::2, ::2], -part[::2, ::2]

    found = tiling.tiled(
        halved, x, cell=(2, 1), window=7, margin=1, progress=cells.append
    )
    np.testing.assert_array_equal(found[0], x[::2, ::2])
    np.testing.assert_array_equal(found[1], -x[::2, ::2])
    assert set(sizes) == {(14, 14)}
    assert sum(cells) == 17 * 11


def reach(transform, shape, cell):
    """How many cells around its own the outputs of each cell depend on, by probing.

    Args:
      transform: (1, h, w, c) -> (1, h', w', c').
      shape: (h, w, c) of its input.
      cell: sides of a cell in the input and in the output.
    """
    inner, outer = cell
    rng = np.random.default_rng(1)
    x = jnp.asarray(rng.uniform(-1, 1, shape), jnp.float32)

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(None, 0))
    def pulled(x, chosen):
        """How much the outputs of one column of cells move with each input."""
        y, pull = jax.vjp(lambda x: transform(x[None])[0], x)
        width = y.shape[1] // outer
        mask = jnp.repeat(jnp.arange(width) == chosen, outer)
        weights = jnp.asarray(rng.uniform(1, 2, y.shape), y.dtype)
        return pull(weights * mask[None, :, None])[0]

    columns = shape[1] // inner
    seen = np.abs(np.asarray(pulled(x, jnp.arange(columns)))).sum((1, 3)) > 0
    distances = []
    for own, row in enumerate(seen):
        touched = np.flatnonzero(row) // inner
        assert own in touched
        distances += [own - touched.min(), touched.max() - own]
    return max(distances)


@functools.cache
def bound(transforms):
    config = CodecConfig(
        transforms=transforms, filters=2, latents=2, hyper="index", lambdas=(0.01,)
    )
    codec = networks(config)
    images, rate = jnp.zeros((1, STRIDE, STRIDE, 3)), jnp.zeros(1)
    return codec.bind(jax.jit(codec.init)(jax.random.key(0), images, rate))


@pytest.mark.parametrize("transforms", ["bmshj2018", "bls2017"])
def test_margins_are_as_wide_as_receptive_fields(transforms):
    codec = bound(transforms)
    analysis, synthesis = (
        reach(codec.analysis_transform, (STRIDE, 7 * STRIDE, 3), (STRIDE, 1)),
        reach(codec.synthesis_transform, (1, 7, 2), (1, STRIDE)),
    )
    assert (analysis, synthesis) == (2, 2)
    assert analysis <= codec.analysis_transform.margin
    assert synthesis <= codec.synthesis_transform.margin


def test_margins_of_the_hyperprior():
    codec = bound("bmshj2018")
    latents = codec.latent_codec.clone(parent=None).bind(codec.variables)
    down = latents.hyper_analysis_transform
    up = lambda z: jnp.concatenate(latents.hyper_synthesis_transform(z), -1)  # noqa: E731
    found = (
        reach(down, (4, 7 * HYPER_STRIDE, 2), (HYPER_STRIDE, 1)),
        reach(up, (1, 7, 2), (1, HYPER_STRIDE)),
    )
    assert found == (2, 2)
    assert found[0] <= latents.hyper_analysis_transform.margin
    assert found[1] <= latents.hyper_synthesis_transform.margin


def test_margins_of_the_integer_hyperprior():
    """By changing one hyper latent after the other: indexes have no gradient."""
    rng = np.random.default_rng(2)
    model = integer.IntegerHyperSynthesis(4, True)
    z = rng.integers(-9, 10, (1, 1, 9, 2)).astype(np.int32)
    params = jax.jit(model.init)(jax.random.key(0), z * np.float32(1))["params"]
    layers = integer.freeze(params, model)
    changed = np.repeat(z, 9, 0)
    changed[np.arange(9), 0, np.arange(9)] += 50
    run = jax.jit(lambda z: jnp.concatenate(integer.parameters(z, layers, 4), -1))
    moved = np.any(np.asarray(run(changed)) != run(z), (1, 3)).reshape(9, 9, 4).any(2)
    for place, row in enumerate(moved):
        cells = np.flatnonzero(row)
        assert place in cells
        assert np.abs(cells - place).max() <= model.margin


def test_sides():
    tiles = tiling.Tiles(window=8, margin=1, sides=(2, 4, 8))
    assert [tiles.side(n) for n in (1, 2, 3, 8, 9)] == [2, 2, 4, 8, 9]
    assert tiling.Tiles(8, 1).side(5) == 5


def test_bucketed_windows_and_the_size_that_is_kept():
    """The edge is repeated to whole cells, then there are zeros, which are left out."""
    shapes = []

    def transform(part, cells):
        shapes.append(part.shape[:2])
        rows, columns = (2 * n for n in cells)
        assert not part[rows:].any()
        assert not part[:, columns:].any()
        return (part.repeat(2, 0).repeat(2, 1) + 0,)

    tiles = tiling.Tiles(window=4, margin=1, sides=(2, 4))
    for height, width in ((1, 1), (3, 7), (19, 5)):
        x = np.random.default_rng(3).integers(1, 9, (height, width, 1))
        of_part = tiling.bucketed(transform, (2, 4), tiles)
        (found,) = tiling.tiled(
            of_part, x, cell=(2, 4), window=4, margin=1, size=(2 * height, 2 * width)
        )
        np.testing.assert_array_equal(found, x.repeat(2, 0).repeat(2, 1))
    assert {side for shape in shapes for side in shape} == {4, 8}


@pytest.mark.parametrize("in_strips", [False, True])
@pytest.mark.parametrize("transforms", ["bmshj2018", "bls2017"])
def test_what_lies_beyond_the_cells_changes_nothing(transforms, in_strips, monkeypatch):
    """As if the array ended there, though there is something else."""
    monkeypatch.setattr(strips, "worthwhile", lambda rows: in_strips)
    codec, rng = bound(transforms), np.random.default_rng(4)
    parts = [
        (codec.analysis_transform, STRIDE, 1, 3),
        (codec.synthesis_transform, 1, STRIDE, 2),
    ]
    if not in_strips:
        latents = codec.latent_codec.clone(parent=None).bind(codec.variables)
        hyper = lambda z, cells=None: jnp.concatenate(  # noqa: E731
            latents.hyper_synthesis_transform(z, cells), -1
        )
        parts += [
            (latents.hyper_analysis_transform, HYPER_STRIDE, 1, 2),
            (hyper, 1, HYPER_STRIDE, 2),
        ]
    for network, inner, outer, channels in parts:
        shape = (1, 8 * inner, 8 * inner, channels)
        x = jnp.asarray(rng.uniform(-1, 1, shape), jnp.float32)
        run = jax.jit(lambda x, cells, f=network: f(x, cells))
        found = run(x, (np.int32(5), np.int32(3)))[:, : 5 * outer, : 3 * outer]
        alone = jax.jit(lambda x, f=network: f(x))
        expected = alone(x[:, : 5 * inner, : 3 * inner])
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
