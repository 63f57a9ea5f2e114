"""Clusters as one HTML page: each person's faces in a row, with a field for the name; what is typed is saved as a list.

The page is one file that refers to nothing outside. It holds faces: protect it as the photos.
"""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from faceid.clustering import SortedFace, face_of
from faceid.picture_url import picture_url
from indexer.durable_file import replacing
from indexer.text import plain

PAGE = "index.html"
_FACES = 12  # of a person
_PEOPLE = 2000  # the largest ones
_AROUND = 0.25


def write_cluster_page(placed: Sequence[SortedFace], folder: Path) -> Path:
    """Write the page to the folder. Raises FileNotWritten."""
    from jinja2 import Environment

    people: dict[str, list[SortedFace]] = {}
    for face in placed:
        if face.person is not None:
            people.setdefault(face.person, []).append(face)
    rows = sorted(people.items(), key=lambda item: (item[1][0].status != "person", -len(item[1]), item[0]))
    shown = [(person, mine, [_picture(face) for face in mine[:_FACES]]) for person, mine in rows[:_PEOPLE]]
    unclear = [(face, _picture(face)) for face in placed if face.status == "unclear"][: 10 * _FACES]
    template = files("faceid").joinpath("cluster_page.html.jinja").read_text(encoding="utf-8")
    page = Environment(autoescape=True).from_string(template)
    text = page.render(people=shown, more=len(rows) - len(shown), unclear=unclear, plain=plain)
    with replacing(folder / PAGE) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    return folder / PAGE


def _picture(face: SortedFace) -> str | None:
    pixels = face_of(face, _AROUND)
    return None if pixels is None else picture_url(pixels)
