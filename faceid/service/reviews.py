"""What a review found in each gallery, kept until somebody looks again: ids and scores, no names."""

import threading

from faceid.gallery_review import Suggestion, review_gallery, standing
from faceid.service.galleries import OpenGallery
from indexer.hygiene.review import Finding


class Reviews:
    """The findings of the last review of each gallery; looking takes seconds, answering must not."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[tuple[Finding, ...], dict[str, str]]] = {}
        self._looking = threading.Lock()

    def of(self, opened: OpenGallery, *, again: bool = False) -> tuple[list[Suggestion], dict[str, str]]:
        """Return the findings that still stand, and the kinds that could not be looked for and why."""
        with self._looking:
            if again or opened.name not in self._found:
                found, refused = review_gallery(opened.engine.model, opened.reader)
                self._found[opened.name] = tuple(one.finding for one in found), refused
            findings, refused = self._found[opened.name]
        return standing(opened.reader, findings), refused
