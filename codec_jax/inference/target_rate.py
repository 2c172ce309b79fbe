"""The search for a rate that reaches a target.

Of photographs, files and their quality grow with the rate. Of flat and tiny pictures they
rise and fall. So a grid of rates is tried before anything is bisected, or refused.
"""

from collections.abc import Callable, Sequence


def grid(last: int, between: int, most: int) -> tuple[int, ...]:
    """Steps from 0 to `last`: as fine as `most` of them allow.

    Args:
      last: the last step.
      between: from one trained rate to the next. These are always in the grid; as often
        as possible it is halved in between.
      most: steps in the grid, unless the trained rates are more.
    """
    while between > 1 and 2 * last // between + 1 <= most:
        between //= 2
    return tuple(range(0, last + 1, between))


def first_that_holds(holds: Callable[[int], bool], steps: Sequence[int]) -> int | None:
    """The first of these steps for which `holds`, made better by bisection.

    Between it and the one before, for which it does not, a neighbour is sought that holds
    beside one that does not. All steps count whole numbers up or down.

    Args:
      holds: whether a step will do.
      steps: what is tried, in the order of preference.

    Returns: None if it holds for none of these.
    """
    found = next((i for i, step in enumerate(steps) if holds(step)), None)
    if not found:
        return None if found is None else steps[0]
    bad, good = steps[found - 1], steps[found]
    while abs(good - bad) > 1:
        middle = (good + bad) // 2
        bad, good = (bad, middle) if holds(middle) else (middle, good)
    return good


def best_of(
    holds: Callable[[int], bool], coarse: Sequence[int], fine: Sequence[int]
) -> int | None:
    """`first_that_holds` of a coarse grid; where there is none, of a fine one."""
    for steps in (coarse, fine):
        found = first_that_holds(holds, steps)
        if found is not None:
            return found
    return None
