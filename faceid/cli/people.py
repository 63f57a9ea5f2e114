"""Which person of a gallery an argument names."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from indexer.errors import GalleryError

if TYPE_CHECKING:
    from indexer.gallery import Gallery
    from indexer.records import Identity


_ID = re.compile("#[0-9]{1,18}")


def one_person(opened: "Gallery", person: str) -> "Identity":
    """Return the one person with this id, external id or name; raises GalleryError for nobody, or for several.

    With `#` before it, a number is an id alone: others may bear it as their external id, or name.
    """
    found: Sequence[Identity] = opened.find(int(person[1:]) if _ID.fullmatch(person) else person)
    if not found:
        raise GalleryError(f"nobody called {person!r} in {opened.place}; `faceid gallery list --all` shows everybody")
    if len(found) > 1:
        ids = ", ".join(f"'#{identity.id}'" for identity in found)
        raise GalleryError(f"several people are called {person!r}: give the id ({ids})")
    return found[0]


def several_people(opened: "Gallery", people: Sequence[str]) -> list["Identity"]:
    """Return whom several arguments name, everybody once: a person may have several names."""
    return list({one.id: one for one in (one_person(opened, person) for person in people)}.values())
