"""Which person of a gallery an argument names."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from indexer.errors import GalleryError

if TYPE_CHECKING:
    from indexer.gallery import Gallery
    from indexer.records import Identity


def one_person(opened: "Gallery", person: str) -> "Identity":
    """Return the one person with this id, external id or name; raises GalleryError for nobody, or for several."""
    found: Sequence[Identity] = opened.find(person)
    if not found:
        raise GalleryError(f"nobody called {person!r} in {opened.place}; `faceid gallery list --all` shows everybody")
    if len(found) > 1:
        ids = ", ".join(str(identity.id) for identity in found)
        raise GalleryError(f"several people are called {person!r}: give the id ({ids})")
    return found[0]
