"""What the benchmarks' pages share: a style sheet, figures and pictures that lie in the page itself, rates as text.

A page refers to nothing outside itself, and whatever text comes into it is escaped.
"""

import base64
import io
import warnings
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.report.wording import interval, percent
from faceid.vision.images import ImageError, read_photo


def render(template: str, **values: object) -> str:
    """Return the page of a template, named from the folder `benchmarks`, with the shared style sheet in it."""
    environment = Environment(
        loader=PackageLoader("benchmarks", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    environment.filters["interval"] = interval
    environment.filters["base_name"] = lambda path: Path(path).name
    return environment.get_template(template).render(**values)


def picture_url(path: Path, side: int) -> str | None:
    """Return a photo as a JPEG in a data URL, at most `side` pixels wide and high; None if it cannot be read."""
    try:
        picture = Image.fromarray(read_photo(path).pixels)
    except ImageError:
        return None
    picture.thumbnail((side, side))
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=88)
    return _data_url("image/jpeg", buffer.getvalue())


def figure_url(figure: Figure) -> str:
    """Return a figure as SVG in a data URL, the same bytes for the same figure.

    As a picture, not as a part of the page: its ids clash with no other figure's, and no label in it is ever markup.
    """
    buffer = io.BytesIO()
    # A label may hold letters that the font lacks: boxes are drawn then, and that is all there is to say.
    with rc_context({"svg.hashsalt": "faceid"}), warnings.catch_warnings(action="ignore", category=UserWarning):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return _data_url("image/svg+xml", buffer.getvalue())


def _data_url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
