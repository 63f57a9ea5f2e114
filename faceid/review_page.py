"""A review as one HTML page: the faces of each finding side by side, the command that mends it, and answers to save.

The page is one file that refers to nothing outside. It holds faces: protect it as the photos.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from faceid.gallery_review import Suggestion
from faceid.picture_url import jpeg_url, picture_url
from faceid.vision.images import ImageError, UInt8Image, file_named, read_photo
from indexer.durable_file import writing
from indexer.gallery import Gallery
from indexer.hygiene.review import FindingKind
from indexer.records import TemplateRow
from indexer.text import plain

_AROUND = 0.25  # of the box, shown on each side of it

HEADINGS: dict[FindingKind, str] = {
    "duplicate": "One person under two names",
    "mislabelled": "Photos of another enrolled person",
    "stranger": "Photos of somebody else",
    "disagree": "Two photos that do not agree",
    "broken": "Crops that show no face",
    "same_photo": "One photo twice",
}


@dataclass(frozen=True)
class _Face:
    caption: str
    picture: str | None


def write_review_page(suggestions: Sequence[Suggestion], path: Path, *, gallery: Gallery, fdr: float) -> Path:
    """Write the page. Raises FileNotWritten.

    Faces are cut from the photos; of photos that are gone or have changed the picture is shown that the gallery keeps,
    or else their path alone.
    """
    from jinja2 import Environment

    template = files("faceid").joinpath("review_page.html.jinja").read_text(encoding="utf-8")
    page = Environment(autoescape=True).from_string(template)
    groups = [
        (
            heading,
            [(one, [_face(row, gallery) for row in one.templates]) for one in suggestions if one.finding.kind == kind],
        )
        for kind, heading in HEADINGS.items()
    ]
    text = page.render(groups=[group for group in groups if group[1]], gallery=gallery.place, fdr=fdr)
    with writing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    return path


def _face(row: TemplateRow, gallery: Gallery) -> _Face:
    caption = f"{plain(row.name)}: {plain(Path(row.source).name)} (template {row.id})"
    pixels = _from_photo(row)
    if pixels is not None:
        return _Face(caption, picture_url(pixels))
    kept = gallery.crop(row.id)
    return _Face(caption, None if kept is None else jpeg_url(kept))


def _from_photo(row: TemplateRow) -> UInt8Image | None:
    try:
        photo = read_photo(file_named(row.source))
    except ImageError:
        return None
    return _cut(photo.pixels, row.box, photo.reduction) if photo.digest == row.source_digest else None


def _cut(pixels: UInt8Image, box: tuple[float, float, float, float] | None, reduction: int) -> UInt8Image:
    """Return the face with what is around it; the whole photo where nobody knows where the face is."""
    if box is None:
        return pixels
    left, top, width, height = (value / reduction for value in box)
    x, y = left - width * _AROUND, top - height * _AROUND
    right, bottom = left + width * (1 + _AROUND), top + height * (1 + _AROUND)
    inside = pixels[max(0, int(y)) : max(1, int(bottom)), max(0, int(x)) : max(1, int(right))]
    return inside if inside.size else pixels
