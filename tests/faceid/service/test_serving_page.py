"""docs/serving.md says what the code does: every problem's code, every setting that it names."""

import re
import tomllib
from pathlib import Path

from faceid.service.problems import CODES
from faceid.service.settings import make_settings

PAGE = (Path(__file__).parents[3] / "docs" / "serving.md").read_text(encoding="utf-8")


def test_the_table_of_problems_is_the_codes() -> None:
    rows = re.findall(r"^\| (\d{3}) \| `(\w+)` \| (.+) \|$", PAGE, re.MULTILINE)
    assert {code: (int(status), title) for status, code, title in rows} == CODES


def test_the_example_of_settings_is_valid() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    settings = make_settings(tomllib.loads(example)["serve"])
    assert list(settings.galleries) == ["staff", "visitors"]


def test_the_defaults_are_those_of_the_page() -> None:
    settings = make_settings({"galleries": {"default": "g"}, "data": "d"})
    told = (settings.request_bytes, settings.archive_bytes, settings.uploads_bytes, settings.photo_bytes)
    assert [size / 2**20 for size in told] == [64, 1024, 256, 16]
    assert (settings.photo_pixels, settings.photos, settings.faces) == (40_000_000, 64, 100)
    assert (settings.seconds, settings.queue, settings.requests_a_minute) == (30, 64, 1200)
    assert (settings.archive_photos, settings.port, settings.host) == (50_000, 8321, "127.0.0.1")
