"""Photos: every common format comes in as RGB uint8, upright; every bad file is one error that names it."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceid.vision.images import ImageError, read_photo
from indexer.text import printable

# Left half red, right half blue; upright it is wider than high.
RED, BLUE = (255, 0, 0), (0, 0, 255)


def two_colours(mode: str = "RGB") -> Image.Image:
    image = Image.new("RGB", (40, 20), RED)
    image.paste(BLUE, (20, 0, 40, 20))
    return image.convert(mode)


def reason(path: Path) -> str:
    with pytest.raises(ImageError) as caught:
        read_photo(path)
    assert printable(path) in str(caught.value), "the message names the file"
    return caught.value.reason_code


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tiff"])
def test_each_format_is_read_as_rgb(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"photo.{suffix}"
    two_colours().save(path, **({"lossless": True} if suffix == "webp" else {}))
    pixels = read_photo(path).pixels
    assert pixels.shape == (20, 40, 3)
    assert pixels.dtype == np.uint8
    np.testing.assert_allclose(pixels[10, 5], RED, atol=6)
    np.testing.assert_allclose(pixels[10, 35], BLUE, atol=6)


@pytest.mark.parametrize("mode", ["P", "CMYK", "RGBA"])
def test_palette_cmyk_and_alpha_become_the_same_colours(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "photo.tiff"
    two_colours(mode).save(path)
    pixels = read_photo(path).pixels
    np.testing.assert_allclose(pixels[10, 5], RED, atol=6)
    np.testing.assert_allclose(pixels[10, 35], BLUE, atol=6)


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    path = tmp_path / "grey.png"
    Image.fromarray(np.arange(200, dtype=np.uint8).reshape(10, 20)).save(path)
    pixels = read_photo(path).pixels
    np.testing.assert_array_equal(pixels, np.repeat(np.arange(200).reshape(10, 20, 1), 3, axis=2))


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    Image.fromarray(np.array([[0, 256, 32768, 65535]], dtype=np.uint16)).save(path)
    assert read_photo(path).pixels[0, :, 0].tolist() == [0, 1, 128, 255]


def test_transparent_pixels_are_laid_on_white(tmp_path: Path) -> None:
    path = tmp_path / "clear.png"
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(path)
    assert (read_photo(path).pixels == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = two_colours()
    if orientation in undo:
        stored = stored.transpose(undo[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.png"
    stored.save(path, exif=exif)
    np.testing.assert_array_equal(read_photo(path).pixels, np.asarray(two_colours()))


def test_the_digest_is_that_of_the_files_bytes(tmp_path: Path) -> None:
    import hashlib

    path = tmp_path / "photo.png"
    two_colours().save(path)
    assert read_photo(path).digest == hashlib.sha256(path.read_bytes()).digest()


def test_any_unicode_path_is_read(tmp_path: Path) -> None:
    for name in ("Ünïcödé 人 😀.png", "new\nline.png", "quo\"te's.png", "a" * 250 + ".png"):
        path = tmp_path / name
        two_colours().save(path)
        assert read_photo(path).pixels.shape == (20, 40, 3)
    path = tmp_path / os.fsdecode(b"bad-\xff-bytes.png")
    two_colours().save(path)
    assert read_photo(path).pixels.shape == (20, 40, 3)
    assert printable(path).endswith("bad-\\xff-bytes.png")


def test_an_empty_file_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "empty.jpg"
    path.touch()
    assert reason(path) == "empty"


def test_text_named_jpg_is_not_an_image(tmp_path: Path) -> None:
    path = tmp_path / "text.jpg"
    path.write_text("I am not a photo. " * 100)
    assert reason(path) == "not_an_image"


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
def test_a_truncated_photo_is_unreadable_not_half_grey(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, {"jpg": "jpeg"}.get(suffix, suffix))
    path = tmp_path / f"cut.{suffix}"
    path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) * 2 // 3])
    assert reason(path) in {"unreadable", "not_an_image"}


def test_a_huge_header_is_refused_before_its_pixels(tmp_path: Path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b""))
    assert reason(path) == "too_large"


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_an_animation_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"moving.{suffix}"
    two_colours().save(path, save_all=True, append_images=[two_colours().transpose(Image.Transpose.ROTATE_180)])
    assert reason(path) == "animated"


def test_what_cannot_be_opened_is_unreadable(tmp_path: Path) -> None:
    loop = tmp_path / "loop.jpg"
    loop.symlink_to(loop)
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    for path in (loop, pipe, tmp_path, tmp_path / "missing.jpg"):
        assert reason(path) == "unreadable"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    two_colours().save(path)
    path.chmod(0)
    assert reason(path) == "unreadable"


def test_one_pixel_is_a_photo(tmp_path: Path) -> None:
    path = tmp_path / "dot.png"
    Image.new("RGB", (1, 1), RED).save(path)
    assert read_photo(path).pixels.tolist() == [[list(RED)]]
