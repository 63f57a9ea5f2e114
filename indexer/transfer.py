"""Export and import: a gallery as one checksummed file, moved between machines, added without doubling anything.

The file is safetensors: `vectors` float32 [n, D], `digests` uint8 [n, 32] (SHA-256 of the photos) and `people`, a JSON
text in UTF-8 as uint8 [bytes]. Its metadata holds `format`, the model's name, digest and dimension, and `sha256`: the
SHA-256 over people, digests and vectors, in this order. The JSON is
{"identities": [{"name", "external_id", "removed", "aliases": [{"name", "external_id"}],
"templates": [{"source", "box", "detection_score", "quality", "precision", "removed"}]}]}; the templates of all
identities, one after the other, are the rows of the two arrays.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, insert, select, update

from indexer.enrolment import add_templates
from indexer.errors import GalleryError, ModelMismatch
from indexer.index_cache import write_durably
from indexer.records import Added, FloatMatrix, ModelBinding, NewTemplate, clean_name
from indexer.schema import embedding, identity, template
from indexer.store import chunks, gallery_row, now, template_rows, to_vector

_FORMAT = "faceid-gallery-1"


@dataclass(frozen=True)
class Export:
    """A file's content after its checksum was found right."""

    model: ModelBinding
    identities: list[dict[str, Any]]
    digests: NDArray[np.uint8]
    vectors: FloatMatrix


def write_export(connection: Connection, path: Path) -> int:
    """Write every identity with its templates to `path`, replacing it in one step; the number of templates."""
    bound = gallery_row(connection)
    rows = template_rows(connection, True, 0, -1)
    rows.sort(key=lambda row: (row.identity_id, row.id))
    hidden = set(connection.execute(select(template.c.id).where(template.c.removed_at.is_not(None))).scalars())
    people = {row.id: row for row in connection.execute(select(identity).order_by(identity.c.id))}
    records: dict[int, dict[str, Any]] = {
        row.id: {
            "name": row.name,
            "external_id": row.external_id,
            "removed": row.removed_at is not None,
            "aliases": [],
            "templates": [],
        }
        for row in people.values()
        if row.merged_into is None
    }
    for row in people.values():
        if row.merged_into is not None:
            records[row.merged_into]["aliases"].append({"name": row.name, "external_id": row.external_id})
    for one in rows:
        records[one.identity_id]["templates"].append(
            {
                "source": one.source,
                "box": one.box,
                "detection_score": one.detection_score,
                "quality": one.quality,
                "precision": one.precision,
                "removed": one.id in hidden,
            }
        )
    blobs = {
        row.template_id: to_vector(row.vector, bound.model.dimension, row.template_id)
        for row in connection.execute(
            select(embedding.c.template_id, embedding.c.vector).where(embedding.c.model_id == bound.model_id)
        )
    }
    vectors = np.array([blobs[one.id] for one in rows], np.float32).reshape(-1, bound.model.dimension)
    digests = np.frombuffer(b"".join(one.source_digest for one in rows), np.uint8).reshape(-1, 32)
    text = json.dumps({"identities": list(records.values())}, ensure_ascii=False).encode()
    tensors: dict[str, NDArray[Any]] = {"people": np.frombuffer(text, np.uint8), "digests": digests, "vectors": vectors}
    metadata = {
        "format": _FORMAT,
        "model_name": bound.model.name,
        "model_digest": bound.model.digest,
        "dimension": str(bound.model.dimension),
        "sha256": _checksum(tensors),
    }
    write_durably(path, tensors, metadata)
    return len(rows)


def read_export(path: Path) -> Export:
    """Read and verify an export; raises GalleryError for any file that is not exactly as it was written."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                raise GalleryError(f"{path} is not an export of a gallery (format {metadata.get('format')})")
            tensors = {name: file.get_tensor(name) for name in ("people", "digests", "vectors")}
        if _checksum(tensors) != metadata["sha256"]:
            raise GalleryError(f"{path} is damaged: its SHA-256 does not fit; export it again")
        identities = json.loads(tensors["people"].tobytes())["identities"]
        model = ModelBinding(metadata["model_name"], metadata["model_digest"], int(metadata["dimension"]))
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise GalleryError(f"{path} is no readable export of a gallery: {error}") from error
    count = sum(len(one["templates"]) for one in identities)
    shapes_fit = tensors["digests"].shape == (count, 32) and tensors["vectors"].shape == (
        count,
        model.dimension,
    )
    if not shapes_fit or tensors["digests"].dtype != np.uint8:
        raise GalleryError(f"{path} is damaged: its arrays do not fit its list of people; export it again")
    return Export(model, identities, tensors["digests"], tensors["vectors"])


def add_export(connection: Connection, export: Export, path: Path) -> list[Added]:
    """Add an export's people and templates; those that are here already stay as they are, removed ones removed.

    One Added for each template of the file, in its order.
    """
    bound = gallery_row(connection).model
    if export.model.digest != bound.digest:
        raise ModelMismatch(
            f"{path} was embedded by {export.model.name} (SHA-256 {export.model.digest}),"
            f" this gallery by {bound.name} ({bound.digest}); export it from a gallery of the same model"
        )
    before = set(connection.execute(select(identity.c.id)).scalars())
    known = set(connection.execute(select(template.c.id)).scalars())
    new, hidden = _templates(export)
    # The active ones first: a photo that was taken from one person and given to another goes to the other.
    order = sorted(range(len(new)), key=lambda place: hidden[place])
    added: list[Added] = [Added("rejected", None, None)] * len(new)
    for place, one in zip(order, add_templates(connection, [new[place] for place in order], False), strict=True):
        added[place] = one
    row = 0
    fresh: list[int] = []
    for record in export.identities:
        its = added[row : row + len(record["templates"])]
        fresh += [
            one.template_id
            for one, raw in zip(its, record["templates"], strict=True)
            if raw["removed"] and one.template_id is not None and one.template_id not in known
        ]
        row += len(its)
        owner = next((one.identity_id for one in its if one.identity_id is not None), None)
        if owner is None:
            continue
        if record["removed"] and owner not in before:
            connection.execute(update(identity).where(identity.c.id == owner).values(removed_at=now()))
        _add_aliases(connection, owner, record["aliases"])
    for piece in chunks(fresh):
        connection.execute(update(template).where(template.c.id.in_(piece)).values(removed_at=now()))
    return added


def _templates(export: Export) -> tuple[list[NewTemplate], list[bool]]:
    new: list[NewTemplate] = []
    hidden: list[bool] = []
    for person in export.identities:
        for one in person["templates"]:
            row = len(new)
            new.append(
                NewTemplate(
                    name=person["name"],
                    external_id=person["external_id"],
                    vector=export.vectors[row],
                    source=one["source"],
                    source_digest=export.digests[row].tobytes(),
                    box=tuple(one["box"]) if one["box"] else None,
                    detection_score=one["detection_score"],
                    quality=one["quality"],
                    precision=one["precision"],
                )
            )
            hidden.append(one["removed"] or person["removed"])
    return new, hidden


def _add_aliases(connection: Connection, owner: int, aliases: list[dict[str, Any]]) -> None:
    for alias in aliases:
        name, external_id = clean_name(alias["name"]), alias["external_id"]
        taken = select(identity.c.id).where(
            identity.c.name == name if external_id is None else identity.c.external_id == external_id,
            identity.c.external_id.is_not_distinct_from(external_id),
        )
        if connection.execute(taken).first() is None:
            row = {"name": name, "external_id": external_id, "created_at": now(), "removed_at": now()}
            connection.execute(insert(identity).values(**row, merged_into=owner))


def _checksum(tensors: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    for name in ("people", "digests", "vectors"):
        digest.update(np.ascontiguousarray(tensors[name]).data)
    return digest.hexdigest()
