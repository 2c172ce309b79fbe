"""Processes and devices: start-up, three ways to compile, collectives for losses.

The same `update` runs on one device, on a mesh (jit, batch sharded on its leading axis,
state replicated) or under pmap. `Placement` hides the difference from the loop.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.jax_utils
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pim_jax.training.task import Scalars, Update

AXIS = "batch"  # the only axis: of the mesh under jit, of the map under pmap
AUTOMATIC = "auto"  # as coordinator address: let JAX ask the cluster

Step = Callable[[Any, Any], tuple[Any, Scalars]]


def start(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
) -> None:
    """Joins the processes of one run; call it before anything else touches JAX.

    Args:
      coordinator_address: 'host:port' of process 0, the same on all; 'auto' on a pod
        or cluster that JAX can ask by itself; None for one process (does nothing).
      num_processes: how many processes take part.
      process_id: which of them this is, from 0.

    Raises:
      ValueError: some of the three are given and some are missing, or out of range.
    """
    numbers = (num_processes, process_id)
    if coordinator_address in (None, "", AUTOMATIC):
        if any(number is not None for number in numbers):
            raise ValueError(
                f"num_processes={num_processes} and process_id={process_id} need"
                f" coordinator_address='host:port', found {coordinator_address!r}"
            )
    elif num_processes is None or process_id is None:
        raise ValueError(
            f"coordinator_address={coordinator_address!r} needs num_processes and"
            f" process_id as well, found {num_processes} and {process_id}"
        )
    elif not 0 <= process_id < num_processes:
        raise ValueError(
            f"process_id is {process_id}, expected 0..{num_processes - 1}"
            f" (num_processes is {num_processes})"
        )
    if not coordinator_address:
        return
    # CPU processes need a library for their collectives; other platforms ignore this.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    if coordinator_address == AUTOMATIC:
        jax.distributed.initialize()
    else:
        jax.distributed.initialize(coordinator_address, num_processes, process_id)
    _meet()


def _meet() -> None:
    """A sum over the devices of all processes.

    The first collective of CPU processes fails if one of them is half a minute behind,
    later ones wait. So the first is here, before process 0 has more to do than others.
    """
    mesh = Mesh(np.array(choose(0)), (AXIS,))
    ones = jax.make_array_from_callback(
        mesh.devices.shape,
        NamedSharding(mesh, PartitionSpec(AXIS)),
        lambda _: np.ones(1, np.float32),
    )
    jax.block_until_ready(
        jax.jit(jnp.sum, out_shardings=NamedSharding(mesh, PartitionSpec()))(ones)
    )


def choose(count: int) -> list[jax.Device]:
    """All devices of all processes (count 0), or the first `count` of one process.

    They come in the order of processes, so that the global batch is the processes'
    shares one after the other.

    Raises:
      ValueError: more devices than there are, or a choice in a run of many processes.
    """
    found = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    if count == 0:
        return found
    if jax.process_count() > 1:
        raise ValueError(
            f"devices is {count}, expected 0 (all) in a run of"
            f" {jax.process_count()} processes"
        )
    if not 0 < count <= len(found):
        raise ValueError(
            f"devices is {count}, expected 0 (all) to {len(found)}, the number of"
            f" {found[0].platform} devices here"
        )
    return found[:count]


def check_batch_size(batch_size: int, count: int) -> None:
    """Checks the size of the global batch, for tasks to call before they read data.

    Args:
      batch_size: rows over all devices of all processes.
      count: the config's `devices`, as for `choose`.

    Raises:
      ValueError: no positive multiple of the number of devices; or as `choose`.
    """
    number = len(choose(count))
    if batch_size < 1 or batch_size % number:
        raise ValueError(
            f"batch_size is {batch_size}, expected a positive multiple of the number of"
            f" devices, {number}"
        )


class Placement(NamedTuple):
    """One way to run `update`: where state and batch lie, and what is compiled.

    Attributes:
      compile: (update, seed, donate) -> step; step(state, batch) -> (state, scalars),
        with the key of update number k being `fold_in(key(seed), k)`.
      put_state: host state (NumPy leaves, the same on every process) -> device state.
      put_batch: this process's share as NumPy -> device batch.
      local: device state -> the same arrays on one local device, without a copy. They
        are gone after the next step if the state is donated.
    """

    compile: Callable[[Update, int, bool], Step]
    put_state: Callable[[Any], Any]
    put_batch: Callable[[Mapping[str, np.ndarray]], Any]
    local: Callable[[Any], Any]


def place(how: str, count: int) -> Placement:
    """The placement for the config's `compile` ('jit' or 'pmap') and `devices`.

    Raises:
      ValueError: another `how`, or as `choose`.
    """
    if how == "jit":
        return _over_mesh(choose(count))
    if how == "pmap":
        return _over_pmap(choose(count))
    raise ValueError(f"compile is {how!r}, expected 'jit' or 'pmap'")


def axis_name(how: str) -> str | None:
    """The axis over which an update takes its means, for the config's `compile`.

    Returns: `AXIS` under pmap, where an update sees its device's share of a minibatch;
      None under jit, where it sees all of it.
    """
    return AXIS if how == "pmap" else None


def fetch(tree: Any) -> Any:
    """Copies arrays that lie on local devices to NumPy.

    Always a copy: on CPU the plain conversion shares memory with a buffer that the next
    step may be given to overwrite.
    """
    return jax.tree.map(lambda leaf: np.array(leaf, copy=True), jax.device_get(tree))


@functools.lru_cache(maxsize=4)  # the same function again is not compiled again
def _with_key(update: Update, seed: int) -> Step:
    """`update` with the key made from the state's own step: nothing is sent for it."""

    def step(state: Any, batch: Any) -> tuple[Any, Scalars]:
        return update(
            state, batch, jax.random.fold_in(jax.random.key(seed), state.step)
        )

    return step


def _own(tree: Any) -> Any:
    """Copies, for buffers that are the device's own.

    On CPU an array made from NumPy may share its memory. Donating such an array corrupts
    it where the program comes from JAX's compilation cache (seen with 0.5.3).
    """
    return jax.tree.map(jnp.copy, tree)


def _check_rows(batch: Mapping[str, np.ndarray], local_count: int) -> None:
    rows = {name: np.shape(array)[:1] for name, array in batch.items()}
    if len(set(rows.values())) != 1 or () in rows.values():
        raise ValueError(f"the arrays of a batch differ in their leading axis: {rows}")
    ((count,),) = set(rows.values())
    if count == 0 or count % local_count:
        raise ValueError(
            f"this process's share of the batch has {count} rows, expected a multiple"
            f" of its {local_count} devices"
        )


def _over_mesh(devices: list[jax.Device]) -> Placement:
    mesh = Mesh(np.array(devices), (AXIS,))
    replicated = NamedSharding(mesh, PartitionSpec())
    sharded = NamedSharding(mesh, PartitionSpec(AXIS))
    local_count = len(mesh.local_devices)

    def compile_step(update: Update, seed: int, donate: bool) -> Step:
        return jax.jit(
            _with_key(update, seed),
            in_shardings=(replicated, sharded),
            out_shardings=(replicated, replicated),
            donate_argnums=(0,) if donate else (),
        )

    own = jax.jit(_own, out_shardings=replicated)

    def put(leaf: np.ndarray) -> jax.Array:
        return jax.make_array_from_callback(
            np.shape(leaf), replicated, lambda index: leaf[index]
        )

    def put_batch(batch: Mapping[str, np.ndarray]) -> Any:
        _check_rows(batch, local_count)
        return {
            name: jax.make_array_from_process_local_data(sharded, array)
            for name, array in batch.items()
        }

    return Placement(
        compile=compile_step,
        put_state=lambda state: own(jax.tree.map(put, state)),
        put_batch=put_batch,
        local=lambda tree: jax.tree.map(lambda leaf: leaf.addressable_data(0), tree),
    )


def _over_pmap(devices: list[jax.Device]) -> Placement:
    here = [device for device in devices if device.process_index == jax.process_index()]
    # pmap wants None for "all" when there are several processes.
    chosen = None if jax.process_count() > 1 else devices
    own = jax.pmap(_own, devices=chosen)

    def compile_step(update: Update, seed: int, donate: bool) -> Step:
        return jax.pmap(
            _with_key(update, seed),
            axis_name=AXIS,
            devices=chosen,
            donate_argnums=(0,) if donate else (),
        )

    def put_batch(batch: Mapping[str, np.ndarray]) -> Any:
        _check_rows(batch, len(here))
        return {
            name: np.reshape(array, (len(here), -1, *np.shape(array)[1:]))
            for name, array in batch.items()
        }

    def local(leaf: jax.Array) -> jax.Array:
        # JAX versions differ in whether the shard keeps its leading axis of one.
        return leaf.addressable_data(0).reshape(leaf.shape[1:])

    return Placement(
        compile=compile_step,
        put_state=lambda state: own(flax.jax_utils.replicate(state, devices=here)),
        put_batch=put_batch,
        local=lambda tree: jax.tree.map(local, tree),
    )


def gather(array: jax.Array, axis_name: str | None = None) -> jax.Array:
    """All devices' rows, (n, ...) -> (devices * n, ...); under jit `array` itself.

    For losses over the global batch. Differentiable; use it with `gradient_update`.
    """
    if axis_name is None:
        return array
    return jax.lax.all_gather(array, axis_name, tiled=True)


def local_part(array: jax.Array, axis_name: str | None = None) -> jax.Array:
    """This device's rows of an array over the global batch; under jit `array` itself.

    The inverse of `gather`. Noise drawn for the global batch and cut by this is the
    same on one device and on many.

    Raises:
      ValueError: the rows do not divide over the devices.
    """
    if axis_name is None:
        return array
    count = jax.lax.psum(1, axis_name)  # a Python number: the size of the axis
    rows, rest = divmod(array.shape[0], count)
    if rest:
        raise ValueError(f"{array.shape[0]} rows do not divide over {count} devices")
    start_row = jax.lax.axis_index(axis_name) * rows
    return jax.lax.dynamic_slice_in_dim(array, start_row, rows)


def keys_of_rows(key: jax.Array, rows: int, axis_name: str | None) -> jax.Array:
    """A key for each row of the minibatch, (rows,).

    It depends on the key and on the row's number in the global minibatch, so that one
    device and many draw the same.

    Args:
      key: the same on every device.
      rows: of this device's share under pmap, else of the global batch.
      axis_name: the pmap axis, or None under jit.
    """
    first = 0 if axis_name is None else jax.lax.axis_index(axis_name) * rows
    return jax.vmap(lambda row: jax.random.fold_in(key, row))(first + jnp.arange(rows))
