"""Errors of decoders on damaged or hostile bytes, kept apart from errors of our own code.

Each reader encloses its calls of a decoder, and nothing else, in `decoding`, with the
errors that this decoder raises. What our own code raises by mistake surfaces as it is.
"""

import contextlib
from collections.abc import Iterator


class DamagedError(ValueError):
    """Bytes that do not decode, or whose content is not read here."""


class decoding:
    """Turns some errors of the enclosed decoder into a DamagedError.

    Has no state, so one can be used many times: it stands around single instructions.
    """

    def __init__(self, *errors: type[Exception]) -> None:
        """Args: errors: what the decoder raises on bytes that it cannot decode."""
        self._errors = errors

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if isinstance(error, self._errors) and not isinstance(error, DamagedError):
            text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            raise DamagedError(text) from error


@contextlib.contextmanager
def named(problem: str) -> Iterator[None]:
    """Turns a DamagedError into a ValueError that begins with `problem`.

    Args:
      problem: names the file and says what it is not.
    """
    try:
        yield
    except DamagedError as error:
        raise ValueError(f"{problem}: {error}") from error
