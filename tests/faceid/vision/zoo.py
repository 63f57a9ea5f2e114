"""A zoo of photos as people have them, and of files that only pretend: each with what must come of it.

All are made here, of one small picture; nothing is stored.
"""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


def base_picture(width: int = 48, height: int = 32) -> Pixels:
    """A smooth picture without any symmetry: red rises to the right, green to the bottom, a blue corner."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., 0] = np.linspace(40, 220, width)
    picture[..., 1] = np.linspace(60, 200, height)[:, None]
    picture[: height // 2, : width // 2, 2] = 180
    return picture


PICTURE = base_picture()
GREY = np.repeat(np.asarray(Image.fromarray(PICTURE).convert("L"))[..., None], 3, axis=2)


@dataclass(frozen=True)
class Animal:
    """A file of the zoo: its bytes, and the picture that must come of it (with remarks), or the reason code."""

    name: str
    data: bytes
    picture: Pixels | None = None
    reason_code: str | None = None
    remarks: tuple[str, ...] = ()
    off: float = 0.0  # how far the mean pixel may be off, of 255
    plugin: str | None = None


def zoo() -> Iterator[Animal]:
    """All of them."""
    for animals in (
        jpegs(),
        orientations(),
        odd_metadata(),
        several_pictures(),
        cut_tails(),
        deep_greys(),
        deep_colours(),
        pngs(),
        webps(),
        bitmaps(),
        gifs(),
        pnms(),
        tiffs(),
        odd_tiffs(),
        modern(),
        moving(),
        strangers(),
        hostile(),
    ):
        yield from animals


def saved(image: Image.Image | Pixels, kind: str, **settings: Any) -> bytes:
    """Encode."""
    image = image.copy() if isinstance(image, Image.Image) else Image.fromarray(image)  # saving leaves marks on it
    if "append_images" in settings:
        settings["append_images"] = [further.copy() for further in settings["append_images"]]
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


def exif(*tags: tuple[int, int, int, bytes], order: str = "<", count: int | None = None) -> bytes:
    """EXIF data of raw entries (tag, type, count, four bytes of value)."""
    body = struct.pack(order + "H", len(tags) if count is None else count)
    body += b"".join(struct.pack(order + "HHI", tag, kind, number) + value for tag, kind, number, value in tags)
    start = b"II*\0" if order == "<" else b"MM\0*"
    return b"Exif\0\0" + start + struct.pack(order + "I", 8) + body + b"\0\0\0\0"


def turn_tag(value: int, order: str = "<") -> tuple[int, int, int, bytes]:
    """The orientation as an entry."""
    return (0x0112, 3, 1, struct.pack(order + "HH", value, 0))


def stored_turned(picture: Pixels, orientation: int) -> Pixels:
    """The picture as a camera stores it that says this orientation."""
    undo = {
        1: lambda p: p,
        2: np.fliplr,
        3: lambda p: np.rot90(p, 2),
        4: np.flipud,
        5: lambda p: p.swapaxes(0, 1),
        6: lambda p: np.rot90(p, 1),
        7: lambda p: np.rot90(p, 2).swapaxes(0, 1),
        8: lambda p: np.rot90(p, -1),
    }
    return np.ascontiguousarray(undo[orientation](picture))


def with_segment(jpeg: bytes, marker: int, body: bytes) -> bytes:
    """Put a segment behind a JPEG's start."""
    return jpeg[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def chunk(kind: bytes, body: bytes) -> bytes:
    """A PNG chunk."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_with(png: bytes, *chunks: bytes) -> bytes:
    """Put chunks behind a PNG's header."""
    return png[:33] + b"".join(chunks) + png[33:]


def raw_png(width: int, height: int, depth: int, colour: int, rows: bytes, *chunks: bytes) -> bytes:
    """A PNG of raw rows (each with its filter byte)."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def jpegs() -> Iterator[Animal]:
    for quality in (75, 95):
        for subsampling in (0, 1, 2):
            for progressive in (False, True):
                data = saved(PICTURE, "JPEG", quality=quality, subsampling=subsampling, progressive=progressive)
                yield Animal(f"jpeg q{quality} 4:{subsampling} progressive={progressive}", data, PICTURE, off=9)
    good = saved(PICTURE, "JPEG", quality=95)
    yield Animal("jpeg optimised", saved(PICTURE, "JPEG", quality=95, optimize=True), PICTURE, off=6)
    yield Animal("jpeg with restarts", saved(PICTURE, "JPEG", quality=95, restart_marker_blocks=1), PICTURE, off=6)
    yield Animal("jpeg rgb", saved(PICTURE, "JPEG", quality=95, keep_rgb=True), PICTURE, off=4)
    yield Animal("jpeg grey", saved(Image.fromarray(GREY).convert("L"), "JPEG", quality=95), GREY, off=4)
    yield Animal("jpeg cmyk", saved(Image.fromarray(PICTURE).convert("CMYK"), "JPEG", quality=95), PICTURE, off=6)
    yield Animal("jpeg comment", with_segment(good, 0xFE, b"hello" * 1000), PICTURE, off=6)
    yield Animal("jpeg torn comment", good[:2] + b"\xff\xfe\xff\xff" + good[2:], reason_code="unreadable")
    yield Animal(
        "jpeg with a profile that is none", saved(PICTURE, "JPEG", quality=95, icc_profile=b"no"), PICTURE, off=6
    )
    yield Animal("jpeg full of photoshop", with_segment(good, 0xED, b"Photoshop 3.0\0" + b"8BIM" * 9), PICTURE, off=6)
    yield Animal("jpeg fill bytes", good[:2] + b"\xff\xff\xff" + good[2:], PICTURE, off=6)
    for side in ((1, 1), (7, 5), (17, 33), (300, 1), (1, 300)):
        small = base_picture(*side)
        yield Animal(f"jpeg {side[0]}x{side[1]}", saved(small, "JPEG", quality=95, subsampling=0), small, off=6)
    yield Animal("jpeg named png", good, PICTURE, off=6)


def orientations() -> Iterator[Animal]:
    for turned in range(1, 9):
        stored = stored_turned(PICTURE, turned)
        for kind, settings, off in (
            ("JPEG", {"quality": 95, "subsampling": 0}, 4),
            ("PNG", {}, 0),
            ("WEBP", {"lossless": True}, 0),
        ):
            yield Animal(
                f"{kind} orientation {turned}",
                saved(stored, kind, exif=exif(turn_tag(turned)), **settings),
                PICTURE,
                off=off,
            )
        yield Animal(f"TIFF orientation {turned}", saved(stored, "TIFF", tiffinfo={0x0112: turned}), PICTURE)
    for turned in (3, 6, 8):
        stored, info = stored_turned(PICTURE, turned), Image.Exif()
        info[0x0112] = turned
        yield Animal(f"AVIF orientation {turned}", saved(stored, "AVIF", quality=95, exif=info), PICTURE, off=6)
    side = stored_turned(PICTURE, 6)
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    element = b"<tiff:Orientation>6</tiff:Orientation>"
    jpeg = saved(side, "JPEG", quality=95, subsampling=0)
    for name, text in (("attribute", xmp), ("element", element)):
        segment = with_segment(jpeg, 0xE1, b"http://ns.adobe.com/xap/1.0/\0" + text)
        yield Animal(f"jpeg orientation as an XMP {name}", segment, PICTURE, off=4)
        png = png_with(saved(side, "PNG"), chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + text))
        yield Animal(f"png orientation as an XMP {name}", png, PICTURE)
    raw = exif(turn_tag(6))
    profile = f"\nexif\n{len(raw):8d}\n{raw.hex()}\n".encode()
    for key in (b"exif", b"APP1"):
        for code, body in ((b"zTXt", b"\0" + zlib.compress(profile)), (b"tEXt", profile)):
            png = png_with(saved(side, "PNG"), chunk(code, b"Raw profile type " + key + b"\0" + body))
            yield Animal(f"png orientation in a raw profile {key.decode()} {code.decode()}", png, PICTURE)


ODD = {
    # What it is: EXIF data, and the orientation that it truly says.
    "resolution as text": (exif(turn_tag(6), (0x011A, 2, 3, b"72\0\0")), 6),
    "resolution of zero": (exif(turn_tag(6), (0x011A, 5, 1, b"\0\0\0\0")), 6),
    "unknown type": (exif((0x0131, 99, 1, b"\0\0\0\0"), turn_tag(6)), 6),
    "type zero": (exif((0x0131, 0, 1, b"\0\0\0\0"), turn_tag(6)), 6),
    "an offset outside": (exif(turn_tag(6), (0x8769, 4, 1, b"\xff\xff\xff\x7f")), 6),
    "a directory in itself": (exif(turn_tag(6), (0x8769, 4, 1, b"\x08\0\0\0")), 6),
    "a count of billions": (exif(turn_tag(6), (0x010E, 2, 0xFFFFFFFF, b"\x08\0\0\0")), 6),
    "more entries than there are": (exif(turn_tag(6), count=65535), 6),
    "big-endian": (exif(turn_tag(6, ">"), order=">"), 6),
    "orientation as LONG": (exif((0x0112, 4, 1, struct.pack("<I", 6))), 6),
    "orientation as BYTE": (exif((0x0112, 1, 1, b"\x06\0\0\0")), 6),
    "orientation twice": (exif(turn_tag(6), turn_tag(3)), 6),
    "orientation 0": (exif(turn_tag(0)), 1),
    "orientation 9": (exif(turn_tag(9)), 1),
    "orientation 65535": (exif(turn_tag(65535)), 1),
    "orientation as text": (exif((0x0112, 2, 2, b"6\0\0\0")), 1),
    "orientation of no values": (exif((0x0112, 3, 0, b"\x06\0\0\0")), 1),
    "cut within an entry": (exif(turn_tag(6))[:24], 1),
    "cut within the header": (b"Exif\0\0II*", 1),
    "a directory outside": (b"Exif\0\0II*\0\xff\xff\xff\x7f" + b"\0" * 20, 1),
    "noise": (b"Exif\0\0" + bytes(range(200)), 1),
    "nothing": (b"Exif\0\0", 1),
}


def odd_metadata() -> Iterator[Animal]:
    for what, (data, turned) in ODD.items():
        stored = stored_turned(PICTURE, turned)
        yield Animal(
            f"jpeg exif with {what}", saved(stored, "JPEG", quality=95, subsampling=0, exif=data), PICTURE, off=4
        )
        yield Animal(f"png exif with {what}", png_with(saved(stored, "PNG"), chunk(b"eXIf", data[6:])), PICTURE)
        yield Animal(f"webp exif with {what}", saved(stored, "WEBP", lossless=True, exif=data), PICTURE)
    # The orientation of an AVIF is part of the picture; its EXIF data, which has other tags, is not asked.
    info = Image.Exif()
    info[0x0112], info[0x010F] = 6, 40 * "a camera"
    good = saved(stored_turned(PICTURE, 6), "AVIF", quality=95, exif=info)
    place = good.index(b"Exif\0\0MM")
    for what, data in {"a camera's name": good[place:], **{what: data for what, (data, _) in ODD.items()}}.items():
        yield Animal(f"avif exif with {what}", good[:place] + data + good[place + len(data) :], PICTURE, off=6)


def several_pictures() -> Iterator[Animal]:
    small = Image.fromarray(base_picture(12, 8))
    photo = Image.fromarray(PICTURE)
    mpo = saved(photo, "MPO", save_all=True, append_images=[small], quality=95, subsampling=0)
    yield Animal("mpo of two pictures", mpo, PICTURE, off=4)
    three = saved(photo, "MPO", save_all=True, append_images=[small, photo], quality=95, subsampling=0)
    yield Animal("mpo of three pictures", three, PICTURE, off=4)
    jpeg = saved(photo, "JPEG", quality=95, subsampling=0)
    yield Animal("jpeg with a film behind it", jpeg + b"\0\0\0\x18ftypmp42" + bytes(2000), PICTURE, off=4)
    yield Animal("jpeg with zeros behind it", jpeg + bytes(5000), PICTURE, off=4)
    yield Animal("jpeg with another behind it", jpeg + saved(small, "JPEG"), PICTURE, off=4)
    thumbnail = exif(turn_tag(1)) + saved(small, "JPEG")
    yield Animal("jpeg with a thumbnail in its metadata", with_segment(jpeg, 0xE1, thumbnail), PICTURE, off=4)
    yield Animal("png with text behind it", saved(photo, "PNG") + b"hello" * 100, PICTURE)
    pages = saved(photo, "TIFF", save_all=True, append_images=[small])
    yield Animal("tiff of two pages", pages, PICTURE)


def cut_tails() -> Iterator[Animal]:
    noisy = np.random.default_rng(1).integers(0, 256, (96, 96, 3), np.uint8)
    kinds: dict[str, dict[str, Any]] = {
        "baseline": {"subsampling": 0},
        "4:2:0": {"subsampling": 2},
        "progressive": {"progressive": True},
        "restarts": {"restart_marker_rows": 1},
    }
    for name, settings in kinds.items():
        whole = saved(noisy, "JPEG", quality=90, **settings)
        picture = np.asarray(Image.open(io.BytesIO(whole)))
        for lacking in (1, 2, 3, 5, 10):
            yield Animal(
                f"{name} jpeg lacking {lacking} bytes", whole[:-lacking], picture, remarks=("truncated",), off=3
            )
        yield Animal(f"{name} jpeg lacking a tenth", whole[: len(whole) * 9 // 10], reason_code="unreadable")
        yield Animal(f"{name} jpeg lacking half", whole[: len(whole) // 2], reason_code="unreadable")
        yield Animal(f"{name} jpeg header alone", whole[:300], reason_code="unreadable")
    yield from ended_all_the_same(noisy)
    whole = saved(noisy, "JPEG", quality=90, subsampling=0)
    picture = np.asarray(Image.open(io.BytesIO(whole)))
    yield Animal(
        "jpeg lacking 2 % of its rows", whole[: len(whole) * 98 // 100], picture, remarks=("truncated",), off=8
    )
    flat = np.full((96, 96, 3), 200, np.uint8)
    yield Animal("flat jpeg lacking its end", saved(flat, "JPEG")[:-2], flat, remarks=("truncated",), off=2)
    yield Animal(
        "mpo cut within its second picture",
        saved(Image.fromarray(PICTURE), "MPO", save_all=True, append_images=[Image.fromarray(PICTURE)], quality=95)[
            :-100
        ],
        PICTURE,
        off=6,
    )
    for kind in ("PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "JPEG2000", "AVIF"):
        data = saved(noisy, kind)
        yield Animal(f"{kind} lacking a third", data[: len(data) * 2 // 3], reason_code="unreadable")
    yield Animal("png lacking its end chunk", saved(noisy, "PNG")[:-12], noisy)


def ended_all_the_same(noisy: Pixels) -> Iterator[Animal]:
    """JPEGs that lack a part, though their end marker is there."""
    end = b"\xff\xd9"
    for name, mode, settings in (
        ("baseline", "RGB", {"subsampling": 0}),
        ("4:2:0", "RGB", {"subsampling": 2}),
        ("restarts", "RGB", {"restart_marker_rows": 1}),
        ("grey", "L", {}),
        ("cmyk", "CMYK", {}),
        ("sideways", "RGB", {"exif": exif(turn_tag(6))}),
    ):
        whole = saved(Image.fromarray(noisy).convert(mode), "JPEG", quality=90, **settings)
        yield Animal(f"{name} half a jpeg and an end", whole[: len(whole) // 2] + end, reason_code="unreadable")
    whole = saved(noisy, "JPEG", quality=90, subsampling=0)
    picture = np.asarray(Image.open(io.BytesIO(whole)))
    most = whole[: len(whole) * 98 // 100] + end
    yield Animal("jpeg lacking 2 % of its rows and an end", most, picture, remarks=("truncated",), off=8)
    middle = len(whole) // 2
    holed = whole[:middle] + whole[middle + len(whole) // 10 :]
    yield Animal("jpeg with a hole of a tenth", holed, reason_code="unreadable")
    zeros = whole[:middle] + bytes(1000) + end
    yield Animal("jpeg of zeros behind its half", zeros, reason_code="unreadable")
    for times in (1, 10):
        rows = saved(np.tile(noisy, (times, 1, 1)), "JPEG", quality=90, subsampling=0, restart_marker_rows=1)
        one_less = rows[: rows.index(b"\xff\xd2")] + rows[rows.index(b"\xff\xd3") :]
        name = f"jpeg lacking one of {12 * times} parts between restart markers"
        picture = np.asarray(Image.open(io.BytesIO(rows)))
        used = {"picture": picture, "remarks": ("truncated",), "off": 4} if times > 1 else {"reason_code": "unreadable"}
        yield Animal(name, one_less, **used)
    progressive = saved(noisy, "JPEG", quality=90, progressive=True)
    third = progressive[: len(progressive) // 3] + end
    yield Animal("progressive third of a jpeg and an end", third, reason_code="unreadable")
    grey = np.full((40, 56, 3), 128, np.uint8)
    for mode in ("RGB", "L", "CMYK"):
        flat = saved(Image.fromarray(grey).convert(mode), "JPEG", quality=95)
        yield Animal(f"whole jpeg as grey as what decoders fill in, {mode}", flat, grey, off=2)


def deep_greys() -> Iterator[Animal]:
    grey = np.linspace(0, 255, 48 * 32).reshape(32, 48)

    def expected(shown: NDArray[Any]) -> Pixels:
        return np.repeat(np.clip(shown, 0, 255).astype(np.uint8)[..., None], 3, axis=2)

    for bits in (8, 10, 12, 14, 16):
        deep = (grey / 255 * (2**bits - 1)).astype(np.uint16)
        for kind in ("PNG", "TIFF"):
            yield Animal(
                f"{kind} of {bits} bits in 16", saved(Image.fromarray(deep), kind), expected(deep >> (bits - 8))
            )
    deep = (grey / 255 * 4095).astype(np.uint16)
    yield Animal("jpeg 2000 of 12 bits in 16", saved(Image.fromarray(deep), "JPEG2000"), expected(deep >> 4), off=1)
    pgm = b"P5 48 32 4095\n" + deep.astype(">u2").tobytes()
    yield Animal("pgm of 12 bits", pgm, expected(grey), off=1)
    yield Animal("pgm of 16 bits", b"P5 48 32 65535\n" + (grey * 257).astype(">u2").tobytes(), expected(grey), off=1)
    wide = (grey / 255 * (2**24 - 1)).astype(np.int32)
    yield Animal("tiff of 32 bits", saved(Image.fromarray(wide), "TIFF"), expected(wide >> 16), off=1)
    signed = (grey * 16 - 1024).astype(np.int32)
    yield Animal("tiff with negative values", saved(Image.fromarray(signed), "TIFF"), expected(grey), off=1)
    for name, values in (
        ("0 to 1", grey / 255),
        ("0 to 255", grey),
        ("-3 to 3", grey / 255 * 6 - 3),
        ("0 to 9000", grey * 35),
    ):
        data = saved(Image.fromarray(values.astype(np.float32)), "TIFF")
        yield Animal(f"tiff of floats {name}", data, expected(grey), off=1)
    holes = (grey / 255).astype(np.float32)
    holes[0, 0], holes[0, 1] = np.nan, np.inf
    yield Animal("tiff of floats that are not finite", saved(Image.fromarray(holes), "TIFF"), expected(grey), off=1)
    yield from odd_greys(grey, expected)
    black = np.zeros((4, 4), np.uint16)
    yield Animal("deep black", saved(Image.fromarray(black), "PNG"), np.zeros((4, 4, 3), np.uint8))


def odd_greys(grey: NDArray[np.float64], expected: Callable[[NDArray[Any]], Pixels]) -> Iterator[Animal]:
    """Deep greys with a pixel that says nothing about the others, and those that Pillow takes for something else."""
    deep = (grey / 255 * 4095).astype(np.uint16)
    hot = deep.copy()
    hot[5, 5] = 65535
    yield Animal("PNG of 12 bits with a hot pixel", saved(Image.fromarray(hot), "PNG"), expected(grey), off=1)
    for value in (-3.4e38, -9999.0, 3.4e38):
        floats = (grey / 255).astype(np.float32)
        floats[5, 5] = value
        yield Animal(f"tiff of floats with one {value}", saved(Image.fromarray(floats), "TIFF"), expected(grey), off=1)
    negative = saved(Image.fromarray(65535 - (grey * 257).astype(np.uint16)), "TIFF")
    yield Animal(
        "tiff of 16 bits whose white is zero", with_tags(negative, (262, 3, 1, bytes(4))), expected(grey), off=1
    )
    wide = saved(Image.fromarray((grey / 255 * (2**32 - 1)).astype(np.uint32).view(np.int32)), "TIFF")
    yield Animal("tiff of 32 bits without a sign", with_tags(wide, (339, 3, 1, b"\1\0\0\0")), expected(grey), off=1)


def deep_colours() -> Iterator[Animal]:
    """Photos of 16 bits a colour, of which only so many are used."""
    stored = stored_turned(PICTURE, 6)
    turned = chunk(b"eXIf", exif(turn_tag(6))[6:])
    for bits in (10, 12, 16):
        deep = (stored.astype(np.uint32) << (bits - 8)).astype(">u2")
        rows = b"".join(b"\0" + row.tobytes() for row in deep)
        yield Animal(f"png of colours of {bits} bits in 16", raw_png(32, 48, 16, 2, rows, turned), PICTURE)
        opaque = np.dstack([deep, np.full((48, 32), 65535, ">u2")]).astype(">u2")
        rows = b"".join(b"\0" + row.tobytes() for row in opaque)
        yield Animal(f"png of colours of {bits} bits in 16 and alpha", raw_png(32, 48, 16, 6, rows, turned), PICTURE)
        straight = (PICTURE.astype(np.uint32) << (bits - 8)).astype(np.uint16)
        for packing in (1, 8):
            tiff = raw_tiff(straight, {259: [packing], 262: [2]}, "<" if packing == 1 else ">")
            yield Animal(f"tiff of colours of {bits} bits in 16, packed {packing}", tiff, PICTURE)
        ppm = b"P6 48 32 65535\n" + straight.astype(">u2").tobytes()
        yield Animal(f"ppm of colours of {bits} bits in 16", ppm, PICTURE)
        ppm = b"P6 48 32 %d\n" % (2**bits - 1) + straight.astype(">u2").tobytes()
        yield Animal(f"ppm of colours of {bits} bits", ppm, PICTURE)
    yield from odd_colours(PICTURE.astype(np.uint16) * 16)


def odd_colours(deep: NDArray[np.uint16]) -> Iterator[Animal]:
    """Colours of 12 bits in 16 with pixels that say nothing about the others."""
    hot = deep.copy()
    hot[5, 5] = 65535
    hot_rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in hot)
    yield Animal("png of colours of 12 bits with a hot pixel", raw_png(48, 32, 16, 2, hot_rows), PICTURE, off=1)
    padded = raw_tiff(np.dstack([deep, np.zeros((32, 48), np.uint16)]), {262: [2], 338: [2]})
    yield Animal("tiff of colours of 12 bits whose fourth channel is zero", padded, PICTURE)
    clear = np.dstack([deep, np.full((32, 48), 65535)])
    clear[:, :8] = (65535, 65535, 65535, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in clear)
    shown = PICTURE.copy()
    shown[:, :8] = 255
    yield Animal("png of colours of 12 bits with a clear edge", raw_png(48, 32, 16, 6, rows), shown)
    grey = np.dstack([GREY[..., 0].astype(np.uint16) * 16, np.full((32, 48), 65535)])
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in grey)
    yield Animal("png of a grey of 12 bits in 16 and alpha", raw_png(48, 32, 16, 4, rows), GREY)


def pngs() -> Iterator[Animal]:
    photo, grey = Image.fromarray(PICTURE), Image.fromarray(GREY).convert("L")
    yield Animal("png", saved(photo, "PNG"), PICTURE)
    yield Animal("png grey", saved(grey, "PNG"), GREY)
    yield Animal("png palette", saved(photo.quantize(256), "PNG"), PICTURE, off=10)
    bilevel = grey.point(lambda v: 255 * (v > 120)).convert("1")
    yield Animal("png of one bit", saved(bilevel, "PNG"), np.asarray(bilevel.convert("RGB")))
    clear = np.dstack([PICTURE, np.zeros((32, 48), np.uint8)])
    white = np.full_like(PICTURE, 255)
    yield Animal("png clear", saved(Image.fromarray(clear), "PNG"), white)
    half = np.dstack([np.zeros_like(PICTURE), np.full((32, 48), 128, np.uint8)])
    yield Animal("png half clear", saved(Image.fromarray(half), "PNG"), np.full_like(PICTURE, 127), off=1)
    yield Animal("png grey and alpha", saved(Image.merge("LA", (grey, grey.point(lambda _: 255))), "PNG"), GREY)
    palette = photo.quantize(16)
    yield Animal("png palette with a clear colour", saved(palette, "PNG", transparency=bytes([0] * 16)), white)
    yield Animal("png grey with a clear value", saved(Image.new("L", (48, 32), 7), "PNG", transparency=7), white)
    sixteen = b"".join(b"\0" + (row.astype(">u2") * 257).tobytes() for row in PICTURE)
    yield Animal("png of 16 bits a colour", raw_png(48, 32, 16, 2, sixteen), PICTURE)
    png = saved(photo, "PNG")
    bomb = zlib.compress(bytes(80_000_000))
    yield Animal("png with a text that unpacks to 80 MB", png_with(png, chunk(b"zTXt", b"Comment\0\0" + bomb)), PICTURE)
    yield Animal("png with a profile that unpacks to 80 MB", png_with(png, chunk(b"iCCP", b"x\0\0" + bomb)), PICTURE)
    yield Animal("png with a torn text", png_with(png, chunk(b"zTXt", b"Comment\0\0junk")), PICTURE)
    yield Animal("png with a text whose sum is wrong", png_with(png, chunk(b"tEXt", b"a\0b")[:-1] + b"?"), PICTURE)
    yield Animal("png with two orders to move", png_with(png, *[chunk(b"acTL", struct.pack(">II", 1, 0))] * 2), PICTURE)
    broken = bytearray(png)
    broken[len(png) // 2] ^= 255
    yield Animal("png with a wrong byte", bytes(broken), reason_code="unreadable")
    yield Animal("png of no size", raw_png(0, 0, 8, 2, b""), reason_code="unreadable")
    yield Animal("png of an unknown colour", raw_png(4, 4, 8, 5, bytes(100)), reason_code="unreadable")
    yield Animal("png signature alone", png[:8], reason_code="unreadable")


def webps() -> Iterator[Animal]:
    photo = Image.fromarray(PICTURE)
    yield Animal("webp", saved(photo, "WEBP", quality=95), PICTURE, off=9)
    yield Animal("webp lossless", saved(photo, "WEBP", lossless=True), PICTURE)
    clear = Image.fromarray(np.dstack([PICTURE, np.zeros((32, 48), np.uint8)]))
    yield Animal("webp clear", saved(clear, "WEBP", lossless=True), np.full_like(PICTURE, 255))
    yield Animal("webp header alone", saved(photo, "WEBP")[:12], reason_code="unreadable")


def bitmaps() -> Iterator[Animal]:
    photo, grey = Image.fromarray(PICTURE), Image.fromarray(GREY).convert("L")
    yield Animal("bmp", saved(photo, "BMP"), PICTURE)
    yield Animal("bmp grey", saved(grey, "BMP"), GREY)
    yield Animal("bmp palette", saved(photo.quantize(200), "BMP"), PICTURE, off=10)
    yield Animal("bmp of one bit", saved(Image.new("1", (9, 9), 1), "BMP"), np.full((9, 9, 3), 255, np.uint8))
    rle = bytearray(saved(Image.new("L", (4, 2), 9), "BMP"))
    start = int.from_bytes(rle[10:14], "little")
    rle[30:34] = struct.pack("<I", 1)
    packed = bytes(rle[:start]) + b"\x04\x09\0\0\x04\x09\0\x01"
    yield Animal("bmp run-length packed", packed, np.full((2, 4, 3), 9, np.uint8))
    top_down = bytearray(saved(photo, "BMP"))
    top_down[22:26] = struct.pack("<i", -32)
    yield Animal("bmp top to bottom", bytes(top_down), PICTURE[::-1])
    pixels = np.dstack([PICTURE[::-1, :, ::-1], np.zeros((32, 48), np.uint8)]).tobytes()
    fifth = struct.pack("<IiiHHI20x4I4s48x", 124, 48, 32, 1, 32, 3, 0xFF0000, 0xFF00, 0xFF, 0xFF000000, b"BGRs")
    start = 14 + len(fifth)
    padded = struct.pack("<2sI4xI", b"BM", start + len(pixels), start) + fifth + pixels
    yield Animal("bmp of version 5 whose fourth channel is zero", padded, PICTURE)


def gifs() -> Iterator[Animal]:
    photo = Image.fromarray(PICTURE)
    yield Animal("gif", saved(photo, "GIF"), PICTURE, off=12)
    yield Animal("gif grey", saved(Image.fromarray(GREY).convert("L"), "GIF"), GREY)
    yield Animal("gif interlaced", saved(photo, "GIF", interlace=True), PICTURE, off=12)
    clear = Image.new("P", (48, 32), 0)
    clear.putpalette([10, 20, 30] * 256)
    yield Animal("gif clear", saved(clear, "GIF", transparency=0), np.full_like(PICTURE, 255))
    yield Animal("gif header alone", saved(photo, "GIF")[:13], reason_code="unreadable")


def pnms() -> Iterator[Animal]:
    photo, grey = Image.fromarray(PICTURE), Image.fromarray(GREY).convert("L")
    yield Animal("ppm", saved(photo, "PPM"), PICTURE)
    yield Animal("pgm", saved(grey, "PPM"), GREY)
    yield Animal("pbm", saved(Image.new("1", (9, 9), 1), "PPM"), np.full((9, 9, 3), 255, np.uint8))
    text = b"P3\n# a comment\n48 32\n255\n" + " ".join(map(str, PICTURE.ravel())).encode()
    yield Animal("ppm as text", text, PICTURE)
    yield Animal("pgm as text", b"P2 48 32 255\n" + " ".join(map(str, GREY[..., 0].ravel())).encode(), GREY)
    yield Animal("pbm as text", b"P1 2 1\n0 1\n", np.array([[[255] * 3, [0] * 3]], np.uint8))
    yield Animal("ppm of 4 bits", b"P6 1 1 15\n\x0f\x00\x0f", np.array([[[255, 0, 255]]], np.uint8))
    floats = (GREY[::-1, :, 0] / np.float32(255)).astype("<f4")
    yield Animal("pfm", b"Pf\n48 32\n-1.0\n" + floats.tobytes(), GREY, off=1)
    yield Animal("pgm without a size", b"P5 ", reason_code="unreadable")


def tiffs() -> Iterator[Animal]:
    photo = Image.fromarray(PICTURE)
    for packing in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "tiff_deflate"):
        yield Animal(f"tiff {packing}", saved(photo, "TIFF", compression=packing), PICTURE)
    yield Animal("tiff jpeg", saved(photo, "TIFF", compression="jpeg", quality=95), PICTURE, off=9)
    yield Animal("tiff cmyk", saved(photo.convert("CMYK"), "TIFF"), PICTURE, off=4)
    yield Animal("tiff alpha", saved(photo.convert("RGBA"), "TIFF"), PICTURE)
    yield Animal("tiff palette", saved(photo.quantize(200), "TIFF"), PICTURE, off=10)
    bilevel = Image.new("1", (9, 9), 1)
    for packing in ("group3", "group4"):
        yield Animal(f"tiff {packing}", saved(bilevel, "TIFF", compression=packing), np.full((9, 9, 3), 255, np.uint8))
    yield Animal("bigtiff", saved(photo, "TIFF", big_tiff=True), PICTURE)
    padded = saved(Image.fromarray(np.dstack([PICTURE, np.zeros((32, 48), np.uint8)])), "TIFF")
    yield Animal("tiff whose fourth channel is zero", padded, PICTURE)
    whole = saved(photo, "TIFF")
    yield Animal(
        "tiff whose directory is outside", whole[:4] + b"\xff\xff\xff\x7f" + whole[8:], reason_code="unreadable"
    )
    side = saved(stored_turned(PICTURE, 6), "TIFF")
    for what, tag in (
        ("resolution as text", (0x011A, 2, 3, b"72\0\0")),
        ("an offset outside", (0x8769, 4, 1, b"\xff\xff\xff\x7f")),
        ("an unknown type", (0x9999, 99, 1, b"\0\0\0\0")),
        ("a count of billions", (0x010E, 2, 0xFFFFFFFF, b"\x08\0\0\0")),
    ):
        yield Animal(f"tiff sideways with {what}", with_tags(side, turn_tag(6), tag), PICTURE)


def raw_tiff(
    samples: NDArray[Any], tags: dict[int, list[int]], order: Literal["<", ">"] = "<", planes: bool = False
) -> bytes:
    """A TIFF of samples [H, W, S], packed (zip) if the tags say so; with `planes` each sample in a plane of its own."""
    height, width, count = samples.shape
    parts = np.split(samples, count, axis=2) if planes else [samples]
    strips = [part.astype(part.dtype.newbyteorder(order)).tobytes() for part in parts]
    strips = [zlib.compress(strip) for strip in strips] if tags.get(259) == [8] else strips
    places = [8 + sum(map(len, strips[:number])) for number in range(len(strips))]
    bits = samples.dtype.itemsize * 8
    lengths = list(map(len, strips))
    own = {256: [width], 257: [height], 258: [bits] * count, 259: [1], 273: places, 277: [count], 278: [height]}
    own |= {279: lengths, 284: [2 if planes else 1]} | tags
    body = b"".join(strips)
    directory, values = b"", b""
    behind = 8 + len(body) + 2 + 12 * len(own) + 4
    for tag, numbers in sorted(own.items()):
        value = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(value) > 4:
            value, values = struct.pack(order + "I", behind + len(values)), values + value
        directory += struct.pack(order + "HHI", tag, 4, len(numbers)) + value
    start = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8 + len(body))
    return start + body + struct.pack(order + "H", len(own)) + directory + bytes(4) + values


def odd_tiffs() -> Iterator[Animal]:
    """TIFFs of which Pillow alone makes other pictures, or none, or a small preview."""
    grey = GREY[..., :1]
    opaque = np.full_like(grey, 255)
    rgb, one = {262: [2]}, {262: [1]}
    wide = PICTURE.astype(np.uint16) * 257
    palette = np.arange(256).repeat(3).reshape(256, 3)
    ycc = np.asarray(Image.fromarray(PICTURE).convert("YCbCr")).astype(int)
    blocks = ycc.reshape(16, 2, 24, 2, 3).swapaxes(1, 2)
    colours = blocks[..., 1:].mean(axis=(2, 3)).astype(np.uint8)
    halved = np.concatenate([blocks[..., 0].reshape(16, 24, 4).astype(np.uint8), colours], axis=2)
    as_halved = {256: [48], 257: [32], 258: [8] * 3, 262: [6], 277: [3], 278: [32], 530: [2, 2]}
    orders: dict[str, Literal["<", ">"]] = {"little": "<", "big": ">"}
    for name, order in orders.items():
        for packing in (1, 8):
            what, packed = f"odd tiff {name}-endian packed {packing}", {259: [packing]}
            yield Animal(f"{what} of planes of 16 bits", raw_tiff(wide, rgb | packed, order, planes=True), PICTURE)
            negative = raw_tiff(255 - grey, packed | {262: [0]}, order, planes=True)
            yield Animal(f"{what} of one plane whose white is zero", negative, GREY)
            floats = raw_tiff((grey / 255).astype(np.float32), packed | one | {339: [3]}, order)
            yield Animal(f"{what} of floats", floats, GREY, off=1)
            signed = raw_tiff(grey.astype(np.int16) * 64, packed | one | {339: [2]}, order)
            yield Animal(f"{what} of 16 bits with a sign", signed, GREY)
            whole = raw_tiff(grey.astype(np.uint32) * 0x1010101, packed | one, order)
            yield Animal(f"{what} of 32 bits without a sign", whole, GREY)
            dark = raw_tiff(65535 - grey.astype(np.uint16) * 257, packed | {262: [0]}, order)
            yield Animal(f"{what} of 16 bits whose white is zero", dark, GREY)
            for kinds, alpha in (("alpha", 2), ("alpha that it is multiplied by", 1)):
                both = raw_tiff(np.dstack([grey, opaque]), packed | one | {338: [alpha]}, order, planes=True)
                yield Animal(f"{what} of planes of grey and {kinds}", both, reason_code="unreadable")
            tags = packed | {262: [3], 338: [2], 320: (palette * 257).T.ravel().tolist()}
            both = raw_tiff(np.dstack([grey, opaque]), tags, order, planes=True)
            yield Animal(f"{what} of planes of a palette's numbers and alpha", both, reason_code="unreadable")
            lab = raw_tiff(PICTURE, packed | {262: [8]}, order, planes=True)
            yield Animal(f"{what} of planes of L*a*b*", lab, reason_code="unreadable")
            indexed = raw_tiff(grey, packed | {262: [3], 320: palette.T.ravel().tolist()}, order)
            yield Animal(f"{what} with a palette of 8 bits", indexed, GREY)
            yield Animal(
                f"{what} of colours at half the size", raw_tiff(halved, packed | as_halved, order), PICTURE, off=9
            )
    yield Animal("tiff that is a copy of nothing", raw_tiff(PICTURE, rgb | {254: [1]}), PICTURE)
    yield Animal("preview of a raw photo", raw_tiff(PICTURE, rgb | {254: [1], 330: [8]}), reason_code="unreadable")


def _tag_of(entry: bytes) -> int:
    return int.from_bytes(entry[:2], "little")


def with_tags(tiff: bytes, *tags: tuple[int, int, int, bytes]) -> bytes:
    """A little-endian TIFF with a second directory in place of the first: its entries and these."""
    start = int.from_bytes(tiff[4:8], "little")
    count = int.from_bytes(tiff[start : start + 2], "little")
    entries: list[bytes] = [tiff[start + 2 + 12 * i : start + 14 + 12 * i] for i in range(count)]
    entries += [struct.pack("<HHI", tag, kind, number) + value for tag, kind, number, value in tags]
    own = {tag for tag, *_ in tags}
    there = [entry for entry in entries[:count] if _tag_of(entry) not in own] + entries[count:]
    there.sort(key=_tag_of)
    directory = struct.pack("<H", len(there)) + b"".join(there) + bytes(4)
    return tiff[:4] + struct.pack("<I", len(tiff)) + tiff[8:] + directory


def modern() -> Iterator[Animal]:
    photo, grey = Image.fromarray(PICTURE), Image.fromarray(GREY).convert("L")
    yield Animal("jp2", saved(photo, "JPEG2000"), PICTURE)
    yield Animal("j2k codestream", saved(photo, "JPEG2000", no_jp2=True), PICTURE)
    yield Animal("jp2 lossy", saved(photo, "JPEG2000", irreversible=True, quality_layers=[10]), PICTURE, off=9)
    yield Animal("jp2 grey", saved(grey, "JPEG2000"), GREY)
    yield Animal("avif", saved(photo, "AVIF", quality=95), PICTURE, off=6)
    yield Animal("avif grey", saved(grey, "AVIF", quality=95), GREY, off=6)
    clear = Image.fromarray(np.dstack([PICTURE, np.zeros((32, 48), np.uint8)]))
    yield Animal("avif clear", saved(clear, "AVIF"), np.full_like(PICTURE, 255))
    yield from heics()


def heics() -> Iterator[Animal]:
    try:
        import pillow_heif
    except ImportError:
        return

    def heic(picture: Pixels, **settings: Any) -> bytes:
        buffer = io.BytesIO()
        pillow_heif.from_pillow(Image.fromarray(picture)).save(buffer, quality=95, **settings)
        return buffer.getvalue()

    picture = base_picture(64, 64)
    whole = heic(picture)
    yield Animal("heic", whole, picture, off=9)
    yield Animal("heic sideways", heic(stored_turned(picture, 6), exif=exif(turn_tag(6))), picture, off=9)
    yield Animal("heic lacking a third", whole[: len(whole) * 2 // 3], reason_code="unreadable")


def moving() -> Iterator[Animal]:
    first, second = Image.fromarray(PICTURE), Image.fromarray(PICTURE[::-1].copy())
    for kind in ("GIF", "WEBP", "PNG", "AVIF"):
        data = saved(first, kind, save_all=True, append_images=[second], duration=100)
        yield Animal(f"{kind} that moves", data, reason_code="animated")
    still = png_with(saved(first, "PNG"), chunk(b"acTL", struct.pack(">II", 1, 0)))
    yield Animal("apng of one frame", still, PICTURE)


def strangers() -> Iterator[Animal]:
    yield Animal("nothing", b"", reason_code="empty")
    others = {
        "text": b"I am not a photo. " * 100,
        "html": b"<!DOCTYPE html><html>404",
        "svg": b"<svg xmlns='x'/>",
        "pdf": b"%PDF-1.7\n",
        "zip": b"PK\x03\x04" + bytes(100),
        "film": b"\0\0\0\x18ftypisom\0\0\0\0isommp42",
        "quicktime": b"\0\0\0\x14ftypqt  \0\0\0\0",
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "psd": b"8BPS\0\x01" + bytes(100),
        "icon": b"\0\0\x01\0\x01\0" + bytes(50),
        "zeros": bytes(1000),
        "one byte": b"\xff",
        "two bytes": b"\xff\xd8",
        "riff": b"RIFF\0\0\0\0WAVE",
        "dds": b"DDS " + bytes(200),
        "program": b"\x7fELF" + bytes(100),
        "pickle": b"\x80\x04K\x01.",
    }
    for name, data in others.items():
        yield Animal(f"{name} called a photo", data, reason_code="not_an_image")


def hostile() -> Iterator[Animal]:
    yield Animal("png of 900 megapixels", raw_png(30_000, 30_000, 8, 2, bytes(100)), reason_code="too_large")
    yield Animal("png of 4 thousand million a side", raw_png(2**31 - 1, 2**31 - 1, 8, 2, b""), reason_code="too_large")
    small = saved(PICTURE, "JPEG")
    frame = small.index(b"\xff\xc0")
    huge = small[: frame + 5] + b"\xff\xff\xff\xff" + small[frame + 9 :]
    yield Animal("jpeg of 4,295 megapixels", huge, reason_code="too_large")
    progressive = saved(PICTURE, "JPEG", progressive=True)
    last = progressive.rindex(b"\xff\xda")
    scans = progressive[:-2] + progressive[last:-2] * 5000 + b"\xff\xd9"
    yield Animal("jpeg of 5,000 scans", scans, reason_code="too_slow")
    gif = saved(PICTURE, "GIF")
    yield Animal("gif of 4,295 megapixels", gif[:6] + b"\xff\xff\xff\xff" + gif[10:], reason_code="too_large")
    webp = b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff\xff\xff" * 2
    yield Animal("webp of 281 million megapixels", webp, reason_code="too_large")
    bmp = saved(PICTURE, "BMP")
    yield Animal(
        "bmp of 2,500 megapixels", bmp[:18] + struct.pack("<ii", 50_000, 50_000) + bmp[26:], reason_code="too_large"
    )
    yield Animal("ppm of 2,500 megapixels", b"P6 50000 50000 255\n" + bytes(100), reason_code="too_large")
    yield Animal("pgm as text of 150 megapixels", b"P2 15000 10000 255\n" + b"1 " * 1000, reason_code="unreadable")
    tiff = saved(PICTURE, "TIFF")
    yield Animal("tiff of 3,600 megapixels", _tiff_of(60_000, 60_000), reason_code="too_large")
    yield Animal("tiff whose directory leads to itself", _looping(tiff), PICTURE)
    jp2 = saved(PICTURE, "JPEG2000", no_jp2=True)
    size = jp2.index(b"\xff\x51") + 6
    yield Animal(
        "j2k of 4 thousand million a side",
        jp2[:size] + b"\x7f\xff\xff\xff" * 2 + jp2[size + 8 :],
        reason_code="too_large",
    )
    flat = Image.new("L", (200_000, 1), 128)
    yield Animal("png of 200,000 x 1", saved(flat, "PNG"), np.full((1, 200_000, 3), 128, np.uint8))


def _tiff_of(width: int, height: int) -> bytes:
    tags = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, 8),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 8),
        (277, 3, 1),
        (278, 4, height),
        (279, 4, 4),
    ]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<I", 12) + bytes(4) + struct.pack("<H", len(tags)) + entries + bytes(4)


def _looping(tiff: bytes) -> bytes:
    start = int.from_bytes(tiff[4:8], "little")
    count = int.from_bytes(tiff[start : start + 2], "little")
    end = start + 2 + 12 * count
    return tiff[:end] + tiff[4:8] + tiff[end + 4 :]
