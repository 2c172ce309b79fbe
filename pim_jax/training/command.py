"""Runs a script's main so that an error of the user is one line, not a stack trace."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from absl import app, flags, logging

flags.DEFINE_bool("traceback", False, "Show where an error came from.")

# Exit statuses, alike in all programs: 0 done, 1 an error in the input.
USAGE = 2
INTERRUPTED = 130  # as shells have it: 128 + SIGINT

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
    except Exception as error:
        # Looked up as text, for it may have been the parsing of the flags that failed.
        if "--traceback" in argv or not _is_users(error):
            raise
        sys.exit(f"{argv[0]}: error: {message(error)}")


def _wrong_usage(argv: Sequence[str], text: str) -> NoReturn:
    print(f"{argv[0]}: error: {text}; --help lists the flags", file=sys.stderr)
    sys.exit(USAGE)


def run(main: Callable[[], object]) -> None:
    """Parses the flags and calls `main`.

    An error of the user ends the program with one line on stderr, and exit status 1, or
    `USAGE` where the flags are wrong; --traceback shows the whole trace.
    """
    argv = list(sys.argv)

    def parse(arguments: list[str]) -> list[str]:
        with _one_line(argv):
            try:
                return flags.FLAGS(arguments)
            except flags.Error as error:
                _wrong_usage(argv, message(error))

    def start(rest: list[str]) -> None:
        if len(rest) > 1:
            _wrong_usage(argv, f"unexpected arguments: {' '.join(rest[1:])}")
        # Orbax and JAX tell dozens of lines at each checkpoint, which absl shows unless
        # told otherwise; --verbosity=0 brings them back. (By now absl has changed the
        # flag itself, so the arguments have to say whether it was given.)
        if not any(a.lstrip("-").startswith(("verbosity", "v=")) for a in argv):
            logging.set_verbosity(logging.WARNING)
        with _one_line(argv):
            main()

    app.run(start, flags_parser=parse)
