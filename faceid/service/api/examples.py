"""What bodies look like, for the OpenAPI document: one example of each model, by the model's name.

Kept beside the models and not in them, so that those stay readable; a test validates each against its model.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict

_REQUEST_ID = "6f1c2a9be4d84c0f9a57d3b1e8c60f42"
_MODEL_DIGEST = "c2a0b7f4e19d3c58a6b1d07e92f4c835"
_PHOTO_DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_AT = "2026-11-26T09:30:00.000Z"

_ADA = {"id": 1, "name": "Ada Lovelace", "external_id": None, "label": "Ada Lovelace"}
_PERSON = {
    "schema_version": 1,
    "id": 1,
    "name": "Ada Lovelace",
    "external_id": None,
    "templates": 2,
    "removed": False,
    "created_at": _AT,
}
_THRESHOLD_SOURCE = {
    "kind": "gallery",
    "target": "fpir",
    "value": 0.01,
    "measured": True,
    "trials": 2911,
    "ci95": [0.007, 0.014],
    "date": "2026-11-26",
    "data": "2,911 people of the model's cohort",
    "n": 299,
    "way": "cohort",
    "on": "similarity",
}
_ENROLLED = {
    "schema_version": 1,
    "source": "ada.jpg",
    "name": "Ada Lovelace",
    "external_id": None,
    "status": "enrolled",
    "reason_codes": [],
    "template_id": 7,
}
_REJECTED = {
    **_ENROLLED,
    "source": "crowd.jpg",
    "status": "rejected",
    "reason_codes": ["several_faces"],
    "template_id": None,
}
_RENAMED = {"schema_version": 1, "id": 12, "at": _AT, "action": "rename", "identity_ids": [1]}
_JOB = {
    "id": "0f8e7d6c5b4a39281706f5e4d3c2b1a0",
    "gallery": "default",
    "kind": "enroll",
    "state": "running",
    "done": 32,
    "total": 120,
    "counts": {"enrolled": 31, "rejected": 1},
    "message": None,
    "starts": 1,
    "created_at": _AT,
    "started_at": _AT,
    "ended_at": None,
}
_GALLERY = {
    "name": "default",
    "role": "curate",
    "people": 299,
    "revision": 41,
    "model": "sphereface",
    "model_digest": _MODEL_DIGEST,
    "fusion": "mean",
    "decided_on": "similarity",
}
_FACE = {
    "box": [62.1, 58.4, 71.9, 90.2],
    "landmarks": [[81.0, 96.2], [115.3, 95.8], [98.5, 115.1], [84.2, 131.0], [112.9, 130.6]],
}

EXAMPLES: dict[str, dict[str, Any]] = {
    "Health": {"status": "ok", "ready": True, "request_id": _REQUEST_ID},
    "GalleryFacts": _GALLERY,
    "GalleryList": {"request_id": _REQUEST_ID, "galleries": [_GALLERY]},
    "ModelFacts": {
        "request_id": _REQUEST_ID,
        "name": "sphereface",
        "digest": _MODEL_DIGEST,
        "dimension": 256,
        "backend": "onnxruntime",
        "precision": "float32",
        "detector_digest": "5a3d1e0c7b9f4628d1c0e6f7a2b84935",
        "has_cohort": True,
        "licence": "MIT",
    },
    "GalleryHealth": {
        "request_id": _REQUEST_ID,
        "sound": False,
        "problems": [{"kind": "cache", "text": "the cache is of an older revision", "rebuild_mends": True}],
        "stats": {"schema_version": 1, "identities": 299, "templates": 598},
    },
    "Identified": {
        "request_id": _REQUEST_ID,
        "batched": False,
        "answers": [
            {
                "schema_version": 1,
                "source": "visitor.jpg",
                "face_index": 0,
                **_FACE,
                "detection_score": 0.9998,
                "quality": 0.83,
                "decision": "identified",
                "identity": _ADA,
                "similarity": 0.7312,
                "threshold": 0.4471,
                "threshold_source": _THRESHOLD_SOURCE,
                "candidates": [{**_ADA, "similarity": 0.7312, "rank": 1}],
                "reason_codes": [],
                "model": "sphereface",
                "gallery_revision": 41,
                "exact_decision": True,
                "exact_candidates": True,
                "probability": 0.998,
                "prior": 0.5,
                "photos": 1,
                "context": None,
                "adjusted": None,
            }
        ],
    },
    "Verified": {
        "request_id": _REQUEST_ID,
        "answer": {
            "schema_version": 1,
            "similarity": 0.6904,
            "same": True,
            "decision": None,
            "morph": None,
            "threshold": 0.3015,
            "threshold_source": {
                **_THRESHOLD_SOURCE,
                "kind": "model",
                "target": "far",
                "value": 0.001,
                "n": None,
                "way": "table",
                "on": "similarity",
            },
            "reason_codes": [],
        },
    },
    "Embedded": {
        "request_id": _REQUEST_ID,
        "model": "sphereface",
        "model_digest": _MODEL_DIGEST,
        "faces": [
            {
                "source": "ada.jpg",
                **_FACE,
                "detection_score": 0.9998,
                "quality": 0.83,
                "vector": [0.0713, -0.1182, 0.0049],
            }
        ],
        "without": [{"source": "wall.jpg", "decision": "no_face", "reason_code": "no_face"}],
    },
    "PeoplePage": {"request_id": _REQUEST_ID, "people": [_PERSON], "next_cursor": "WyJkZWZhdWx0IiwgMV0"},
    "Person": {
        "request_id": _REQUEST_ID,
        "person": _PERSON,
        "templates": [
            {
                "schema_version": 1,
                "id": 7,
                "identity_id": 1,
                "name": "Ada Lovelace",
                "external_id": None,
                "source": "ada.jpg",
                "source_digest": _PHOTO_DIGEST,
                "box": _FACE["box"],
                "detection_score": 0.9998,
                "quality": 0.83,
                "precision": "float32",
                "created_at": _AT,
                "removed": False,
                "removed_singly": False,
            }
        ],
    },
    "Enrolled": {"request_id": _REQUEST_ID, "person": _PERSON, "photos": [_ENROLLED, _REJECTED]},
    "NewName": {"name": "Ada King"},
    "Into": {"into": 2},
    "Templates": {"template_ids": [7, 8]},
    "Confirmation": {"confirm": "Ada Lovelace"},
    "Entry": {"entry": 12},
    "Review": {
        "request_id": _REQUEST_ID,
        "findings": [
            {
                "finding": "duplicate:1-17",
                "kind": "duplicate",
                "probability": 0.993,
                "reason": "Ada Lovelace (id 1) and A. Lovelace (id 17) look like one person: their means score 0.742",
                "people": [
                    {"id": 1, "name": "Ada Lovelace", "external_id": None},
                    {"id": 17, "name": "A. Lovelace", "external_id": None},
                ],
                "templates": [{"id": 7, "source": "ada.jpg", "box": _FACE["box"]}],
                "evidence": {"similarity": 0.742},
                "command": "faceid gallery merge 17 1",
            }
        ],
        "refused": {"stranger": "it takes people with three photos each"},
    },
    "FindingAnswer": {"finding": "duplicate:1-17", "answer": "accept"},
    "Answered": {"request_id": _REQUEST_ID, "finding": "duplicate:1-17", "answer": "accept"},
    "Changed": {"request_id": _REQUEST_ID, "person": {**_PERSON, "name": "Ada King"}},
    "Erased": {"request_id": _REQUEST_ID, "state": "done"},
    "UndoableList": {"request_id": _REQUEST_ID, "entries": [_RENAMED]},
    "Undone": {"request_id": _REQUEST_ID, "entry": _RENAMED},
    "OneJob": {"request_id": _REQUEST_ID, "job": _JOB},
    "JobList": {"request_id": _REQUEST_ID, "jobs": [_JOB]},
    "JobRecords": {"request_id": _REQUEST_ID, "records": [_ENROLLED, _REJECTED]},
    "ThresholdTable": {
        "request_id": _REQUEST_ID,
        "words": "accepted from 0.447 on, for 1 % of strangers taken for somebody",
        "rows": [
            {
                "target": "fpir",
                "value": 0.01,
                "gallery_size": 299,
                "threshold": 0.4471,
                "kind": "gallery",
                "basis": "measured",
                "trials": 2911,
                "ci95": [0.007, 0.014],
                "data": "2,911 people of the model's cohort",
                "date": "2026-11-26",
                "reason": None,
            }
        ],
    },
    "AuditPage": {
        "request_id": _REQUEST_ID,
        "entries": [
            {
                "schema_version": 1,
                "number": 118,
                "at": _AT,
                "action": "identify",
                "outcome": "identified:1",
                "request_id": _REQUEST_ID,
                "key_id": 3,
                "address": "192.0.2.7",
                "gallery": "default",
                "about": [1],
                "threshold": 0.4471,
                "threshold_way": "cohort",
                "faces": 1,
                "job": None,
                "hash": _PHOTO_DIGEST,
            }
        ],
        "last": 118,
    },
}


def _show(schema: dict[str, Any], model: type[BaseModel]) -> None:
    schema["examples"] = [EXAMPLES[model.__name__]]


class Message(BaseModel):
    """The body of a request or an answer; one without an example cannot be described."""

    model_config = ConfigDict(json_schema_extra=_show)
