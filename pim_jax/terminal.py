"""What the commands of both packages print: plain text, and errors in one line."""

from collections.abc import Callable

from rich.console import Console


def run(program: str, command: Callable[[], None]) -> int:
    """Runs a command; 0 if it succeeded, 2 after one line on stderr if it did not.

    Args:
      program: name that the line begins with.
      command: raises ValueError, OSError or ImportError for errors of the user.
    """
    try:
        command()
    except (ValueError, OSError, ImportError) as error:
        message = " ".join(str(error).split())
        console(stderr=True).print(f"{program}: {message}")
        return 2
    return 0


def console(stderr: bool = False) -> Console:
    """Where one line stays one line, and nothing in a file name is anything but text."""
    return Console(
        stderr=stderr, soft_wrap=True, markup=False, emoji=False, highlight=False
    )
