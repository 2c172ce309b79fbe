"""Runs a script's main so that an error of the user is one line, not a stack trace.

The exit statuses are those of the commands `pim-jax` and `codec-jax`.
"""

import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from absl import app, flags, logging

flags.DEFINE_bool("traceback", False, "Show where an error came from.")

USAGE = 2  # exit status for wrong input, as of argparse
INTERRUPTED = 130  # of a program that Ctrl-C ended, as shells give it

_TRACE = "Traceback (most recent call last)"

# What the packages raise for wrong input, or for want of an optional library. A misspelt
# config key is a KeyError inside an AttributeError; any other AttributeError is a defect
# of ours and keeps its trace.
USER_ERRORS = (ValueError, KeyError, OSError, FloatingPointError, ImportError)


def message(error: BaseException) -> str:
    """The error in one line, without the wrapping that KeyError puts around its text."""
    while error.args and isinstance(error.args[0], BaseException):
        error = error.args[0]
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    lines = [line.strip() for line in str(text).splitlines()]
    return "; ".join(line for line in lines if line)


def _is_users(error: BaseException) -> bool:
    if isinstance(error, AttributeError):
        return bool(error.args) and isinstance(error.args[0], KeyError)
    return isinstance(error, USER_ERRORS)


@contextmanager
def _one_line(argv: Sequence[str]) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        _end(argv, "interrupted", INTERRUPTED)
    except Exception as error:
        if not _is_users(error):
            raise
        _end(argv, f"error: {message(error)}", USAGE)


def _end(argv: Sequence[str], text: str, status: int) -> NoReturn:
    """Ends the program because of the exception that is being handled."""
    # Looked up as text, for it may have been the parsing of the flags that failed.
    if "--traceback" in argv:
        traceback.print_exc()
    else:
        sys.stderr.write(f"{argv[0]}: {text}\n")
    sys.exit(status)


def _parsed(arguments: list[str]) -> list[str]:
    """Parses flags like absl, but for exit statuses and the lines of an error."""
    try:
        return list(flags.FLAGS(arguments))
    except SystemExit:
        sys.exit(0)  # The only one: help was asked for, which absl takes for an error.
    except flags.Error as error:
        text = str(error)
        if _TRACE in text:  # Of a config file that raised; its last line says why.
            text = text.strip().splitlines()[-1].partition("Error: ")[2]
        raise ValueError(f"{message(ValueError(text))} (see --help)") from error


def run(main: Callable[[], object]) -> None:
    """Parses the flags and calls `main`.

    An error of the user ends the program with exit status 2 and one line on stderr,
    Ctrl-C with 130; --traceback shows the whole trace.
    """
    argv = list(sys.argv)

    def parse(arguments: list[str]) -> list[str]:
        with _one_line(argv):
            rest = _parsed(arguments)
            if len(rest) > 1:
                raise ValueError(f"unexpected arguments: {' '.join(rest[1:])}")
            return rest
        raise AssertionError("not reached")

    def start(rest: list[str]) -> None:
        # Orbax and JAX tell dozens of lines at each checkpoint, which absl shows unless
        # told otherwise; --verbosity=0 brings them back. (By now absl has changed the
        # flag itself, so the arguments have to say whether it was given.)
        if not any(a.lstrip("-").startswith(("verbosity", "v=")) for a in argv):
            logging.set_verbosity(logging.WARNING)
        with _one_line(argv):
            main()

    app.run(start, flags_parser=parse)
