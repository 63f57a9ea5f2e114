"""Moving people between galleries: a checksummed Parquet file, or straight from another gallery; nobody is doubled.

The file has one row for each template: `person` int32 (a place in the list of people), `source` string,
`source_digest` binary of 32 bytes (SHA-256 of the photo), `box_x`, `box_y`, `box_width`, `box_height`,
`detection_score`, `quality` double (null where unknown), `precision` string, `removed` bool, `crop` binary (a small
JPEG of the face, null where none is kept), `vector` list of float32.
Its key-value metadata holds under `faceid` a JSON text: {"format": "faceid-gallery-3", "model": {"name", "digest",
"dimension"}, "fusion", "decided_on", "people": [{"name", "external_id", "removed", "aliases": [{"name",
"external_id"}]}], "sha256"}; how the gallery decides is not there in files of before that was noted.
The SHA-256 (hex) is taken over the same JSON without "sha256" (keys sorted, no spaces, UTF-8), then for each block of
16,384 rows over each row's columns but `vector` as a JSON array in this order (the digest in hex, the crop's SHA-256 in
hex) and a line feed, then over the block's vectors as little-endian float32. Format 2, without `crop`, is read, too.
Format 4 is that of turned vectors (`indexer.crypto.cancelable`): "turn": {"key_id", "salt"} says by which key, and the
salt in hex.
"""

import hashlib
import itertools
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from sqlalchemy import Connection, select

from indexer.crypto.keys import KeyProvider
from indexer.crypto.sealed_export import is_sealed, sealing, unsealing
from indexer.durable_file import PRIVATE, writing
from indexer.errors import GalleryError, ModelMismatch
from indexer.records import Added, FloatMatrix, MergedPerson, ModelBinding, TemplateRow, Turn, clean_name
from indexer.store import parquet_footer
from indexer.store.adding import add_templates, hide_templates, hide_templates_of_others
from indexer.store.content import Content, Template, check_content, new_template
from indexer.store.queries import (
    GalleryRow,
    bump_revision,
    chunks,
    every_template_row,
    gallery_row,
    next_ids,
    now,
    vectors_of,
)
from indexer.store.schema import identity, template
from indexer.store.sealed_cells import issue_keys, sought
from indexer.store.sealed_rows import change_rows, every_row, insert_rows, moving, rows_with
from indexer.store.tombstones import buried

_FORMAT = "faceid-gallery-3"
_TURNED = "faceid-gallery-4"
_WITHOUT_CROPS = "faceid-gallery-2"
_BLOCK = 16_384  # templates in a row group, and under one step of the checksum
_UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError)
_EXPANSION = 64  # exports are not compressed, but values that repeat are written once
# Rows that are read at a time: a text or a picture that is written once may be in each of them.
_FEW = _EXPANSION
_NUMBERS = ("box_x", "box_y", "box_width", "box_height", "detection_score", "quality")
_COLUMNS = ("person", "source", "source_digest", *_NUMBERS, "precision", "removed")


def read_content(connection: Connection) -> Content:
    """Read a whole gallery, removed people included."""
    people, rows = _people_and_templates(connection)
    templates = [one for block in chunks(rows, _BLOCK) for one in _with_crops(connection, block)]
    vectors = np.concatenate(
        [
            np.empty((0, gallery_row(connection).model.dimension), np.float32),
            *(_vectors(connection, block) for block in chunks(rows, _BLOCK)),
        ]
    )
    row = gallery_row(connection)
    return Content(row.model, people, templates, vectors, row.turn)


def write_export(connection: Connection, path: Path, key: KeyProvider | None) -> int:
    """Write every identity with its templates to `path`, replacing it in one step; the number of templates.

    With a key the file is encrypted (`indexer.crypto.sealed_export`).
    """
    pyarrow, parquet = _import_pyarrow()
    row = gallery_row(connection)
    people, rows = _people_and_templates(connection)
    head = _head(row, people)
    digest = hashlib.sha256(_canonical(head))
    schema = _schema(pyarrow, row.model.dimension)
    with (
        writing(path, PRIVATE) as temporary,
        pyarrow.OSFile(os.fsencode(temporary), "wb") if key is None else sealing(temporary, key) as target,
        parquet.ParquetWriter(
            target, schema, compression="none", write_statistics=False, write_page_checksum=True
        ) as writer,
    ):
        for block in chunks(rows, _BLOCK):
            templates, vectors = _with_crops(connection, block), _vectors(connection, block)
            _update(digest, templates, vectors, head["format"])
            writer.write_table(_to_table(pyarrow, schema, templates, vectors), row_group_size=_BLOCK)
        writer.add_key_value_metadata(
            {"faceid": json.dumps({**head, "sha256": digest.hexdigest()}, ensure_ascii=False)}
        )
    return len(rows)


def read_export(path: Path, key: KeyProvider | None) -> Content:
    """Read and verify an export, an encrypted one with its key.

    Raises GalleryError for a file whose content is not what was written, KeyMissing, WrongKey.
    """
    pyarrow, parquet = _import_pyarrow()
    if not path.is_file():  # a pipe would be waited for
        raise GalleryError(f"{path} is no file; give the export of a gallery")
    try:
        with _readable(pyarrow, path, key) as source, parquet.ParquetFile(source) as file:
            text = (file.metadata.metadata or {}).get(b"faceid")
            if text is None:
                raise GalleryError(f"{path} is not an export of a gallery")
            head = json.loads(text)
            if head.get("format") not in (_FORMAT, _TURNED, _WITHOUT_CROPS):
                raise GalleryError(f"{path} is an export of another version (format {head.get('format')})")
            expected = head.pop("sha256")
            model = ModelBinding(**head["model"])
            turn = Turn(head["turn"]["key_id"], bytes.fromhex(head["turn"]["salt"])) if "turn" in head else None
            if not file.schema_arrow.equals(_schema(pyarrow, model.dimension, head["format"])):
                raise GalleryError(f"{path} is damaged: its columns are not an export's; export it again")
            _refuse_a_bomb(path, file.metadata.num_rows, model.dimension)
            _refuse_what_unfolds(source, model.dimension)
        with (
            _readable(pyarrow, path, key) as source,
            parquet.ParquetFile(source, page_checksum_verification=True) as file,
        ):
            templates, vectors = _from_batches(
                file.iter_batches(_FEW), model.dimension, _EXPANSION * path.stat().st_size
            )
        found = _digest(head, templates, vectors)
    except (*_UNREADABLE, pyarrow.ArrowException) as error:
        raise GalleryError(f"{path} is no readable export of a gallery: {str(error)[:200]}") from error
    if found != expected:
        raise GalleryError(f"{path} is damaged: its SHA-256 does not fit; export it again")
    decides = head.get("fusion"), head.get("decided_on")
    content = Content(model, head.get("people", []), templates, vectors, turn, *decides)
    check_content(content, str(path))
    return content


def _readable(pyarrow: ModuleType, path: Path, key: KeyProvider | None) -> AbstractContextManager[Any]:
    """Return what Parquet is read from: the file itself, or its content where it is encrypted."""
    return unsealing(path, key) if is_sealed(path) else pyarrow.OSFile(os.fsencode(path))


def add_content(connection: Connection, content: Content, origin: str, revive_erased: bool = False) -> list[Added]:
    """Add another gallery's people and templates; those that are here already stay as they are, removed ones removed.

    What no search found there is found by none here: hidden templates come as hidden ones, those of a removed person
    with that person removed, or hidden where the person is enrolled here. Photos of people who were erased here are
    rejected unless `revive_erased`. One Added for each template, in order.
    """
    check_content(content, origin)
    bound = gallery_row(connection).model
    if content.model.digest != bound.digest:
        raise ModelMismatch(
            f"{origin} was embedded by {content.model.name} (SHA-256 {content.model.digest}),"
            f" this gallery by {bound.name} ({bound.digest}); take one of the same model"
        )
    before = set(connection.execute(select(identity.c.id)).scalars())
    known = set(connection.execute(select(template.c.id)).scalars())
    people, templates = content.people, content.templates
    hidden = [one.removed or people[one.person]["removed"] for one in templates]
    # The active ones first: a photo that was taken from one person and given to another goes to the other.
    gone = set() if revive_erased else buried(connection, [one.source_digest for one in templates])
    order = sorted(range(len(templates)), key=lambda place: hidden[place])
    order = [place for place in order if templates[place].source_digest not in gone]
    new = [new_template(content, place) for place in order]
    added: list[Added] = [Added("rejected", None, None, ("erased",))] * len(templates)
    enrolled = add_templates(connection, new, False, [hidden[place] for place in order])
    for place, one in zip(order, enrolled, strict=True):
        added[place] = one
    # Who was removed there and is enrolled here gets nothing to be found by that nobody could find there.
    fresh = [
        one.template_id
        for one, its in zip(added, templates, strict=True)
        if one.template_id is not None
        and one.template_id not in known
        and (its.removed or (people[its.person]["removed"] and one.identity_id in before))
    ]
    changed = bool(fresh)
    for record, its_added in zip(people, _by_person(content, added), strict=True):
        owner = next((one.identity_id for one in its_added if one.identity_id is not None), None)
        if owner is None:
            continue
        if record["removed"] and owner not in before:
            hide_templates_of_others(connection, [owner])
            with moving(connection, template.c.identity_id == owner):
                change_rows(connection, "identity", identity.c.id == owner, removed_at=now())
            changed = True
        changed |= _add_aliases(connection, owner, record["aliases"])
    hide_templates(connection, fresh)
    if changed:
        bump_revision(connection)
    return added


def outcomes(content: Content, added: Sequence[Added]) -> list[MergedPerson]:
    """Sum up what became of each person of `content`."""
    found = []
    for record, its in zip(content.people, _by_person(content, added), strict=True):
        counts = Counter(one.status for one in its)
        found.append(
            MergedPerson(
                name=record["name"],
                external_id=record["external_id"],
                identity_id=next((one.identity_id for one in its if one.identity_id is not None), None),
                enrolled=counts["enrolled"],
                already_enrolled=counts["already_enrolled"],
                conflicts=dict(Counter(code for one in its if one.status == "rejected" for code in one.reason_codes)),
            )
        )
    return found


def _people_and_templates(connection: Connection) -> tuple[list[dict[str, Any]], list[tuple[int, Template]]]:
    """Return the people's records, and (template id, template) in order of person and id."""
    records: list[dict[str, Any]] = []
    places: dict[int, int] = {}
    every = every_row(connection, "identity")
    for row in every:
        if row.merged_into is None:
            places[row.id] = len(records)
            removed = row.removed_at is not None
            records.append({"name": row.name, "external_id": row.external_id, "removed": removed, "aliases": []})
    for row in every:
        if row.merged_into is not None:
            alias = {"name": row.name, "external_id": row.external_id}
            records[places[row.merged_into]]["aliases"].append(alias)
    hidden = set(connection.execute(select(template.c.id).where(template.c.removed_at.is_not(None))).scalars())
    rows = [
        (one.id, _template(one, places[one.identity_id], one.id in hidden))
        for one in every_template_row(connection)
        if one.identity_id in places  # else a copy that only the undoing of a merge needs
    ]
    rows.sort(key=lambda pair: (pair[1].person, pair[0]))
    return records, rows


def _template(row: TemplateRow, person: int, removed: bool) -> Template:
    numbers = (*(row.box or (None,) * 4), row.detection_score, row.quality)
    return Template(person, row.source, row.source_digest, numbers, row.precision, removed)


def _with_crops(connection: Connection, rows: Sequence[tuple[int, Template]]) -> list[Template]:
    pictures = {
        row.template_id: row.jpeg
        for piece in chunks([template_id for template_id, _ in rows])
        for row in rows_with(connection, "crop", "template_id", piece)
    }
    return [replace(one, crop=pictures[number]) if number in pictures else one for number, one in rows]


def _vectors(connection: Connection, rows: Sequence[tuple[int, Template]]) -> FloatMatrix:
    ids = np.array([one[0] for one in rows], np.int64)
    order = np.argsort(ids)
    vectors = vectors_of(connection, ids[order])
    return vectors[np.argsort(order)]


def _by_person(content: Content, added: Sequence[Added]) -> Iterator[list[Added]]:
    """Return what became of each person's templates; they come in order of person."""
    groups = itertools.groupby(zip(content.templates, added, strict=True), key=lambda pair: pair[0].person)
    by_place = {person: [one for _, one in pairs] for person, pairs in groups}
    yield from (by_place.get(place, []) for place in range(len(content.people)))


def _add_aliases(connection: Connection, owner: int, aliases: list[dict[str, Any]]) -> bool:
    """Let former keys lead to a person; whether there was a new one among them."""
    added = False
    for alias in aliases:
        name, external_id = clean_name(alias["name"]), alias["external_id"]
        known = None if external_id is None else sought(connection, external_id)
        taken = select(identity.c.id).where(
            identity.c.name == sought(connection, name) if external_id is None else identity.c.external_id == known,
            identity.c.external_id.is_not_distinct_from(known),
        )
        if connection.execute(taken).first() is None:
            (new_id,) = next_ids(connection, "identity", 1)
            issue_keys(connection, [new_id])
            at = now()
            row = {"id": new_id, "name": name, "external_id": external_id, "created_at": at}
            insert_rows(connection, "identity", [{**row, "removed_at": at, "merged_into": owner, "sealed": None}])
            added = True
    return added


def _head(row: GalleryRow, people: list[dict[str, Any]]) -> dict[str, Any]:
    bound = {"name": row.model.name, "digest": row.model.digest, "dimension": row.model.dimension}
    head = {
        "format": _FORMAT,
        "model": bound,
        "fusion": row.fusion,
        "decided_on": row.decided_on,
        "people": people,
    }
    if row.turn is None:
        return head
    return {**head, "format": _TURNED, "turn": {"key_id": row.turn.key_id, "salt": row.turn.salt.hex()}}


def _canonical(head: dict[str, Any]) -> bytes:
    return json.dumps(head, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _digest(head: dict[str, Any], templates: Sequence[Template], vectors: FloatMatrix) -> str:
    digest = hashlib.sha256(_canonical(head))
    for start in range(0, len(templates), _BLOCK):
        _update(digest, templates[start : start + _BLOCK], vectors[start : start + _BLOCK], head["format"])
    return digest.hexdigest()


def _update(digest: "hashlib._Hash", templates: Sequence[Template], vectors: FloatMatrix, version: str) -> None:
    for one in templates:
        row = [one.person, one.source, one.source_digest.hex(), *one.numbers, one.precision, one.removed]
        if version != _WITHOUT_CROPS:
            row.append(None if one.crop is None else hashlib.sha256(one.crop).hexdigest())
        digest.update(json.dumps(row, separators=(",", ":"), ensure_ascii=False).encode() + b"\n")
    digest.update(np.ascontiguousarray(vectors, "<f4").data)


def _refuse_a_bomb(path: Path, rows: int, dimension: int) -> None:
    """Raise GalleryError for a small file that says it holds more vectors than memory does."""
    if rows * dimension * 4 > _EXPANSION * path.stat().st_size:
        raise GalleryError(f"{path} is damaged: it says that it holds {rows} templates; export it again")


def _refuse_what_unfolds(file: Any, dimension: int) -> None:
    """Raise ValueError for columns that are compressed, as no export's are, or vectors that are of any length."""
    for rows, columns in parquet_footer.row_groups(file):
        if any(codec != parquet_footer.PLAIN for codec, _ in columns) or columns[-1][1] != rows * dimension:
            raise ValueError("its columns are packed as no export's are")


def _schema(pyarrow: ModuleType, dimension: int, version: str = _FORMAT) -> Any:
    types = {
        "person": pyarrow.int32(),
        "source_digest": pyarrow.binary(32),
        "removed": pyarrow.bool_(),
        **dict.fromkeys(_NUMBERS, pyarrow.float64()),
    }
    columns = [(name, types.get(name, pyarrow.string())) for name in _COLUMNS]
    columns += [("crop", pyarrow.binary())] if version != _WITHOUT_CROPS else []
    return pyarrow.schema([*columns, ("vector", pyarrow.list_(pyarrow.float32()))])


def _to_table(pyarrow: ModuleType, schema: Any, templates: Sequence[Template], vectors: FloatMatrix) -> Any:
    columns: list[Any] = [[one.person for one in templates], [one.source for one in templates]]
    columns.append([one.source_digest for one in templates])
    columns += [[one.numbers[place] for one in templates] for place in range(len(_NUMBERS))]
    columns += [[one.precision for one in templates], [one.removed for one in templates]]
    columns.append([one.crop for one in templates])
    arrays = [pyarrow.array(column, kind) for column, kind in zip(columns, schema.types, strict=False)]
    ends = np.arange(len(vectors) + 1, dtype=np.int32) * vectors.shape[1]
    lists = pyarrow.ListArray.from_arrays(ends, pyarrow.array(vectors.reshape(-1)))
    return pyarrow.Table.from_arrays([*arrays, lists], schema=schema)


def _from_batches(batches: Iterator[Any], dimension: int, most_bytes: int) -> tuple[list[Template], FloatMatrix]:
    templates: list[Template] = []
    vectors = [np.empty((0, dimension), np.float32)]
    pictures: dict[bytes | None, bytes | None] = {}  # rows with the same one share it
    for batch in batches:
        most_bytes -= batch.nbytes
        if most_bytes < 0:
            raise ValueError("it says that it holds far more than it has bytes")
        columns = {name: batch.column(name).to_pylist() for name in batch.schema.names if name != "vector"}
        crops = columns.get("crop", [None] * batch.num_rows)
        templates += [
            Template(person, source, digest, numbers, precision, removed, pictures.setdefault(crop, crop))
            for person, source, digest, precision, removed, numbers, crop in zip(
                *(columns[name] for name in ("person", "source", "source_digest", "precision", "removed")),
                zip(*(columns[name] for name in _NUMBERS), strict=True),
                crops,
                strict=True,
            )
        ]
        lists = batch.column("vector")
        if not (lists.value_lengths().to_numpy(zero_copy_only=False) == dimension).all():
            raise ValueError(f"a vector has not {dimension} numbers")
        vectors.append(lists.flatten().to_numpy(zero_copy_only=False).reshape(batch.num_rows, dimension))
    return templates, np.concatenate(vectors).astype(np.float32, copy=False)


def _import_pyarrow() -> tuple[ModuleType, ModuleType]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise GalleryError(
            "exports are Parquet files, and pyarrow is not installed: pip install 'faceid-engine[export]'"
            " (`faceid gallery backup` and `merge-from` do without)"
        ) from error
    return pyarrow, pyarrow.parquet
