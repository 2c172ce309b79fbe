"""Keys of rows: the same on one device and on many."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pim_jax.training import devices


def noise(keys):
    return jax.vmap(lambda key: jax.random.normal(key, (5,)))(keys)


@pytest.mark.parametrize("count", [2, 4, 8])
def test_keys_of_rows_do_not_depend_on_the_devices(count):
    key, rows = jax.random.key(3), 8
    whole = noise(devices.keys_of_rows(key, rows, None))
    share = rows // count
    parts = jax.pmap(
        lambda _: noise(devices.keys_of_rows(key, share, devices.AXIS)),
        axis_name=devices.AXIS,
        devices=jax.devices()[:count],
    )(jnp.arange(count))
    np.testing.assert_array_equal(parts.reshape(whole.shape), whole)
    assert len(np.unique(whole)) == whole.size
    other = noise(devices.keys_of_rows(jax.random.key(4), rows, None))
    assert not np.isin(other, whole).any()
