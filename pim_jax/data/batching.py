"""Batches whose every row is a function of (seed, step, row), made ahead by threads.

So a run resumed at step k sees the batches it would have seen, and a process draws its
own rows without drawing those of others.
"""

import collections
import concurrent.futures
import functools
import itertools
import os
from collections.abc import Callable, Iterator

import numpy as np

# A GPU takes some hundred crops in the time that one thread needs to make them.
_THREADS = max(2, min(8, os.cpu_count() or 1))
_BATCHES_AHEAD = 8

Batch = dict[str, np.ndarray]


def generator(seed: int, use: int, *counter: int) -> np.random.Generator:
    """A random generator that is a function of its arguments alone.

    Args:
      seed: of the run.
      use: tells apart purposes that must not share numbers.
      counter: at most three numbers, such as step and row.
    """
    # The first counter word counts the numbers drawn; the others separate the streams.
    words = [0, *counter] + [0] * (3 - len(counter))
    return np.random.Generator(np.random.Philox(key=[seed, use], counter=words))


def rows_of_process(batch_size: int, process_index: int, process_count: int) -> range:
    """The rows of the global batch that belong to one process.

    Raises: ValueError if the batch does not divide, or there is no such process.
    """
    if batch_size < 1 or batch_size % process_count:
        raise ValueError(
            f"batch_size {batch_size} must be a positive multiple of the number of"
            f" processes, {process_count}"
        )
    if not 0 <= process_index < process_count:
        raise ValueError(
            f"process_index must be in 0..{process_count - 1}, got {process_index}"
        )
    share = batch_size // process_count
    return range(process_index * share, (process_index + 1) * share)


def order(count: int, batch_size: int, seed: int, use: int, step: int) -> np.ndarray:
    """(batch_size,) indices, below `count`, of the items of the global batch `step`.

    Every epoch visits all items in a new order, and leaves out the last few that fill
    no batch. If there are fewer items than rows, items recur within a batch.
    """
    copies = -(-batch_size // count)  # 1, unless a batch needs items repeatedly.
    epoch, place = divmod(step, count * copies // batch_size)
    permuted = _permutation(count, copies, seed, use, epoch)
    return permuted[place * batch_size : (place + 1) * batch_size]


@functools.lru_cache(maxsize=8)
def _permutation(
    count: int, copies: int, seed: int, use: int, epoch: int
) -> np.ndarray:
    rng = generator(seed, use, epoch)
    return np.concatenate([rng.permutation(count) for _ in range(copies)])


def ahead(batch: Callable[[int], Batch], start_step: int) -> Iterator[Batch]:
    """batch(start_step), batch(start_step + 1), ..., made ahead by threads.

    The threads end when the iterator is closed.
    """
    pool = concurrent.futures.ThreadPoolExecutor(_THREADS, "batches")
    pending: collections.deque[concurrent.futures.Future[Batch]] = collections.deque()
    try:
        for step in itertools.count(start_step):
            pending.append(pool.submit(batch, step))
            if len(pending) > _BATCHES_AHEAD:
                yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
