"""The rooms of this package are top-level packages with plain names: a folder of the same name may hide one."""

from importlib import import_module
from pathlib import Path

_HOME = Path(__file__).resolve().parents[1]


def require_our_rooms(*rooms: str) -> None:
    """Raise ImportError, naming the folder in the way, where a room is not the one that came with this package."""
    for room in rooms:
        module = import_module(room)
        found = [Path(folder).resolve() for folder in getattr(module, "__path__", ())]
        if _HOME / room not in found:
            where = found[0] if found else module.__file__
            raise ImportError(
                f"faceid's package {room!r} is hidden by {where}, which stands before it on Python's path;"
                f" rename that folder, or start Python elsewhere (faceid's own is {_HOME / room})"
            )
