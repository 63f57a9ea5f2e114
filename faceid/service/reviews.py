"""What a review found in each gallery, kept until somebody looks again: ids and scores, no names."""

import threading

from faceid.gallery_review import Suggestion, review_gallery, standing
from faceid.service.galleries import OpenGallery
from indexer.hygiene.review import Finding


class Reviews:
    """The findings of the last review of each gallery; looking takes seconds, answering must not."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, int], tuple[tuple[Finding, ...], dict[str, str]]] = {}
        self._looking = threading.Lock()

    def of(self, opened: OpenGallery, *, again: bool = False) -> tuple[list[Suggestion], dict[str, str]]:
        """Return the findings that still stand, and the kinds that could not be looked for and why."""
        reader = opened.reader
        place = opened.name, id(reader)  # of a gallery that was put in its place nothing is known
        with self._looking:
            if again or place not in self._found:
                found, refused = review_gallery(opened.engine.model, reader)
                self._found[place] = tuple(one.finding for one in found), refused
            findings, refused = self._found[place]
        return standing(reader, findings), refused
