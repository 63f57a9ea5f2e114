"""What a reason code means, in words for people; docs/records.md lists them all."""

_EXPLANATIONS = {
    "no_face": "no face was found",
    "several_faces": "several faces; say which counts with --faces largest or centre",
    "face_too_small": "the face is too small",
    "low_detection_score": "the detector is not sure that this is a face",
    "blurred": "the face is blurred",
    "extreme_pose": "the face is turned too far away",
    "odd_landmarks": "eyes, nose and mouth are not where a face has them, as in a photo that is on its head",
    "no_embedding": "the network gives a face of it no vector",
    "invalid_name": "not a usable name: 1 to 255 bytes of UTF-8 without control characters",
    "name_normalised": "blanks or invisible characters were taken out of the name",
    "known_by_another_name": "the gallery knows this person, by external id or former name, under another name",
    "remembered": "so found at an earlier run; --again looks anew",
    "removed": "this person or photo was removed; `faceid gallery restore` or `enroll --restore` brings it back",
    "restored": "it was removed, and is back",
    "enrolled_as_someone_else": "this very photo is enrolled under another identity",
    "near_two_people": "near two people of the gallery at similar scores, as a morph of both would be; look at it",
    "erased": "of somebody who was erased here; --revive-erased brings the person back",
    "linked_folder": "a link to a folder; links to folders are not followed",
    "not_in_a_persons_folder": "not in a person's folder",
    "incomplete_row": "the manifest's row lacks the path or the name",
    "too_many_cells": "the manifest's row has more cells than there are columns; put quotes around a comma",
    "unreadable": "cannot be read",
    "copy": "the very photo that another file holds, too; it counts once",
    "crowd": "as many faces as one photo may have, or more; the surest were taken",
    "truncated": "the end of the file is missing, but not of the picture",
}


def explanation(reason_code: str) -> str:
    """Return the words for a code; a code without any stands for itself."""
    return _EXPLANATIONS.get(reason_code, reason_code)
