"""Videos as folders of frames become one feature each, by tracks: whose face it is, and its best frames.

For data sets such as YouTube Faces: NAME/VIDEO/FRAME.jpg, with the published boxes of the person in
NAME.labeled_faces.txt beside the frames' folders where they are there.
"""

import csv
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PureWindowsPath

import numpy as np

from faceid.engine import FaceEngine
from faceid.feature_set import FeatureError, FeatureSet, feature_set
from faceid.video.frames import Frame, VideoError
from faceid.video.looking import Looker
from faceid.video.reader import QUEUE, FrameReader, Sampling
from faceid.video.sources import FrameFolder, frame_number
from faceid.video.track_identity import TrackFace, TrackIdentity, TrackPolicy
from faceid.video.tracker import FaceTracker, SeenFace
from faceid.video.watcher import link_similarities
from faceid.vision.detection import Box
from faceid.vision.quality import measure_quality
from indexer.records import FloatVector
from indexer.text import printable

LABELS = ".labeled_faces.txt"
"""Lines of `NAME\\\\VIDEO\\\\FRAME.jpg,[ignore],x,y,width,height,[ignore],[ignore]`, x and y of the box's middle."""

_RATE = 25.0  # of YouTube Faces' frames, which are consecutive

Boxes = dict[int, Box]


def video_features(
    root: Path, engine: FaceEngine, watch: Callable[[Iterable[Path]], Iterable[Path]] = iter
) -> FeatureSet:
    """Return one unit feature a video: the template of its person's track; a video without a good face has none.

    The person is the one whose faces lie in the published boxes, else the one who is seen in most frames. Paths end in
    NAME/VIDEO/track. `watch` is what the videos pass through. Raises FeatureError where there is no video.
    """
    split, relink = link_similarities(engine, None)
    rows: list[FloatVector] = []
    paths: list[str] = []
    missing = 0
    for video in watch(sorted(path for path in root.glob("*/*") if path.is_dir())):
        tracker = FaceTracker(split_below=split, relink_above=relink)
        with suppress(VideoError):  # a folder without frames
            template = _template(video, _labels(root, video), engine, tracker)
            if template is not None:
                rows.append(template)
                paths.append("/".join((*video.parts[-2:], "track")))
                continue
        missing += 1
    if not rows:
        raise FeatureError(f"{printable(root)}: no video with a face in it; frames lie in NAME/VIDEO/FRAME.jpg")
    features = feature_set(np.stack(rows), np.full(len(rows), ""), np.array(paths), root)
    note = f"templates are those of tracks; {missing} of {missing + len(rows)} folders gave none"
    return replace(features, notes=(*features.notes, note), model=engine.binding)


def _template(video: Path, labels: Boxes, engine: FaceEngine, tracker: FaceTracker) -> FloatVector | None:
    source = FrameFolder(video, _RATE)
    policy = TrackPolicy()
    looker = Looker(engine.pipeline)
    tracks: dict[int, TrackIdentity] = defaultdict(lambda: TrackIdentity(policy))
    frames: Counter[int] = Counter()
    with FrameReader(source, Sampling(fps=_RATE)) as reader:
        while items := reader.take(QUEUE):
            looked = [item for item in items if isinstance(item, Frame)]
            for frame, faces in zip(looked, looker.find(looked), strict=True):
                qualities = measure_quality(frame.pixels, faces)
                good = [not quality.reason_codes(policy.limits) for quality in qualities]
                clear = [place for place, is_good in enumerate(good) if is_good]
                of = engine.pipeline.embed_faces(frame.pixels, faces, clear)
                boxes: list[Box] = [(x, y, w, h) for x, y, w, h in faces.boxes.tolist()]
                seen = [SeenFace(box, of.get(place), good[place]) for place, box in enumerate(boxes)]
                person = labels.get(source.number_at(frame.seconds))
                for place, number in enumerate(tracker.update(frame.seconds, frame.shot, seen)):
                    frames[number] += _lies_in(boxes[place], person) if labels else 1
                    if place in of:
                        tracks[number].add(TrackFace(frame.seconds, boxes[place], qualities[place], of[place]))
    whose = [number for number in tracks if frames[number]]
    return tracks[max(whose, key=lambda number: frames[number])].template() if whose else None


def _lies_in(box: Box, person: Box | None) -> bool:
    """Say whether the middle of a face lies in the person's box."""
    if person is None:
        return False
    x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
    return person[0] <= x <= person[0] + person[2] and person[1] <= y <= person[1] + person[3]


def _labels(root: Path, video: Path) -> Boxes:
    """Return the published boxes of a video's person by the numbers of the frames; none where there is no file."""
    file = root / f"{video.parent.name}{LABELS}"
    boxes: Boxes = {}
    if not file.exists():
        return boxes
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            rows = list(csv.reader(opened))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FeatureError(f"{printable(file)}: cannot be read as text ({error})") from error
    for line, row in enumerate(rows, start=1):
        try:
            frame = PureWindowsPath(row[0])
            x, y, w, h = (float(cell) for cell in row[2:6])
        except (ValueError, IndexError) as error:
            raise FeatureError(f"{printable(file)}, line {line}: not `frame, -, x, y, width, height`") from error
        number = frame_number(Path(frame.name))
        if frame.parent.name == video.name and number is not None:
            boxes[number] = (x - w / 2, y - h / 2, w, h)
    return boxes
