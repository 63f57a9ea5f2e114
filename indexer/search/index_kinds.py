"""The kinds of index by name, and which one a search gets.

auto: flat below CODED_FROM vectors, int8 from there on; with `fast`, pq from there on. Other packages bring kinds of
their own as entry points of the group `faceid.shortlisters`: a name for a class under the `Shortlister` protocol.
"""

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import cast

from indexer.errors import VectorError
from indexer.search.codes import CODED_FROM
from indexer.search.shortlist import Shortlister

AUTO = "auto"

GROUP = "faceid.shortlisters"

_OURS = {
    "flat": "indexer.search.flat_scan:FlatScan",
    "int8": "indexer.search.int8_scan:Int8Scan",
    "pq": "indexer.search.pq_scan:PqScan",
    "gpu": "indexer.search.torch_scan:TorchScan",
}


def kind_names() -> list[str]:
    """Return what a user may ask for: `auto`, our kinds, and those that other packages bring."""
    return [AUTO, *_OURS, *sorted(set(entry_points(group=GROUP).names) - {AUTO, *_OURS})]


def check_kind(name: str) -> None:
    """Raise VectorError for a kind that does not exist, or that this machine cannot run."""
    if name != AUTO:
        load_kind(name).check_machine()


def choose_kind(name: str, total: int, fast: bool) -> type[Shortlister]:
    """Return the kind for a gallery of `total` vectors: the user's where it serves (`fast` or proved), or by size."""
    large = total >= CODED_FROM
    by_size = ("pq" if fast else "int8") if large else "flat"
    if name == AUTO:
        return load_kind(by_size)
    asked = load_kind(name)
    return load_kind(by_size) if asked.proves == fast else asked


@cache
def load_kind(name: str) -> type[Shortlister]:
    """Return the class of a kind; raises VectorError for a name that nobody knows, or that cannot be loaded."""
    if name in _OURS:
        module, attribute = _OURS[name].split(":")
        return cast(type[Shortlister], getattr(import_module(module), attribute))
    for entry in entry_points(group=GROUP, name=name):
        try:
            return cast(type[Shortlister], entry.load())
        except (ImportError, AttributeError) as error:
            raise VectorError(f"the index kind {name!r} ({entry.value}) cannot be loaded: {error}") from error
    raise VectorError(f"there is no index kind {name!r}; choose from {', '.join(kind_names())}")
