"""Settings by name: dictionaries, and those of ml_collections without importing it."""

from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Options(Protocol):
    """Whatever `dict(options)` understands, such as a ConfigDict."""

    def keys(self) -> Iterable[str]:
        """The names."""

    def __getitem__(self, name: str, /) -> Any:
        """The value of a name."""
