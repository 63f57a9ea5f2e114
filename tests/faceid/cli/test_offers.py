"""What a shell offers at Tab: people of the gallery and models, and nothing where there is nothing to offer."""

from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from faceid.cli import cli
from indexer.gallery import Gallery
from tests.indexer.made_up_people import MODEL, photo


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    with Gallery.create(tmp_path / "staff", MODEL) as gallery:
        gallery.add([photo("Ann Lee", "a"), photo("Andy", "b"), photo("Bob", "c", "7"), photo("Bob", "d")])
    return tmp_path / "staff"


def offered(*typed: str) -> list[str]:
    *before, word = typed
    return [one.value for one in ShellComplete(cli, {}, "faceid", "_FACEID_COMPLETE").get_completions(before, word)]


@pytest.mark.parametrize("command", ["show", "rename", "remove", "restore", "erase"])
def test_people_are_offered_wherever_one_is_named(gallery: Path, command: str) -> None:
    assert offered("gallery", command, "--gallery", str(gallery), "An") == ["Ann Lee", "Andy"]


def test_people_of_one_name_are_offered_so_that_they_are_told_apart(gallery: Path) -> None:
    assert offered("gallery", "merge", "--gallery", str(gallery), "Ann Lee", "") == ["Ann Lee", "Andy", "7", "4"]


def test_the_gallery_may_be_named_by_the_environment(gallery: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEID_GALLERY", str(gallery))
    assert offered("gallery", "show", "Andy") == ["Andy"]


def test_the_gallery_may_be_named_as_it_is_typed(gallery: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(gallery.parent))
    assert offered("gallery", "show", "--gallery", "~/staff", "Andy") == ["Andy"]
    assert offered("gallery", "show", "--gallery=~/staff", "Andy") == ["Andy"]


def test_without_a_gallery_nobody_is_offered(tmp_path: Path) -> None:
    assert offered("gallery", "show", "--gallery", str(tmp_path / "none"), "") == []


@pytest.mark.parametrize("typed", [("models", "info"), ("enroll", "--model"), ("gallery", "reembed", "--model")])
def test_models_are_offered(typed: tuple[str, ...]) -> None:
    assert offered(*typed, "sphereface-") == ["sphereface-scratch"]
