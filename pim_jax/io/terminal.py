"""What the commands of both packages print, and what they end with.

Exit statuses: 0 success; 1 some input cannot be read or processed, after one line about
each on stderr; 2 the command line is wrong, nothing was done; 130 Ctrl-C.
"""

import os
import sys
from collections.abc import Callable

from rich.console import Console

SUCCESS, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
# What the packages raise for wrong input.
USER_ERRORS = (ValueError, OSError, ImportError, MemoryError)


class UsageError(ValueError):
    """What was asked for cannot be done, whatever is in the files."""


def run(program: str, command: Callable[[], int | None]) -> int:
    """Runs a command, and turns errors of the user into one line on stderr.

    Args:
      program: name that the line begins with.
      command: returns an exit status, None for success; raises UsageError, or one of
        USER_ERRORS for what is wrong with an input.

    Returns: the exit status.
    """
    try:
        return command() or SUCCESS
    except KeyboardInterrupt:
        complain(program, "interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever reads our output has read enough. Python would say so at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except UsageError as error:
        complain(program, error)
        return USAGE
    except USER_ERRORS as error:
        complain(program, error)
        return FAILED


def complain(program: str, message: object) -> None:
    """Prints one line on stderr."""
    text = " ".join(str(message).split())
    console(stderr=True).print(f"{program}: {text or type(message).__name__}")


def console(stderr: bool = False) -> Console:
    """Where one line stays one line, and nothing in a file name is anything but text."""
    return Console(
        stderr=stderr, soft_wrap=True, markup=False, emoji=False, highlight=False
    )
