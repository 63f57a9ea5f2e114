"""What one photo may cost: memory, seconds, and no more; whatever it does, the next one is read."""

import os
import struct
import sys
import threading
import time
import tracemalloc
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceid.vision import apart, decoding
from faceid.vision.images import ImageError, decode, read_photo
from faceid.vision.memory_budget import MemoryBudget
from faceid.vision.openers import opened
from tests.faceid.vision.zoo import PICTURE, base_picture, chunk, raw_png, raw_tiff, saved, with_tags


def reason(data: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        decode(data, Path("photo"))
    return caught.value.reason_code


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "PPM", "TIFF", "JPEG2000", "AVIF"])
def test_a_big_photo_comes_halved_and_says_so(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_KEPT_PIXELS", 5000)
    picture = base_picture(101, 67)
    halved = decode(saved(picture, kind), Path("photo"))
    assert halved.reduction == 2
    assert halved.rgb.shape == (34, 51, 3)
    expected = np.asarray(Image.fromarray(picture).reduce(2), int)
    assert np.abs(halved.rgb.astype(int) - expected)[:33, :50].mean() < 9


def test_a_second_header_is_not_read_whose_size_nobody_has_looked_at() -> None:
    """Pillow takes the size of the last one: 27 KB were a photo of 225 megapixels and took a gigabyte."""
    large = chunk(b"IHDR", struct.pack(">IIBBBBB", 300, 300, 1, 0, 0, 0, 0))
    photo = raw_png(8, 8, 8, 2, bytes(39 * 300), large)
    assert reason(photo) == "unreadable"


def test_codes_of_a_picture_without_loss_are_reckoned_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """libwebp took 370 MB for a megapixel of 295 KB each of whose 4 x 4 pixels has codes of its own."""
    held: list[int] = []

    class Budget(MemoryBudget):
        def reserved(self, size: int) -> AbstractContextManager[None]:
            held.append(size)
            return super().reserved(size)

    monkeypatch.setattr(decoding, "_BUDGET", Budget(2**40))
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)
    for settings in ({"lossless": True}, {"quality": 90}):
        decode(saved(noise, "WEBP", **settings), Path("photo"))
    clear = np.dstack([noise, noise[..., 0]])
    decode(saved(clear, "WEBP", quality=90), Path("photo"))
    without_loss, with_loss, with_alpha = held
    assert without_loss > with_loss + 10_000 * 5800
    assert with_alpha > with_loss + 10_000 * 5800
    assert with_loss < 2**22


def test_a_photo_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "SECONDS", 1)
    monkeypatch.setattr(apart, "python_running", lambda _: [sys.executable, "-c", "import time; time.sleep(60)"])
    assert reason(saved(PICTURE, "TIFF")) == "too_slow"


@pytest.mark.slow
def test_a_photo_for_which_no_process_can_be_started_is_not_called_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "python_running", lambda _: ["/no/such/python"])
    with pytest.raises(ImageError, match="GIF is decoded by a process, which cannot be started") as refused:
        decode(saved(PICTURE, "GIF"), "x.gif")
    assert "damaged" not in str(refused.value)


def test_a_photo_that_computes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "SECONDS", 2)
    text = b"P2 12000 5000 255\n" + b"1 " * 60_000_000  # Pillow reads numbers one by one
    assert reason(text) == "too_slow"


@pytest.mark.parametrize("end", ["os._exit(3)", "os.kill(os.getpid(), 11)", "raise SystemExit(1)"])
def test_a_decoder_that_falls_over_costs_its_photo(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = f"import os, sys; sys.stdin.buffer.read(9); {end}"
    monkeypatch.setattr(apart, "python_running", lambda _: [sys.executable, "-c", program])
    assert reason(saved(PICTURE, "GIF")) == "unreadable"
    assert reason(saved(PICTURE, "TIFF") + bytes(5_000_000)) == "unreadable", "while it is still being sent"
    monkeypatch.undo()
    assert decode(saved(PICTURE, "GIF"), Path("photo")).rgb.shape == PICTURE.shape


def test_a_child_has_no_more_memory_than_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "MEMORY", 2**20)
    monkeypatch.setattr(decoding, "_PICTURE_BYTES", 0)  # a decoder that takes more than is reckoned
    monkeypatch.setattr(decoding, "_DECODER_BYTES", {})
    assert reason(saved(Image.new("RGB", (3000, 3000)), "TIFF", compression="tiff_lzw")) == "too_large"


def test_what_needs_too_much_memory_is_refused_by_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "MEMORY", 3_000_000)
    noise = np.random.default_rng(0).integers(0, 256, (700, 700, 3), np.uint8)
    assert decode(saved(noise, "JPEG", quality=10), Path("photo")).rgb.shape == noise.shape
    # All its coefficients are kept until the last scan.
    assert reason(saved(noise, "JPEG", quality=10, progressive=True)) == "too_large"


def test_a_jpeg_of_many_scans_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    progressive = saved(PICTURE, "JPEG", progressive=True)
    last = progressive.rindex(b"\xff\xda")
    scan = progressive[last:-2]
    own = progressive.count(b"\xff\xda")
    assert reason(progressive[:-2] + scan * (decoding.MAX_SCANS + 1 - own) + b"\xff\xd9") == "too_slow"
    monkeypatch.setattr(decoding, "MAX_SCANNED_PIXELS", PICTURE.size // 3 * 11)
    assert decode(progressive, Path("photo")).rgb.shape == PICTURE.shape
    assert reason(progressive[:-2] + scan * 2 + b"\xff\xd9") == "too_slow"


def test_a_costly_jpeg_decoded_apart_is_the_same_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    photo = saved(PICTURE, "JPEG", progressive=True)
    here = decode(photo, Path("photo")).rgb
    monkeypatch.setattr(decoding, "_MAX_SCANNED_HERE", 0)
    np.testing.assert_array_equal(decode(photo, Path("photo")).rgb, here)


def test_no_child_is_left_behind() -> None:
    def children() -> set[str]:
        return set(Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split())

    if not Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").exists():
        pytest.skip("only Linux tells")
    before = children()
    for data in (saved(PICTURE, "TIFF"), saved(PICTURE, "TIFF")[:200], saved(PICTURE, "GIF")):
        with suppress(ImageError):
            decode(data, Path("photo"))
    assert children() == before


def test_heic_without_its_plugin_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "find_spec", lambda name: None)
    heic = b"\0\0\0\x1cftypheic\0\0\0\0mif1heic" + bytes(100)
    with pytest.raises(ImageError, match=r"pip install 'faceid-engine\[heif\]'") as caught:
        decode(heic, Path("IMG_0001.HEIC"))
    assert caught.value.reason_code == "needs_plugin"


def jpeg_of(bits: int) -> bytes:
    photo = saved(PICTURE, "JPEG")
    frame = photo.index(b"\xff\xc0")
    return photo[: frame + 4] + bytes([bits]) + photo[frame + 5 :]


def bmp_of(header_bytes: int) -> bytes:
    photo = saved(PICTURE, "BMP")
    return photo[:14] + bytes([header_bytes]) + photo[15:]


@pytest.mark.parametrize(
    "odd",
    [
        # 64 bits a sample, floating-point: tags BitsPerSample and SampleFormat.
        with_tags(saved(Image.new("F", (4, 4)), "TIFF"), (258, 3, 1, b"\x40\0\0\0"), (339, 3, 1, b"\3\0\0\0")),
        jpeg_of(bits=12),
        bmp_of(header_bytes=16),
    ],
    ids=["tiff", "jpeg", "bmp"],
)
def test_a_sound_photo_of_pixels_that_are_not_read_is_not_called_damaged(odd: bytes) -> None:
    with pytest.raises(ImageError, match="of a kind that is not read") as caught:
        decode(odd, Path("photo"))
    assert caught.value.reason_code == "unreadable"


def test_the_preview_of_a_raw_photo_is_refused_as_what_it_is() -> None:
    with pytest.raises(ImageError, match="a raw photo, of which only a small preview"):
        decode(raw_tiff(PICTURE, {262: [2], 254: [1], 330: [8]}), Path("photo.dng"))


@pytest.mark.parametrize("photo", [b"P6 48 32 4095\n", b"P5 48 32 65535\n"])
def test_a_pnm_of_many_bits_is_not_read_number_by_number(photo: bytes) -> None:
    assert [tile.codec_name for tile in opened("PNM", photo).tile] == ["raw"]


@pytest.mark.parametrize("name", ["PNG", "TIFF"])
def test_a_photo_of_16_bits_a_colour_is_reckoned_with_both_its_halves(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = np.full((500, 500, 3), 4095, np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
    photo = raw_png(500, 500, 16, 2, rows) if name == "PNG" else raw_tiff(deep, {262: [2], 259: [8]})
    monkeypatch.setattr(apart, "MEMORY", 500 * 500 * 6)
    assert reason(photo) == "too_large"


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_only_regular_files_are_opened(kind: str, tmp_path: Path) -> None:
    path = {"pipe": tmp_path / "pipe", "device": Path("/dev/zero"), "folder": tmp_path}[kind]
    if kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(ImageError) as caught:
        read_photo(path)
    assert caught.value.reason_code == "unreadable"


def test_several_big_ones_wait_for_each_other() -> None:
    budget, most, lock = MemoryBudget(10), [0, 0], threading.Lock()

    def use(size: int) -> None:
        with budget.reserved(size):
            with lock:
                most[0] += size
                most[1] = max(most[1], most[0])
            threading.Event().wait(0.001)
            with lock:
                most[0] -= size

    threads = [threading.Thread(target=use, args=(size,)) for size in (6, 5, 4, 3, 2, 1, 10, 6) * 5]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0 < most[1] <= 10


def test_one_that_is_over_the_budget_goes_alone() -> None:
    budget = MemoryBudget(10)
    with budget.reserved(11):
        pass
    with budget.reserved(10):
        pass


_FRAME = (  # and the header of a scan, with restart markers
    b"\xff\xdd\x00\x04\x00\x01\xff\xc0\x00\x0b\x08\x00\x10\x00\x10\x01\x01\x11\x00"
    b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
)


@pytest.mark.parametrize(
    ("start", "empty"),
    [
        (b"\xff\xd8", b"\xff\xe0\x00\x02"),
        (b"\xff\xd8" + _FRAME, b"\xff\xd0"),
        (raw_png(8, 8, 8, 2, bytes(200))[:33], b"\0\0\0\0IDAT\0\0\0\0"),
    ],
    ids=["segments of a JPEG", "restart markers", "chunks of a PNG"],
)
def test_a_file_of_millions_of_empty_pieces_takes_no_memory(start: bytes, empty: bytes) -> None:
    data = start + empty * (2**22 // len(empty))
    tracemalloc.start()
    try:
        assert reason(data) == "unreadable"
        assert tracemalloc.get_traced_memory()[1] < 4 * len(data)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("start", "empty", "megabytes"),
    [
        (b"\xff\xd8", b"\xff\x01", 8),
        (b"RIFF\0\0\0\0WEBP", b"VP8 \0\0\0\0", 32),
        (b"P6", b" ", 16),
        (b"P6\n#", b"a", 16),
    ],
    ids=["markers of a JPEG", "chunks of a WebP", "blanks in the header of a PNM", "a comment in it"],
)
def test_a_file_of_nothing_but_header_is_not_walked_through_for_minutes(
    start: bytes, empty: bytes, megabytes: int
) -> None:
    data = start + empty * (megabytes * 2**20 // len(empty))
    begin = time.process_time()
    assert reason(data) == "unreadable"
    assert time.process_time() - begin < 1
