"""A photo from a file, its bytes, an array or a Pillow image is the same photo."""

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from faceid.vision.images import ImageError
from faceid.vision.picture import Picture, as_pictures
from tests.faceid.vision.zoo import Animal, zoo

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(path)
    return path


def test_every_kind_of_content_gives_the_same_pixels(file: Path) -> None:
    with Image.open(file) as lazy:
        kinds = [file, str(file), file.read_bytes(), bytearray(file.read_bytes()), PIXELS, lazy]
        for content in kinds:
            assert np.array_equal(Picture(content).pixels(), PIXELS)


def test_a_file_and_its_bytes_are_one_photo_and_so_are_an_array_and_its_image(file: Path) -> None:
    assert Picture(file).read().digest == Picture(file.read_bytes()).read().digest
    assert Picture(PIXELS).read().digest == Picture(Image.fromarray(PIXELS)).read().digest
    assert Picture(PIXELS).read().digest != Picture(PIXELS.reshape(9, 6, 3)).read().digest
    assert Picture(PIXELS[:, ::-1]).read().digest != Picture(PIXELS).read().digest


def test_a_pillow_image_of_any_mode_is_read_as_its_file_is(tmp_path: Path) -> None:
    transparent = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert Picture(transparent).pixels().tolist() == np.full((4, 4, 3), 255).tolist(), "laid on white"
    assert Picture(Image.new("CMYK", (4, 4), (0, 255, 255, 0))).pixels().shape == (4, 4, 3)
    assert Picture(Image.new("L", (4, 4), 7)).pixels().tolist() == np.full((4, 4, 3), 7).tolist()
    turned = Image.fromarray(PIXELS)
    turned.getexif()[0x0112] = 6
    assert Picture(turned).pixels().shape == (9, 6, 3), "upright"


LOST_IN_PILLOW = (
    # It does not say of its images: the lower bits of deep colours, that white is zero, that there is no sign.
    *("png of colours of 10", "png of colours of 12", "png of a grey of 12", "tiff of colours of", "ppm of colours of"),
    *("tiff of 16 bits whose", "tiff of 32 bits without", "png orientation in a raw profile APP1"),
    "odd tiff",  # it makes other pictures of them
    # It does not open them.
    *("png with a text", "png with a profile that unpacks", "heic"),
    *("avif exif with cut within the header", "avif exif with noise"),
)


@pytest.mark.parametrize(
    "animal",
    [one for one in zoo() if one.picture is not None and not one.remarks and not one.name.startswith(LOST_IN_PILLOW)],
    ids=lambda animal: animal.name,
)
def test_a_photo_that_pillow_opened_is_what_its_file_is(animal: Animal) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of odd metadata
        pixels = Picture(Image.open(io.BytesIO(animal.data))).pixels()
    assert pixels.shape == animal.picture.shape
    assert np.abs(pixels.astype(float) - animal.picture).mean() <= animal.off


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "I", "F"]
)
def test_an_image_of_any_mode_in_memory_is_a_photo(mode: str) -> None:
    grey = Image.fromarray(np.linspace(0, 255, 48, dtype=np.uint8).reshape(6, 8) // 128 * 255)
    between = {"La": ["LA"], "PA": ["P"], "RGBa": ["RGBA"]}
    image = grey
    for step in [*between.get(mode, []), mode]:
        image = image.convert(step)
    np.testing.assert_allclose(Picture(image).pixels(), np.asarray(grey.convert("RGB")), atol=1)


def test_a_large_image_in_memory_is_not_halved() -> None:
    assert Picture(Image.new("L", (8_001, 8_001))).pixels().shape == (8_001, 8_001, 3)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0)])
def test_an_image_without_pixels_costs_its_own_answer(mode: str, size: tuple[int, int]) -> None:
    with pytest.raises(ImageError) as caught:
        Picture(Image.new(mode, size)).read()
    assert caught.value.reason_code == "empty"


def test_the_source_is_the_path_or_what_the_caller_says_or_a_number(file: Path) -> None:
    named = Picture(PIXELS, "camera 2", time=1.5)
    assert [picture.source for picture in as_pictures([file, PIXELS, named, file.read_bytes()])] == [
        *(str(file), "picture 2", "camera 2", "picture 4"),
    ]
    assert (named.time, named.path, named.address) == (1.5, None, "camera 2")
    assert Picture("a.jpg").address == str(Path.cwd() / "a.jpg")


def test_one_photo_needs_no_list_and_frames_are_many(file: Path) -> None:
    assert [picture.source for picture in as_pictures(str(file))] == [str(file)]
    assert [len(list(as_pictures(photos))) for photos in (PIXELS, file.read_bytes(), np.stack([PIXELS] * 3))] == [
        1,
        1,
        3,
    ]


@pytest.mark.parametrize("content", [3, None, 1.5, {}, object()])
def test_what_is_no_photo_is_a_type_error(content: object) -> None:
    with pytest.raises(TypeError, match="a photo is a path, the bytes of a file, an RGB array"):
        Picture(content)


@pytest.mark.parametrize(
    "array",
    [PIXELS.astype(float), PIXELS[..., 0], PIXELS[..., :2], PIXELS[:0], np.zeros((4, 4, 4), np.uint8), np.array("x")],
)
def test_an_array_that_is_no_rgb_image_is_a_value_error(array: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"pixels must be RGB uint8 \[H, W, 3\], not"):
        Picture(array)


@pytest.mark.parametrize("time", [float("nan"), float("inf")])
def test_a_time_is_finite(time: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Picture(PIXELS, time=time)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("nowhere.jpg", "unreadable"),
        (".", "unreadable"),
        (b"", "empty"),
        (b"text", "not_an_image"),
        ("a\0b", "unreadable"),
        ("overlong" * 100, "unreadable"),
    ],
)
def test_what_cannot_be_used_says_so_when_it_is_read(content: str | bytes, code: str) -> None:
    with pytest.raises(ImageError) as caught:
        Picture(content, "the source").pixels()
    assert caught.value.reason_code == code
    assert caught.value.source in ("the source", content)


def test_a_damaged_pillow_image_is_a_bad_photo(file: Path) -> None:
    cut = Image.open(io.BytesIO(file.read_bytes()[:60]))
    with pytest.raises(ImageError, match="picture: the image cannot be read"):
        Picture(cut).pixels()


@given(st.one_of(st.binary(), st.text(), st.integers(), st.none(), st.lists(st.integers())))
def test_nothing_but_type_and_value_errors_meets_a_caller(content: object) -> None:
    try:
        list(as_pictures(content))
    except (TypeError, ValueError):
        return
