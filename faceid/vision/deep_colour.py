"""Photos of 16 bits a colour of which only the lower ones are used: Pillow keeps the upper eight, and sees them black.

Read once more with the two bytes of each sample changed about, a photo gives its lower eight. Nothing here needs NumPy,
because the process that decodes apart starts faster without.
"""

import io
import sys
from collections.abc import Sequence

from PIL import Image as Pillow
from PIL import ImageChops
from PIL.ImageFile import ImageFile

# A hot pixel, or a number that means "no value", says nothing about the others: so many at either end are left out.
OUTLIERS = 0.001
BYTES_A_PIXEL = 4  # of the picture of the lower bytes

# How Pillow is told to take samples of 16 bits from a file, and what gives it the lower byte of each.
_OTHER_ORDER = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}
_GREY_AND_ALPHA = "LA;16B"
_LOWER = {
    f"{colours};16{order}": f"{colours};16{other}"
    for colours in ("RGB", "RGBA", "RGBX")
    for order, other in _OTHER_ORDER.items()
} | {_GREY_AND_ALPHA: "RGBA"}  # the grey's two bytes, and those of the alpha
_UPPER_BIT = 128
_STRIP_PIXELS = 2**20


def is_deep(image: ImageFile) -> bool:
    """Say whether an image that is not loaded yet has 16 bits a colour, in an order that is known here."""
    return bool(image.tile) and all(_raw_mode(tile.args) in _LOWER for tile in image.tile)


def lower_half(image: ImageFile) -> ImageFile | None:
    """Return the picture of the lower bytes of one that is not loaded yet; None unless `is_deep`."""
    if not is_deep(image) or not isinstance(image.fp, io.BytesIO):
        return None
    modes = [_raw_mode(tile.args) for tile in image.tile]
    lower = type(image)(io.BytesIO(image.fp.getvalue()))
    lower.tile = [
        tile._replace(args=_LOWER[mode] if isinstance(tile.args, str) else (_LOWER[mode], *(tile.args or ())[1:]))
        for tile, mode in zip(image.tile, modes, strict=True)
    ]
    lower.info["greys"] = _GREY_AND_ALPHA in modes
    return lower


def scale(image: Pillow.Image, lower: Pillow.Image) -> None:
    """Scale the colours of a loaded image by what all but a thousandth of its pixels hold, as deep greys are.

    `lower` has the lower bytes; it is loaded only where they are needed.
    """
    seen = image.getchannel("A") if image.mode == "RGBA" and image.getextrema()[-1] != (0, 0) else None
    high = _greatest(image.histogram(seen))
    if high >= _UPPER_BIT:
        return
    lower.load()
    if lower.info["greys"]:
        lower = Pillow.merge("RGBA", [lower.getchannel("G")] * 4)
    shift = 8 - high.bit_length()
    same, nothing = (list(range(256)), [0] * 256) if image.mode == "RGBA" else ([], [])
    upper_table = [min(value << shift, 255) for value in range(256)] * 3 + same
    lower_table = [value << shift >> 8 for value in range(256)] * 3 + nothing
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        box = (0, top, image.width, min(top + rows, image.height))
        # Not `crop`: it minds the limit on pixels that belongs to the program around us.
        upper_strip, lower_strip = (
            half.resize((image.width, box[3] - top), Pillow.Resampling.NEAREST, box=box) for half in (image, lower)
        )
        image.paste(ImageChops.add(upper_strip.point(upper_table), lower_strip.point(lower_table)), (0, top))


def _raw_mode(args: object) -> str:
    return str(args[0] if isinstance(args, tuple) and args else args)


def _greatest(histogram: Sequence[int]) -> int:
    """Return the greatest of the colours that is not among the thousandth at the upper end."""
    counts = [sum(histogram[value:768:256]) for value in range(256)]
    left_out = sum(counts) * OUTLIERS
    for value in range(255, 0, -1):
        left_out -= counts[value]
        if left_out < 0:
            return value
    return 0
