"""Every command on an encrypted gallery: it does what it does on a plain one, and leaves nothing that can be read."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.measurements.durability.scenario import traces
from indexer.crypto.keys import KeyFile
from indexer.gallery import Gallery
from indexer.search import codes
from tests.faceid.cli.invoked import invoke, key_file


@pytest.fixture
def keys(tmp_path, monkeypatch):
    """Two key files, of which the environment names the first."""
    found = [key_file(tmp_path / name, number) for number, name in enumerate(("old", "new"), start=1)]
    monkeypatch.setenv("FACEID_KEY", found[0])
    return found


def needles_of(gallery):
    """What a thief looks for: of each template the vector in three precisions, the name, the path and the digest."""
    found = {}
    embeddings = gallery.embeddings()
    vectors = dict(zip(embeddings.template_ids.tolist(), embeddings.vectors, strict=True))
    for one in gallery.templates():
        vector = vectors[one.id]
        scale = np.abs(vector).max() / 127
        found |= {
            f"float32 {one.id}": vector.tobytes()[:64],
            f"float16 {one.id}": vector.astype(np.float16).tobytes()[:64],
            f"int8 {one.id}": np.rint(vector / scale).astype(np.int8).tobytes()[:32],
            f"name {one.id}": one.name.encode(),
            f"path {one.id}": Path(one.source).name.encode(),
            f"digest {one.id}": one.source_digest,
        }
        if (picture := gallery.crop(one.id)) is not None:
            found[f"picture {one.id}"] = picture[200:264]
    return found


@pytest.mark.slow
def test_after_every_command_nothing_in_any_file_can_be_read(tmp_path, monkeypatch, lfw_people, keys):
    monkeypatch.setattr(codes, "CODED_FROM", 8)
    work, temporary = tmp_path / "work", tmp_path / "work" / "temporary"
    temporary.mkdir(parents=True)
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.setenv("SQLITE_TMPDIR", str(temporary))
    staff, other = work / "staff", work / "other"
    first, second, third, *_ = sorted(one.name for one in lfw_people.iterdir())
    photo = next((lfw_people / first).iterdir())
    at = ("--gallery", staff)
    invoke("gallery", "create", "--encrypt", *at)
    invoke("enroll", lfw_people, "--keep-crops", "--no-quality", *at)
    with Gallery.open(staff) as gallery:
        wanted = needles_of(gallery)
    assert len(wanted) > 150
    assert any(name.startswith("picture") for name in wanted)
    for arguments, code in (
        (("identify", photo, "--threshold", 0.4, "--json"), 0),
        (("gallery", "rename", second, "Another Name"), 0),
        (("gallery", "merge", third, "Another Name"), 0),
        (("gallery", "undo"), 0),
        (("gallery", "remove", first), 0),
        (("gallery", "restore", first), 0),
        (("calibrate",), 1),
        (("gallery", "backup", work / "backup"), 0),
        (("gallery", "export", work / "export.parquet"), 0),
        (("gallery", "check", "--deep"), 0),
        (("gallery", "rebuild"), 0),
        (("gallery", "set", "fusion", "mean"), 0),
        (("gallery", "stats"), 0),
        (("gallery", "erase", first, "--yes"), 0),
        (("gallery", "purge", "--yes"), 0),
    ):
        invoke(*arguments, *at, code=code)
        assert traces(work, wanted) == [], arguments
    invoke("gallery", "encrypt", staff, work / "copy")
    invoke("gallery", "import", work / "export.parquet", "--gallery", other)
    invoke("gallery", "merge-from", work / "backup", "--gallery", other)
    invoke("gallery", "rotate", "--to", keys[1], *at)
    assert traces(work, wanted) == []
    assert (other / "gallery.key").exists(), "with a key in the environment no gallery is made plain"
    invoke("gallery", "list", *at, code=8)
    monkeypatch.setenv("FACEID_KEY", keys[1])
    assert "Another Name" in invoke("gallery", "list", *at).output or second in invoke("gallery", "list", *at).output
    invoke("gallery", "list", "--gallery", other, code=8)
    monkeypatch.delenv("FACEID_KEY")
    assert "say where that key is" in invoke("gallery", "list", *at, code=7).stderr


def test_an_export_is_encrypted_unless_it_is_asked_to_be_plain(tmp_path, keys):
    from tests.indexer.made_up_people import MODEL, photo

    with Gallery.create(tmp_path / "g", MODEL) as gallery:
        gallery.add([photo("Ann Lee", "a")])
        gallery.export(tmp_path / "sealed.parquet")
        gallery.export(tmp_path / "plain.parquet", plain=True)
    assert b"Ann Lee" in (tmp_path / "plain.parquet").read_bytes()
    assert b"Ann Lee" not in (tmp_path / "sealed.parquet").read_bytes()
    assert set(json.loads((tmp_path / "sealed.parquet").open("rb").readline())) >= {"format", "key_id", "wrapped"}
    invoke("gallery", "import", tmp_path / "sealed.parquet", "--gallery", tmp_path / "copy")
    new = KeyFile(keys[1].removeprefix("file:"))
    with Gallery.create(tmp_path / "elsewhere", MODEL, key=new) as elsewhere:
        elsewhere.import_(tmp_path / "sealed.parquet", source_key=KeyFile(keys[0].removeprefix("file:")))
        assert [one.name for one in elsewhere.identities()] == ["Ann Lee"]


@pytest.mark.parametrize("place", [3, 40, 200, 300, 400, -20])
def test_an_encrypted_export_that_was_altered_is_refused(tmp_path, keys, place):
    from tests.indexer.made_up_people import MODEL, photo

    with Gallery.create(tmp_path / "g", MODEL) as gallery:
        gallery.add([photo("Ann Lee", "a")])
        gallery.export(tmp_path / "export")
        content = bytearray((tmp_path / "export").read_bytes())
        content[place] ^= 1
        (tmp_path / "export").write_bytes(content)
        result = invoke("gallery", "import", tmp_path / "export", "--gallery", gallery.path.with_name("target"), code=1)
    assert "export" in result.stderr


def test_create_without_a_key_makes_a_plain_gallery_and_encrypt_insists(tmp_path, monkeypatch):
    monkeypatch.delenv("FACEID_KEY", raising=False)
    said = invoke("gallery", "create", "--encrypt", "--gallery", tmp_path / "a", code=7).stderr
    assert "say where the key is" in said
    assert not (tmp_path / "a").exists()
    invoke("gallery", "create", "--gallery", tmp_path / "b")
    assert not (tmp_path / "b" / "gallery.key").exists()
