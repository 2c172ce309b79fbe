"""Multiplications counted by hand, and published counts of whole models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from codec_jax import layers, ops
from codec_jax.evaluation import complexity
from codec_jax.evaluation.bjontegaard import Curve
from codec_jax.evaluation.complexity import macs, products
from codec_jax.evaluation.curves import Published
from codec_jax.models.architectures import networks
from codec_jax.models.config import MODELS, CodecConfig
from pim_jax.ops.fast_cpu import strided


@pytest.fixture(autouse=True)
def _models_add_biases_by_broadcasting():
    with jax.numpy_rank_promotion("allow"):
        yield


def zeros(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def convolution(x, kernel, stride=1, padding="SAME", **options):
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        **options,
    )


def test_matrix_products():
    assert macs(jnp.matmul, zeros(3, 5), zeros(5, 7)) == 3 * 5 * 7
    assert macs(jnp.matmul, zeros(2, 3, 5), zeros(2, 5, 7)) == 2 * 3 * 5 * 7
    assert macs(jnp.dot, zeros(5), zeros(5)) == 5

    def einsum(a, b):
        return jnp.einsum("nhwi,io->nhwo", a, b)

    assert macs(einsum, zeros(2, 4, 6, 3), zeros(3, 8)) == 2 * 4 * 6 * 3 * 8


def test_convolutions():
    x, kernel = zeros(2, 8, 12, 3), zeros(5, 5, 3, 7)
    assert macs(convolution, x, kernel) == 2 * 8 * 12 * 25 * 3 * 7
    halved = macs(lambda x, k: convolution(x, k, 2), x, kernel)
    assert halved == 2 * 4 * 6 * 25 * 3 * 7
    valid = macs(lambda x, k: convolution(x, k, padding="VALID"), x, kernel)
    assert valid == 2 * 4 * 8 * 25 * 3 * 7
    # Spread taps are as many.
    spread = macs(lambda x, k: convolution(x, k, rhs_dilation=(2, 2)), x, kernel)
    assert spread == 2 * 8 * 12 * 25 * 3 * 7


def test_groups():
    def grouped(x, k):
        return convolution(x, k, feature_group_count=4)

    found = macs(grouped, zeros(1, 8, 8, 12), zeros(3, 3, 3, 20))
    assert found == 64 * 9 * 20 * 3

    def by_batch(x, k):
        return convolution(x, k, batch_group_count=2)

    # Of four images two groups are made; each output channel sees one of them.
    found = macs(by_batch, zeros(4, 8, 8, 3), zeros(3, 3, 3, 10))
    assert found == 2 * 64 * 9 * 10 * 3


@pytest.mark.parametrize(("size", "stride"), [(5, 2), (9, 4), (3, 1), (5, 4)])
def test_transposed_convolutions_count_no_inserted_zeros(size, stride):
    """Each input sample meets each tap once, whichever form the convolution has."""
    before = size - 1 - size // 2
    padding = ((before, before + stride - 1),) * 2

    def dilated(x, k):
        return convolution(x, k, padding=padding, lhs_dilation=(stride, stride))

    def phases(x, k):
        return strided.conv_transpose(x, k, stride)

    x, kernel = zeros(1, 6, 10, 3), zeros(size, size, 3, 7)
    expected = 6 * 10 * size**2 * 3 * 7
    assert macs(dilated, x, kernel) == macs(phases, x, kernel) == expected
    every = 6 * 10 * stride**2 * size**2 * 3 * 7
    assert products(dilated, x, kernel).zeros == every - expected
    assert products(phases, x, kernel).zeros == 0


def test_programs_inside_programs():
    x, w = zeros(4, 6), zeros(6, 6)
    once = 4 * 6 * 6

    @jax.jit
    def compiled(x, w):
        return ops.lower_bound(x @ w, 0.0)

    def scanned(x, w):
        return lax.scan(lambda c, _: (compiled(c, w), None), x, None, length=7)[0]

    def branched(x, w):
        several = (lambda: x, lambda: x @ w, lambda: x @ w @ w)
        return lax.switch(jnp.int32(x[0, 0]), several)

    @jax.custom_jvp
    def custom(x, w):
        return x @ w

    custom.defjvp(lambda primals, _: (primals[0], primals[0]))
    assert macs(compiled, x, w) == once
    assert macs(scanned, x, w) == 7 * once
    assert macs(branched, x, w) == 2 * once
    assert macs(custom, x, w) == once
    assert macs(jax.checkpoint(compiled), x, w) == once
    assert macs(lambda x, w: jnp.sin(x) + 1, x, w) == 0


def test_loops_of_unknown_length():
    def multiplying(x, w):
        return lax.while_loop(lambda c: c.sum() < 9, lambda c: c @ w, x)

    def adding(x, w):
        return lax.while_loop(lambda c: c.sum() < 9, lambda c: c + 1, x) @ w

    with pytest.raises(ValueError, match="number of turns"):
        macs(multiplying, zeros(4, 6), zeros(6, 6))
    assert macs(adding, zeros(4, 6), zeros(6, 6)) == 4 * 6 * 6


def test_gdn_by_hand():
    layer = layers.Gdn()
    x = zeros(1, 4, 5, 8)
    variables = jax.eval_shape(layer.init, jax.random.key(0), x)
    assert complexity.parameters(variables) == 8 * 8 + 8
    assert macs(layer.apply, variables, x) == 4 * 5 * 8 * 8


@pytest.mark.parametrize(
    ("config", "millions", "encoder", "decoder"),
    [
        (MODELS["bls2017"], 1.77, 11.2, 11.2),
        (MODELS["bmshj2018-factorized"], 3.00, 42.2, 42.2),
        (CodecConfig(prior="scale", hyper="scale"), 5.08, 44.9, 43.5),
        (MODELS["mbt2018-mean"], 7.03, 48.9, 47.6),
        (CodecConfig(filters=192, latents=320), 17.56, 111.9, 108.6),
    ],
)
def test_published_models(config, millions, encoder, decoder):
    """Counted elsewhere from lists of layers; priors there are deeper, with no gains."""
    found = complexity.of_codec(networks(config))
    assert found.parameters / 1e6 == pytest.approx(millions, abs=0.02)
    assert found.encoder / 1e3 == pytest.approx(encoder, abs=0.051)
    assert found.decoder / 1e3 == pytest.approx(decoder, abs=0.051)


def test_table():
    table = complexity.table({"a": MODELS["bls2017"]})
    assert list(table.rows) == ["a"]
    assert table.rows["a"]["encoder"].value == pytest.approx(11.2, abs=0.051)
    assert list(table.columns) == ["parameters", "encoder", "decoder"]


def published(name, factor):
    """A curve whose rate is `factor` times JPEG's at every quality."""
    bpp = factor * np.array([0.2, 0.4, 0.8, 1.6])
    return Published(name, "psnr", Curve(bpp, np.array([28.0, 31.0, 34.0, 37.0])))


def test_published_rates_beside_the_counts():
    curves = [
        published("JPEG (4:2:0)", 1.0),
        published("Ballé 2017 (ICLR, opt. MSE)", 0.6),
        published("WebP", 0.8),
    ]
    rates = complexity.bd_rates(curves)
    assert rates == {"bls2017": pytest.approx(-40)}
    names = ("bls2017", "mbt2018-mean")
    table = complexity.table({name: MODELS[name] for name in names}, rates)
    assert table.rows["bls2017"]["published BD-rate"].value == pytest.approx(-0.4)
    assert "published BD-rate" not in table.rows["mbt2018-mean"]
    (axis,) = complexity.picture(table).axes
    assert [text.get_text() for text in axis.texts] == ["bls2017"]
    with pytest.raises(ValueError, match="no published PSNR curve of 'JPEG"):
        complexity.bd_rates(curves[1:])
