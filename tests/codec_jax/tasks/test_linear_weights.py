"""The analysis transform of a codec as a network whose weights of channels are trained."""

import jax.numpy as jnp
import numpy as np
import pytest
import small_bapps

from codec_jax import loading
from codec_jax.models.architectures import networks
from codec_jax.tasks import linear_weights
from configs import lpips as lpips_config
from pim_jax.training import loop


def test_layers_of_the_shipped_codec():
    network = linear_weights.analysis_network("", 0)
    codec = loading.load(linear_weights.FEATURES_OF)
    assert list(network.channels) == ["conv_3", "gdn_0", "gdn_1", "gdn_2"]
    image = jnp.asarray(small_bapps.patches()[0][None] / 255, jnp.float32)
    found = network.function(network.params, image)
    assert {k: v.shape[-1] for k, v in found.items()} == network.channels
    latents = networks(codec.config).apply(
        {"params": codec.params}, image, jnp.zeros(1), method="features"
    )
    np.testing.assert_allclose(found["conv_3"], latents, rtol=1e-4, atol=1e-4)
    assert found["gdn_0"].shape[1:3] == (32, 32)


@pytest.mark.slow
def test_two_steps(tmp_path):
    config = lpips_config.get_config("codec")
    changes = {
        "steps": 2,
        "devices": 1,
        "data.batch_size": 2,
        "data.data_dir": str(small_bapps.write_learnable(tmp_path / "bapps", 4, 2)),
    }
    with config.unlocked():
        config.update_from_flattened_dict(changes)
    state = loop.train(linear_weights.make(config), config, tmp_path / "run")
    assert int(state.step) == 2
    assert all((w >= 0).all() for w in state.params["heads"].values())
