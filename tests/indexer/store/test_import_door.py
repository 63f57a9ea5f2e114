"""Whatever stands in an import under a right SHA-256: it is refused whole, in plain words, or it is sound."""

import json
import math
import os
from contextlib import suppress

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexer.errors import GalleryError
from indexer.gallery import Gallery
from indexer.store import transfer
from indexer.store.content import Template
from tests.indexer.made_up_people import DIMENSION, MODEL, digest_of, photo, unit_vectors

pytestmark = pytest.mark.plain
"""The file itself is looked at and forged; encrypted ones have tests of their own."""

PERSON = {"name": "Ann", "external_id": None, "removed": False, "aliases": []}
ROW = {
    "person": 0,
    "source": "s",
    "source_digest": digest_of("s"),
    "box_x": 1.0,
    "box_y": 2.0,
    "box_width": 3.0,
    "box_height": 4.0,
    "detection_score": 0.9,
    "quality": 0.5,
    "precision": "float32",
    "removed": False,
}


def forged(path, people=None, rows=None, head=None):
    """Write an export with this content, whatever it is, and the SHA-256 that fits."""
    people, rows = [PERSON] if people is None else people, [ROW] if rows is None else rows
    model = {"name": MODEL.name, "digest": MODEL.digest, "dimension": DIMENSION}
    version = transfer._FORMAT if any("crop" in row for row in rows) else transfer._WITHOUT_CROPS
    head = {"format": version, "model": model, "people": people, **(head or {})}
    vectors = unit_vectors(len(rows))
    templates = [
        Template(
            row["person"],
            row["source"],
            row["source_digest"],
            tuple(row[name] for name in transfer._NUMBERS),
            row["precision"],
            row["removed"],
            row.get("crop"),
        )
        for row in rows
    ]
    schema = transfer._schema(pyarrow, DIMENSION, version)
    columns = [name for name in schema.names if name != "vector"]
    arrays = [pyarrow.array([row[name] for row in rows], schema.field(name).type) for name in columns]
    arrays.append(pyarrow.array(vectors.tolist(), schema.field("vector").type))
    with pyarrow.parquet.ParquetWriter(path, schema, compression="none", write_statistics=False) as writer:
        writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
        sha256 = transfer._digest(head, templates, vectors)
        writer.add_key_value_metadata({"faceid": json.dumps({**head, "sha256": sha256})})
    return path


def table_of(file):
    """The table of an export, with the description that its file carries."""
    head = pyarrow.parquet.ParquetFile(file).metadata.metadata[b"faceid"]
    return pyarrow.parquet.read_table(file).replace_schema_metadata({"faceid": head})


def person(**changes):
    return {**PERSON, **changes}


def row(**changes):
    return {**ROW, **changes}


def test_what_the_helper_writes_is_taken_in_when_it_is_sound(gallery, tmp_path):
    assert [one.status for one in gallery.import_(forged(tmp_path / "export.parquet"))] == ["enrolled"]
    assert gallery.check(deep=True) == []


@pytest.mark.parametrize(
    ("what", "content"),
    [
        ("not finite", {"rows": [row(quality=math.nan)]}),
        ("not finite", {"rows": [row(detection_score=-math.inf)]}),
        ("not finite", {"rows": [row(box_x=math.nan)]}),
        ("half a box", {"rows": [row(box_x=None)]}),
        ("has no extent", {"rows": [row(box_width=0.0)]}),
        ("has no extent", {"rows": [row(box_height=-4.0)]}),
        ("nobody's of its people", {"rows": [row(person=99)]}),
        ("nobody's of its people", {"rows": [row(person=-1)]}),
        ("nobody's of its people", {"people": []}),
        ("out of order", {"people": [PERSON, person(name="Bob")], "rows": [row(person=1), row()]}),
        ("small JPEG", {"rows": [row(crop=b"GIF89a")]}),
        ("precision", {"rows": [row(precision="int8")]}),
        ("precision", {"rows": [row(precision=None)]}),
        ("source", {"rows": [row(source=None)]}),
        ("removed", {"rows": [row(removed=None)]}),
        ("name is no text", {"people": [person(name=["a"])]}),
        ("name is no text", {"people": [person(external_id={})]}),
        ("no name", {"people": [person(name=None)]}),
        ("control character", {"people": [person(name="Ann\n")]}),
        ("not blank", {"people": [person(external_id="")]}),
        ("removed", {"people": [person(removed=1)]}),
        ("aliases are no list", {"people": [person(aliases={})]}),
        ("no record", {"people": [person(aliases=["Anna"])]}),
        ("no record", {"people": [person(aliases=[{"name": "Anna"}])]}),
        ("no record", {"people": ["Ann"]}),
        ("no record", {"people": [person(more=1)]}),
        ("people", {"people": {"0": PERSON}}),
        ("no SHA-256", {"head": {"model": {"name": "m", "digest": "A" * 64, "dimension": DIMENSION}}}),
        ("has no name", {"head": {"model": {"name": None, "digest": "a" * 64, "dimension": DIMENSION}}}),
        ("no readable export", {"head": {"model": {"name": "m", "digest": "a" * 64, "dimension": 15}}}),
        ("no readable export", {"head": {"model": ["m"]}}),
        ("fusion", {"head": {"fusion": "median"}}),
        ("decided on", {"head": {"decided_on": ["context"]}}),
    ],
)
def test_content_that_no_gallery_wrote_is_refused_whole(gallery, tmp_path, what, content):
    file = forged(tmp_path / "export.parquet", **content)
    with pytest.raises(GalleryError, match=what) as refused:
        gallery.import_(file)
    assert str(file) in str(refused.value)
    assert (gallery.identities(include_removed=True), gallery.revision) == ([], 1)


def test_vectors_of_other_lengths_that_make_up_for_each_other_are_refused(gallery, tmp_path):
    file = forged(tmp_path / "export.parquet", rows=[row(), row(source_digest=digest_of("t"))])
    table = table_of(file)
    vectors = table.column("vector").to_pylist()
    lists = pyarrow.array([vectors[0][:-1], [vectors[0][-1], *vectors[1]]], table.schema.field("vector").type)
    pyarrow.parquet.write_table(table.set_column(table.num_columns - 1, "vector", lists), file, compression="none")
    with pytest.raises(GalleryError, match="a vector has not 16 numbers"):
        gallery.import_(file)


def test_nesting_without_end_pipes_and_small_files_of_many_rows_are_refused(gallery, tmp_path):
    file = forged(tmp_path / "export.parquet")
    table = pyarrow.parquet.read_table(file)
    deep = table.replace_schema_metadata({"faceid": '{"format": ' + "[" * 100_000 + "]" * 100_000 + "}"})
    pyarrow.parquet.write_table(deep, file)
    with pytest.raises(GalleryError, match="no readable export"):
        gallery.import_(file)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(GalleryError, match="is no file"):
        gallery.import_(tmp_path / "pipe")
    many = forged(tmp_path / "many.parquet", rows=[ROW] * 2)
    long = table_of(many).take(np.zeros(200_000, np.int64))
    pyarrow.parquet.write_table(long, many, compression="zstd")
    with pytest.raises(GalleryError, match="says that it holds 200000 templates"):
        gallery.import_(many)


def test_small_files_that_unfold_to_gigabytes_are_refused_before_they_do(gallery, tmp_path):
    """A megabyte compressed to nothing, a text that is written once for all rows, a vector of millions of zeros."""
    file = forged(tmp_path / "export.parquet", rows=[row(source="s" * 2**17)] * 2)
    table = table_of(file)
    schema = table.schema
    long = pyarrow.array([[0.0] * 2**20, [0.0] * DIMENSION], schema.field("vector").type)
    for what, content, packed in (
        ("packed as no export's", table, {"compression": "zstd"}),
        ("packed as no export's", table.set_column(table.num_columns - 1, "vector", long), {"compression": "none"}),
        ("far more than it has bytes", table.take(np.arange(1000) % 2), {"compression": "none"}),
    ):
        pyarrow.parquet.write_table(content, file, write_statistics=False, **packed)
        assert file.stat().st_size < 2**18
        with pytest.raises(GalleryError, match=what):
            gallery.import_(file)
    assert gallery.size == 0


def test_a_page_is_not_believed_that_has_more_values_than_the_file_says(gallery, tmp_path):
    """pyarrow reads the first row to its end: 3 KB were a vector of 20 million numbers."""
    file = forged(tmp_path / "export.parquet")
    table, many = table_of(file), 2**20
    long = pyarrow.array([[0.0] * many], table.schema.field("vector").type)
    table = table.set_column(table.num_columns - 1, "vector", long)
    pyarrow.parquet.write_table(table, file, write_statistics=False, compression="none")
    # The footer's number of values (a field behind one of the same kind), doubled and in pieces of seven bits.
    said, shorter = b"\x16\x80\x80\x80\x01", b"\x16" + bytes([2 * DIMENSION | 0x80, 0x80, 0x80, 0])
    content = file.read_bytes()
    assert content.count(said) == 1
    file.write_bytes(content.replace(said, shorter))
    assert pyarrow.parquet.ParquetFile(file).metadata.row_group(0).column(11).num_values == DIMENSION
    with pytest.raises(GalleryError, match="its pages hold other values than it says"):
        gallery.import_(file)


def test_an_add_passes_the_same_door(gallery):
    from dataclasses import replace

    ann = photo("Ann", "a")
    for what, wrong in (
        ("not finite", replace(ann, quality=math.nan)),
        ("not finite", replace(ann, box=(1.0, 2.0, 3.0, math.inf))),
        ("has no extent", replace(ann, box=(1.0, 2.0, 3.0, 0.0))),
        ("precision", replace(ann, precision="float16")),
        ("no SHA-256", replace(ann, source_digest=b"short")),
        ("no text", replace(ann, source="\udcff.jpg")),
    ):
        with pytest.raises(GalleryError, match=what):
            gallery.add([photo("Bob", "b"), wrong])
    assert gallery.size == 0


odd = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    people=st.lists(
        st.fixed_dictionaries(
            {"name": st.just("Ann") | odd, "external_id": st.none() | odd, "removed": st.booleans() | odd},
            optional={"aliases": st.just([]) | st.lists(odd, max_size=2) | odd},
        )
        | odd,
        max_size=2,
    )
    | odd,
    number=st.none() | st.floats(),
    column=st.sampled_from(transfer._NUMBERS),
    owner=st.integers(-(2**31), 2**31 - 1) | st.sampled_from([0, 1]),
    precision=st.none() | st.just("float32") | st.text(max_size=3),
)
def test_any_content_is_refused_in_words_or_makes_a_sound_gallery(
    tmp_path_factory, people, number, column, owner, precision
):
    folder = tmp_path_factory.mktemp("import")
    try:
        file = forged(folder / "e.parquet", people, [row(**{column: number, "person": owner, "precision": precision})])
    except (UnicodeEncodeError, RecursionError):
        return  # what no JSON file can hold
    with Gallery.create(folder / "gallery", MODEL) as gallery:
        with suppress(GalleryError):
            gallery.import_(file)
        assert gallery.check(deep=True) == []
