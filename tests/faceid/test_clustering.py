"""What a run leaves in its folder is read again, or refused; names and sources become no paths."""

import csv
import os
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from faceid.cluster_page import write_cluster_page
from faceid.clustering import (
    ClusteringError,
    add_photos,
    read_faces,
    read_names,
    sort_faces,
    write_faces,
    write_folder,
)
from faceid.pipeline import FoundFace, PictureFaces
from faceid.vision.picture import Picture
from faceid.vision.quality import Limits, Quality
from indexer.decision.decision import user_threshold
from indexer.gallery import Gallery
from indexer.records import ModelBinding, NewTemplate
from tests.indexer.hygiene.faces import directions, photos

GOOD, POOR = Quality(100, 0.99, 80, 0.1), Quality(10, 0.99, 80, 0.1)


class Engine:
    """An engine whose photos say who is on them: their names are numbers of people, `3+5_2.png`, `x` a poor face."""

    def __init__(self):
        random = np.random.default_rng(0)
        self.people, self.random, self.looked = directions(20, random), random, 0
        self.pipeline = SimpleNamespace(read=self.read, find_faces=self.find)

    def read(self, pictures):
        return [SimpleNamespace(picture=one, digest=one.path.read_bytes()[-32:]) for one in pictures]

    def find(self, files, policy):
        for file in files:
            self.looked += 1
            faces = []
            for place, who in enumerate(file.picture.path.stem.partition("_")[0].split("+")):
                vector = photos(self.people[[int(who.strip("x"))]], self.random)[0]
                box = (10.0 + 40 * place, 10.0, 20.0, 20.0)
                faces.append(FoundFace(box, (), 0.99, POOR if "x" in who else GOOD, vector))
            yield PictureFaces(file.picture, file.digest, tuple(faces), None)


@pytest.fixture
def archive(tmp_path):
    names = ["1_1", "1_2", "1_3", "2_1", "2_2", "1+2_1", "7_1", "x2_3"]
    for number, name in enumerate(names):
        Image.new("RGB", (100, 60), (number * 20, 90, 40)).save(tmp_path / f"{name}.png")
        with (tmp_path / f"{name}.png").open("ab") as file:
            file.write(number.to_bytes(32, "big"))
    return [tmp_path / f"{name}.png" for name in names]


def add(engine, paths, faces):
    return add_photos(engine, [Picture(path) for path in paths], faces, lambda source, reason: None, Limits())


def test_people_singles_and_poor_faces_are_told_apart(archive, tmp_path):
    faces = add(Engine(), archive, read_faces(tmp_path, "m", 0.45))
    placed = sort_faces(faces, {})
    assert [one.status for one in placed] == ["person"] * 7 + ["single", "unclear"]
    assert [one.person for one in placed[:7]] == ["person-00000"] * 3 + ["person-00003"] * 2 + [
        "person-00000",
        "person-00003",
    ]


def test_a_second_run_looks_only_at_new_photos_and_keeps_numbers(archive, tmp_path):
    engine = Engine()
    write_faces(tmp_path, add(engine, archive[3:], read_faces(tmp_path, "m", 0.45)))
    before = {
        one.source: one.person for one in sort_faces(read_faces(tmp_path, "m", 0.45), {}) if one.status == "person"
    }
    looked = engine.looked
    faces = add(engine, archive, read_faces(tmp_path, "m", 0.45))
    assert engine.looked == looked + 3
    after = {one.source: one.person for one in sort_faces(faces, {})}
    assert all(after[source] == person for source, person in before.items() if "+" not in source)


def test_those_whom_the_gallery_knows_come_first(archive, tmp_path):
    engine = Engine()
    vector = photos(engine.people[[2]], engine.random)[0]
    model = ModelBinding("m", "a" * 64, 64)
    new = NewTemplate("Bo", None, vector, "b.jpg", b"\1" * 32, None, None, None, "float32")
    faces = add(engine, archive, read_faces(tmp_path, "m", 0.45))
    with Gallery.create(tmp_path / "gallery", model) as gallery:
        gallery.add([new])
        placed = sort_faces(faces, {}, gallery, user_threshold(0.45))
    assert {(one.person, one.name) for one in placed if one.status == "known"} == {("known-00001", "Bo")}
    assert sum(one.status == "known" for one in placed) == 3


def test_the_manifest_names_photos_or_cut_outs_and_takes_names(archive, tmp_path):
    faces = add(Engine(), archive, read_faces(tmp_path, "m", 0.45))
    (tmp_path / "names.csv").write_text('person,name\nperson-00003,"../Ann ""A"""\n')
    folder = tmp_path / "out"
    folder.mkdir()
    placed = sort_faces(faces, read_names(tmp_path / "names.csv"))
    write_folder(folder, faces, placed, copies=False)
    rows = list(csv.DictReader((folder / "manifest.csv").open()))
    assert {row["name"] for row in rows} == {"person-00000", '../Ann "A"'}
    assert all((folder / row["path"]).is_file() for row in rows)
    assert len(rows) == 7
    assert sum(row["path"].endswith("5.png") or row["path"].endswith("6.png") for row in rows) == 2
    assert sorted(path.name for path in (folder / "people").iterdir()) == ["person-00000", "person-00003"]
    text = write_cluster_page(placed, folder).read_text()
    assert "../Ann &#34;A&#34;" in text
    assert text.count("data:image/jpeg") == 8


def test_a_list_of_names_may_have_semicolons(tmp_path):
    (tmp_path / "names.csv").write_text("person;name\na;Lee, Ann\n")
    assert read_names(tmp_path / "names.csv") == {"a": "Lee, Ann"}


@pytest.mark.parametrize(
    ("rows", "says"),
    [("a,Lee, Ann\n", "line 2: more cells"), ("a,Ann\nb,Bob\na,Bea\n", "line 4: another name of a")],
)
def test_a_list_of_names_that_is_not_clear_is_refused(tmp_path, rows, says):
    (tmp_path / "names.csv").write_text(f"person,name\n{rows}")
    with pytest.raises(ClusteringError, match=says):
        read_names(tmp_path / "names.csv")


def test_a_second_run_takes_away_what_is_its_own_and_nothing_else(archive, tmp_path):
    faces = add(Engine(), archive, read_faces(tmp_path, "m", 0.45))
    mine = tmp_path / "people" / "Ann" / "0000001.jpg"
    beside = tmp_path / "people" / "person-00000" / "20190704.jpg"
    for photo in (mine, beside):
        photo.parent.mkdir(parents=True)
        photo.write_text("mine")
    write_folder(tmp_path, faces, sort_faces(faces, {}), copies=True)
    first = sorted(path.relative_to(tmp_path).as_posix() for path in (tmp_path / "people").rglob("*"))
    write_folder(tmp_path, faces, sort_faces(faces, {}), copies=True)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in (tmp_path / "people").rglob("*")) == first
    assert mine.read_text() == beside.read_text() == "mine"
    write_folder(tmp_path, faces, [], copies=True)
    assert sorted(path.name for path in (tmp_path / "people").iterdir()) == ["Ann", "person-00000"]


def test_photos_are_found_from_any_folder_and_where_they_were_moved(archive, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    faces = add(Engine(), [path.relative_to(tmp_path) for path in archive], read_faces(tmp_path, "m", 0.45))
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    assert write_folder(tmp_path, faces, sort_faces(faces, {}), copies=False) == []
    moved = [path.rename(tmp_path / "out" / path.name) for path in archive]
    alone, shared = str(archive[0]), str(archive[5])
    assert {alone, shared} < set(write_folder(tmp_path, faces, sort_faces(faces, {}), copies=False))
    assert not list(csv.DictReader((tmp_path / "manifest.csv").open()))
    faces = add(Engine(), moved, faces)
    assert write_folder(tmp_path, faces, sort_faces(faces, {}), copies=False) == []
    assert len(list(csv.DictReader((tmp_path / "manifest.csv").open()))) == 7


def test_photos_whose_names_are_no_utf_8_are_not_gone(archive, tmp_path):
    """As in archives of years ago, in Latin-1."""
    old = tmp_path / os.fsdecode(b"M\xfcller")
    old.mkdir()
    photos = [path.rename(old / path.name) for path in archive]
    faces = add(Engine(), photos, read_faces(tmp_path, "m", 0.45))
    assert write_folder(tmp_path, faces, sort_faces(faces, {}), copies=False) == []
    assert len(list(csv.DictReader((tmp_path / "manifest.csv").open()))) == 7


def test_somebody_who_was_parted_from_a_person_is_read_again(archive, tmp_path):
    faces = add(Engine(), archive, read_faces(tmp_path, "m", 0.45))
    labels = np.where(faces.labels == 3, -2, faces.labels)  # as `cluster` numbers whom a face left that was 0
    write_faces(tmp_path, replace(faces, labels=labels))
    again = read_faces(tmp_path, "m", 0.45)
    assert "person-00000-b" in {one.person for one in sort_faces(again, {})}
    write_faces(tmp_path, replace(faces, labels=labels - 10))
    with pytest.raises(ClusteringError, match="not there"):
        read_faces(tmp_path, "m", 0.45)


@pytest.mark.parametrize(
    "spoil",
    ["cut", "text", "other", "pairs", "labels", "digests", "photos", "similarity", "usable", "pipe", "folder"],
)
def test_a_folder_that_is_damaged_or_of_another_model_is_refused(archive, tmp_path, spoil):
    path = tmp_path / "faces.npz"
    write_faces(tmp_path, add(Engine(), archive, read_faces(tmp_path, "m", 0.45)))
    if spoil == "cut":
        path.write_bytes(path.read_bytes()[:-2000])
    elif spoil == "text":
        path.write_text("faces")
    elif spoil == "pairs":
        with np.load(path) as file:
            values = dict(file)
        np.savez(path, **values | {"first": values["first"] + 100})
    elif spoil in ("labels", "digests", "photos", "similarity", "usable"):
        with np.load(path) as file:
            values = dict(file)
        changed = {
            "labels": values["labels"] + 100,
            "digests": np.full_like(values["digests"], values["digests"][0]),
            "photos": np.zeros_like(values["photos"]),
            "similarity": values["similarity"] * np.nan,
            "usable": values["usable"].astype(float),
        }
        np.savez(path, **values | {spoil: changed[spoil]})
    elif spoil == "pipe":
        path.unlink()
        os.mkfifo(path)
    elif spoil == "folder":
        path.unlink()
        path.mkdir()
    with pytest.raises(ClusteringError, match="another folder"):
        read_faces(tmp_path, "n" if spoil == "other" else "m", 0.45)


@pytest.mark.slow
def test_a_flipped_bit_anywhere_in_what_a_run_left_is_refused_or_means_nothing(archive, tmp_path):
    path = tmp_path / "faces.npz"
    write_faces(tmp_path, add(Engine(), archive, read_faces(tmp_path, "m", 0.45)))
    sound, whole = path.read_bytes(), read_faces(tmp_path, "m", 0.45)
    for place in (place for place in range(len(sound)) if place < 200 or place > len(sound) - 1200 or place % 40 == 0):
        damaged = bytearray(sound)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            read = read_faces(tmp_path, "m", 0.45)
        except ClusteringError:
            continue
        assert np.array_equal(read.vectors, whole.vectors)
        assert np.array_equal(read.labels, whole.labels)
