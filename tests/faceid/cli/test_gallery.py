"""`faceid gallery ...`: looking after a gallery from the command line."""

import os
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from faceid.models.model_file import Model, read_model, write_model
from indexer.gallery import Gallery
from indexer.outside import kept
from tests.faceid.cli.conftest import Run
from tests.indexer.outside.fake_engine import Server


@pytest.fixture
def other_model(models_dir: Path, tmp_path: Path) -> Model:
    """The same network with another flip rule: another model."""
    model = read_model(models_dir / "mobilefacenet.safetensors")
    return write_model(
        tmp_path / "mirrored.safetensors", replace(model.spec, name="mirrored", flip="sum"), model.tensors()
    )


@pytest.fixture
def one_person(run: Run, lfw_people: Path, tmp_path: Path) -> Path:
    """A person's folder of three photos, enrolled in the gallery `g`; by the best, so that a photo scores 1."""
    person = min(lfw_people.iterdir())
    shutil.copytree(person, tmp_path / "people" / person.name)
    at = ("--gallery", tmp_path / "g", "--model", "mobilefacenet", "--fusion", "max")
    run("enroll", tmp_path / "people", *at, "--faces", "centre")
    return tmp_path / "people" / person.name


@pytest.fixture
def names(lfw_people: Path) -> list[str]:
    return sorted(path.name for path in lfw_people.iterdir())


def test_list_and_show_tell_who_is_there_and_from_which_photo(run: Run, gallery: Path, names: list[str]) -> None:
    listed = run("gallery", "list", "--gallery", gallery, "--json").records
    assert [record["name"] for record in listed] == names
    (template,) = run("gallery", "show", names[0], "--gallery", gallery, "--json").records
    assert template["source"].endswith(f"{names[0]}_0001.jpg")
    assert len(template["source_digest"]) == 64


def test_rename_merge_remove_and_restore(run: Run, gallery: Path, names: list[str]) -> None:
    at = ("--gallery", gallery)
    renamed = run("gallery", "rename", names[0], " Ann  Lee ", *at)
    assert renamed.stderr.split("is now called ")[1] == "Ann Lee.\n", "as the gallery keeps it"
    assert run("gallery", "merge", names[1], "Ann Lee", *at).code == 0
    assert len(run("gallery", "show", "Ann Lee", *at, "--json").records) == 2
    assert run("gallery", "remove", names[2], names[3], *at).code == 0
    assert len(run("gallery", "list", *at, "--json").records) == len(names) - 3
    assert len(run("gallery", "list", "--all", *at, "--json").records) >= len(names) - 1
    assert run("gallery", "restore", names[2], *at).code == 0
    assert len(run("gallery", "list", *at, "--json").records) == len(names) - 2
    assert run("gallery", "check", *at).code == 0


def test_who_is_named_twice_does_not_stop_the_others(run: Run, gallery: Path, names: list[str]) -> None:
    run("gallery", "rename", names[0], "Ann", "--gallery", gallery)
    assert run("gallery", "erase", names[0], "Ann", names[1], "--yes", "--gallery", gallery).code == 0
    left = run("gallery", "list", "--all", "--gallery", gallery, "--json").records
    assert [record["name"] for record in left] == names[2:]


def test_erase_asks_first_and_leaves_no_byte(run: Run, gallery: Path, names: list[str]) -> None:
    assert run("gallery", "erase", names[0], "--gallery", gallery).code == 1, "no answer means no"
    assert run("gallery", "erase", names[0], "--yes", "--gallery", gallery).code == 0
    for file in gallery.iterdir():
        assert names[0].encode() not in file.read_bytes(), file.name
    assert names[0] not in [record["name"] for record in run("gallery", "list", "--gallery", gallery, "--json").records]


def test_an_export_is_imported_elsewhere(run: Run, gallery: Path, names: list[str], tmp_path: Path) -> None:
    assert run("gallery", "export", tmp_path / "people.faceid", "--gallery", gallery).code == 0
    imported = run("gallery", "import", tmp_path / "people.faceid", "--gallery", tmp_path / "other")
    assert imported.code == 0
    assert "12 enrolled" in imported.stderr
    listed = run("gallery", "list", "--gallery", tmp_path / "other", "--json").records
    assert [record["name"] for record in listed] == names
    again = run("gallery", "import", tmp_path / "people.faceid", "--gallery", tmp_path / "other")
    assert "12 already enrolled" in again.stderr
    assert run("gallery", "remove", names[0], "--gallery", tmp_path / "other").code == 0
    removed = run("gallery", "import", tmp_path / "people.faceid", "--gallery", tmp_path / "other")
    assert (removed.code, "rejected: this person or photo was removed" in removed.stderr) == (3, True)


def test_a_gallery_that_an_import_makes_decides_as_the_exported_one(run: Run, gallery: Path, tmp_path: Path) -> None:
    before = run("gallery", "stats", "--gallery", gallery, "--json").records[0]
    other = {"max": "mean", "mean": "max"}[before["fusion"]]
    assert run("gallery", "set", "fusion", other, "--gallery", gallery).code == 0
    assert run("gallery", "set", "decision", "context", "--gallery", gallery).code == 0
    run("gallery", "export", tmp_path / "people.faceid", "--gallery", gallery)
    run("gallery", "import", tmp_path / "people.faceid", "--gallery", tmp_path / "other")
    made = run("gallery", "stats", "--gallery", tmp_path / "other", "--json").records[0]
    assert (made["fusion"], made["decided_on"]) == (other, "context")


def test_nobody_of_that_name_is_said_plainly(run: Run, gallery: Path) -> None:
    outcome = run("gallery", "remove", "Nobody", "--gallery", gallery)
    assert outcome.code == 1
    assert "Nobody" in outcome.stderr


def test_an_id_is_told_from_a_name_that_is_a_number(run: Run, gallery: Path) -> None:
    at = ("--gallery", gallery)
    assert run("gallery", "rename", 2, 1, *at).code == 0
    several = run("gallery", "show", 1, *at)
    assert (several.code, "give the id ('#1', '#2')" in several.stderr) == (1, True)
    assert run("gallery", "remove", "#1", *at).code == 0
    assert [(one["id"], one["removed"]) for one in run("gallery", "list", *at, "--all", "--json").records][:2] == [
        (1, True),
        (2, False),
    ]
    endless = run("gallery", "show", "9" * 5000, *at)
    assert (endless.code, "bytes of UTF-8" in endless.stderr) == (1, True)


def test_a_name_is_utf_8_whatever_the_locale_says(run: Run, gallery: Path, names: list[str]) -> None:
    def in_ascii(*arguments: str | bytes) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "faceid", "gallery", *arguments, "--gallery", str(gallery)],
            capture_output=True,
            env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
            check=False,
        )

    renamed = in_ascii("rename", names[0], "محمد".encode())
    assert (renamed.returncode, renamed.stderr.decode().splitlines()[-1]) == (
        0,
        f"{names[0]} (id 1) is now called محمد.",
    )
    assert run("gallery", "show", "محمد", "--gallery", gallery).code == 0
    assert in_ascii("show", "محمد".encode()).returncode == 0
    broken = in_ascii("rename", "محمد".encode(), b"\xff")
    assert broken.returncode == 1
    assert "control character or a broken one" in " ".join(broken.stderr.decode().split())


def test_no_gallery_is_exit_code_one_and_a_damaged_one_five(run: Run, gallery: Path, tmp_path: Path) -> None:
    assert run("gallery", "list", "--gallery", tmp_path / "nowhere").code == 1
    (gallery / "gallery.db").write_bytes(b"this is not a database" * 100)
    outcome = run("gallery", "list", "--gallery", gallery)
    assert outcome.code == 5
    assert str(gallery) in outcome.stderr


def test_a_damaged_cache_is_found_and_rebuilt(run: Run, gallery: Path) -> None:
    cache = max(gallery.glob("index-*"), key=lambda file: file.stat().st_size)
    content = bytearray(cache.read_bytes())
    content[-10] ^= 1
    cache.write_bytes(content)
    assert run("gallery", "check", "--deep", "--gallery", gallery).code == 1
    assert run("gallery", "rebuild", "--gallery", gallery).code == 0
    assert run("gallery", "check", "--deep", "--gallery", gallery).code == 0


def test_a_flipped_bit_in_a_vector_of_the_database_is_exit_code_five(run: Run, gallery: Path) -> None:
    with sqlite3.connect(gallery / "gallery.db") as raw:
        (blob,) = raw.execute("SELECT vector FROM embedding WHERE template_id = 2").fetchone()
        raw.execute("UPDATE embedding SET vector = ? WHERE template_id = 2", (bytes([blob[0] ^ 1]) + blob[1:],))
    raw.close()
    outcome = run("gallery", "check", "--deep", "--gallery", gallery, "--json")
    assert outcome.code == 5
    assert {record["kind"] for record in outcome.records} == {"bad_row"}


def test_what_a_reader_keeps_in_the_files_is_said_to_be_pending(run: Run, gallery: Path, names: list[str]) -> None:
    at = ("--gallery", gallery)
    run("gallery", "rename", names[0], "Ann Lee", *at)
    with Gallery.open(gallery, writable=True) as opened:
        opened.keep_strangers(opened.sample(2).vectors, np.arange(2))
    for command in (("gallery", "purge", "--yes"), ("calibrate", "--forget-strangers")):
        with Gallery.open(gallery) as reader, reader._database.read() as connection:
            connection.exec_driver_sql("SELECT count(*) FROM template")
            told = run(*command, *at)
        assert "Pending: its bytes are still in the gallery's files" in " ".join(told.stderr.split())
        assert "a reader holds an older revision" in told.stderr
    assert "Pending" not in run("gallery", "purge", "--yes", *at).stderr


def test_undo_takes_back_and_purge_gives_up_undoing(run: Run, gallery: Path, names: list[str]) -> None:
    at = ("--gallery", gallery)
    run("gallery", "rename", names[0], "Ann Lee", *at)
    run("gallery", "remove", names[1], *at)
    listed = run("gallery", "undo", "--list", *at, "--json").records
    assert [record["action"] for record in listed] == ["remove", "rename"]
    assert run("gallery", "undo", *at).code == 0
    assert run("gallery", "undo", str(listed[1]["id"]), *at).code == 0
    assert [record["name"] for record in run("gallery", "list", *at, "--json").records] == names
    run("gallery", "rename", names[0], "Ann Lee", *at)
    assert run("gallery", "purge", *at).code == 1, "no answer means no"
    assert run("gallery", "purge", "--yes", *at).code == 0
    assert names[0].encode() not in (gallery / "gallery.db").read_bytes().replace(f"{names[0]}/".encode(), b"").replace(
        f"{names[0]}_".encode(), b""
    )
    assert run("gallery", "undo", *at).code == 1


def test_a_backup_is_merged_into_another_gallery(run: Run, gallery: Path, names: list[str], tmp_path: Path) -> None:
    assert run("gallery", "backup", tmp_path / "backup", "--gallery", gallery).code == 0
    assert run("gallery", "backup", tmp_path / "backup", "--gallery", gallery).code == 1, "it is not empty"
    run("gallery", "erase", names[0], "--yes", "--gallery", gallery)
    run("gallery", "remove", names[1], "--gallery", gallery)
    merge = ("gallery", "merge-from", tmp_path / "backup", "--gallery", gallery, "--json")
    merged = run(*merge)
    assert merged.code == 3, "who was erased or removed here stays so, and that is told"
    by_name = {record["name"]: record for record in merged.records}
    assert by_name[names[0]]["conflicts"] == {"erased": 1}
    assert by_name[names[1]]["conflicts"] == {"removed": 1}
    revived = {record["name"]: record for record in run(*merge, "--revive-erased").records}
    assert revived[names[0]]["enrolled"] == 1


def test_reembed_binds_the_gallery_to_another_model(
    run: Run, one_person: Path, other_model: Model, tmp_path: Path
) -> None:
    at = ("--gallery", tmp_path / "g")
    model = ("--model", other_model.path)
    assert run("gallery", "reembed", *at, *model).code == 0
    (stats,) = run("gallery", "stats", *at, "--json").records
    assert stats["model"]["digest"] == other_model.digest
    photo = min(one_person.iterdir())
    (record,) = run("identify", photo, *at, *model, "--threshold", "0.9", "--faces", "centre", "--json").records
    assert record["similarity"] == pytest.approx(1, abs=1e-5)


def test_reembed_keeps_the_old_model_while_a_photo_is_missing(
    run: Run, one_person: Path, other_model: Model, tmp_path: Path
) -> None:
    at = ("--gallery", tmp_path / "g")
    missing = min(one_person.iterdir())
    missing.unlink()
    outcome = run("gallery", "reembed", *at, "--model", other_model.path)
    assert outcome.code == 1
    assert missing.name in outcome.stderr
    assert run("gallery", "stats", *at, "--json").records[0]["model"]["name"] == "mobilefacenet"
    assert run("gallery", "reembed", *at, "--model", other_model.path, "--drop-missing").code == 3
    assert run("gallery", "stats", *at, "--json").records[0]["templates"] == 2


def test_an_index_elsewhere_is_made_searched_and_forgotten(
    run: Run, gallery: Path, lfw_people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, address = Server(), "milvus:http://engine:19530"
    monkeypatch.setattr(kept, "open_outside", server.open)
    photo = next(lfw_people.glob("*/*_0002.jpg"))
    asked = ("identify", photo, "--gallery", gallery, "--faces", "centre", "--json", "--threshold", "0.4")
    refused = run(*asked, "--index", address)
    assert (refused.code, f"faceid gallery set index {address}" in refused.stderr) == (1, True)
    assert run("gallery", "set", "index", address, "--gallery", gallery).code == 0
    (elsewhere,), (here,) = (run(*asked, "--index", address).records, run(*asked).records)
    assert elsewhere == {**here, "gallery_revision": elsewhere["gallery_revision"]}
    assert elsewhere["exact_candidates"]
    assert run("gallery", "stats", "--gallery", gallery, "--json").records[0]["outside_indexes"] == [address]
    assert run("gallery", "set", "index", address, "--forget", "--gallery", gallery).code == 0
    assert not server.vectors
