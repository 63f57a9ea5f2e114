"""A decoded Pillow image becomes RGB strip by strip, reduced if asked: what is made on the way stays small.

Deep greys (more than 8 bits) stay as they are, as Pillow's modes I (int32) and F (float32): how they are scaled depends
on the whole picture. Nothing here needs NumPy, because the process that decodes apart starts faster without.
"""

import math
from collections.abc import Iterator

from PIL import Image as Pillow
from PIL.ImageFile import ImageFile

from faceid.vision import deep_colour

# Formats whose decoders can leave the finer detail out, which saves time and memory.
REDUCED_IN_DECODING = ("JPEG", "JPEG 2000")
DEEP_MODES = ("I", "F")
# Formats of which programs write a fourth byte a pixel without any meaning.
_PADDED = ("BMP", "TIFF")
# Modes of images in memory, whose colours were multiplied by their alpha.
_MULTIPLIED = {"La": "LA", "RGBa": "RGBA"}
_STRIP_PIXELS = 2**22


def load(image: ImageFile, reduction: int) -> int:
    """Decode the pixels, reduced where the format's decoder can do that; return the reduction that is still to do."""
    stored = image.size
    lower = deep_colour.lower_half(image) if reduction == 1 else None
    if image.format == "JPEG":
        image.draft(None, (math.ceil(image.width / reduction), math.ceil(image.height / reduction)))
    elif image.format == "JPEG2000" and reduction > 1:
        image.reduce = reduction.bit_length() - 1  # type: ignore[method-assign,assignment]
    image.load()
    if lower is not None:
        deep_colour.scale(image, lower)
    return 1 if image.size != stored else reduction


def strips(image: Pillow.Image, reduction: int = 1) -> Iterator[Pillow.Image]:
    """Yield the image from top to bottom in strips of mode RGB (I or F for deep greys).

    `reduction` is how many pixels a side become one, their mean. Transparent pixels are laid on white.
    """
    width, height = image.size
    opaque = _alpha_is_padding(image)
    rows = max(1, _STRIP_PIXELS // max(width * reduction, 1)) * reduction
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        # Not `crop`: it minds the limit on pixels that belongs to the program around us.
        strip = image.resize((width, bottom - top), Pillow.Resampling.NEAREST, box=(0, top, width, bottom))
        plain = strip.convert("RGB") if opaque else _plain(strip)
        yield plain.reduce(reduction) if reduction > 1 else plain


def _alpha_is_padding(image: Pillow.Image) -> bool:
    """Say whether the fourth channel is none, though the header calls it alpha: nothing could be seen of the photo."""
    return image.format in _PADDED and image.mode == "RGBA" and image.getextrema()[-1] == (0, 0)


def _plain(image: Pillow.Image) -> Pillow.Image:
    if image.mode in DEEP_MODES:
        return image
    if image.mode.startswith("I;16"):
        return image.convert("I")
    if image.mode in _MULTIPLIED:
        image = image.convert(_MULTIPLIED[image.mode])
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Pillow.new("RGBA", rgba.size, "white")
        return Pillow.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")
