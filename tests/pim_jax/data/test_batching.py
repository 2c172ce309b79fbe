"""Random numbers, orders and threads of batches."""

import itertools
import threading

import numpy as np
import pytest

from pim_jax.data import batching


def test_generators_are_functions_of_their_arguments_alone():
    arguments = [
        (0, 0),
        (0, 0, 1),
        (0, 0, 0, 1),
        (0, 0, 0, 0, 1),
        (0, 1),
        (1, 0),
        (7, 2, 5),
    ]
    drawn = {a: batching.generator(*a).random(10_000) for a in arguments}
    for a in arguments:
        np.testing.assert_array_equal(batching.generator(*a).random(10_000), drawn[a])
    for a, b in itertools.combinations(arguments, 2):
        assert not np.isin(drawn[a], drawn[b]).any()
        assert abs(np.corrcoef(drawn[a], drawn[b])[0, 1]) < 0.06
    # Missing counters are zeros.
    np.testing.assert_array_equal(
        batching.generator(0, 0, 0).random(9), drawn[0, 0][:9]
    )


@pytest.mark.parametrize(
    ("count", "batch_size"), [(12, 4), (10, 4), (4, 4), (3, 8), (1, 5)]
)
def test_an_epoch_shows_everything_equally_often(count, batch_size):
    copies = -(-batch_size // count)
    steps = count * copies // batch_size
    for epoch in range(3):
        shown = [
            batching.order(count, batch_size, 0, 0, epoch * steps + place)
            for place in range(steps)
        ]
        assert all(len(rows) == batch_size for rows in shown)
        times = np.bincount(np.concatenate(shown), minlength=count)
        left_out = count * copies - steps * batch_size
        assert left_out < batch_size
        assert times.max() <= copies
        assert (copies - times).sum() == left_out


def test_orders_differ_between_epochs_seeds_and_uses():
    orders = [
        tuple(batching.order(50, 50, seed, use, step))
        for seed, use, step in [(0, 0, 0), (0, 0, 1), (1, 0, 0), (0, 1, 0)]
    ]
    assert len(set(orders)) == 4
    assert tuple(batching.order(50, 50, 0, 0, 0)) == orders[0]


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_processes_share_the_rows(count):
    rows = [batching.rows_of_process(6, index, count) for index in range(count)]
    assert [*itertools.chain(*rows)] == list(range(6))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((6, 0, 4), "batch_size 6 must be a positive multiple"),
        ((0, 0, 1), "batch_size 0"),
        ((-4, 0, 2), "batch_size -4"),
        ((6, 2, 2), r"process_index must be in 0\.\.1, got 2"),
        ((6, -1, 2), "process_index"),
    ],
)
def test_wrong_shares(arguments, text):
    with pytest.raises(ValueError, match=text):
        batching.rows_of_process(*arguments)


def test_batches_come_in_order_and_threads_end():
    before = threading.active_count()
    source = batching.ahead(lambda step: {"step": np.array(step)}, 5)
    assert [int(next(source)["step"]) for _ in range(30)] == list(range(5, 35))
    assert threading.active_count() > before
    source.close()
    assert threading.active_count() == before


def test_what_goes_wrong_in_a_thread_is_raised_at_its_batch():
    def batch(step):
        if step == 3:
            raise ValueError("broken file")
        return {"step": np.array(step)}

    source = batching.ahead(batch, 0)
    assert [int(next(source)["step"]) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="broken file"):
        next(source)
