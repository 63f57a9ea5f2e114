"""Tracks on clips with known truth: who is followed as whom, who is named right, and how many strangers are named.

    pip install --no-deps trackeval     # with its dependencies it brings a second OpenCV
    python -m benchmarks.measurements.video_tracks run WORK --lfw DATA/lfw.tar
    python -m benchmarks.measurements.video_tracks report WORK

`run` draws the clips of `video_clips`, looks at each and keeps what was seen; a run that was stopped goes on. Of the
clips two thirds show people of LFW's half B, a third drawn people; four in ten of them are enrolled, from other photos.
"""

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tabulate import tabulate

from benchmarks.demo.people import draw_people
from benchmarks.measurements.lfw_engine import half_of, unpack
from benchmarks.measurements.video_clips import RATE, VISIBLE, Portrait, TrueFace, read_truth, write_clip
from faceid.engine import FaceEngine
from faceid.thresholds import identification_threshold
from faceid.video.frames import Frame
from faceid.video.looking import Looker
from faceid.video.reader import QUEUE, FrameReader, Sampling
from faceid.video.sources import VideoFile
from faceid.video.track_identity import TrackFace, TrackIdentity, TrackPolicy
from faceid.video.track_thresholds import threshold_from_photos
from faceid.video.tracker import FaceTracker, SeenFace
from faceid.video.watcher import link_similarities
from faceid.vision.detection import Box
from faceid.vision.images import UInt8Image
from faceid.vision.photo_list import PersonPhoto
from faceid.vision.quality import Quality, measure_quality
from indexer.decision.decision import Calibration, choose_threshold
from indexer.decision.intervals import wilson
from indexer.errors import CalibrationError
from indexer.gallery import Gallery
from indexer.records import FloatMatrix, FloatVector

SECONDS = 30
KINDS = ("lfw", "drawn")
ENROLLED_PHOTOS = 2
FPIRS = (0.1, 0.03, 0.01)
# Of each kind: clips, people enrolled who appear, strangers who appear, further people in the gallery.
CLIPS = {"lfw": 80, "drawn": 40}
MATED = {"lfw": 72, "drawn": 40}
STRANGERS = {"lfw": 108, "drawn": 60}
OTHERS = {"lfw": 228, "drawn": 60}
CONFIRMED_EVERY = 1.0  # seconds, as by FaceTracker
FOUND_WITHIN = 0.5  # seconds from when a face can be seen

Row = dict[str, object]
Photos = list[UInt8Image]


_Look = tuple[float, int, list[TrueFace]]


@dataclass(frozen=True, eq=False)
class Seen:
    """What was seen in one clip, a row a face: [n]; `persons` are the true ones, -1 for no face that there is.

    `frames` are those that were looked at: seconds, the number of the shot, and who is truly there. `tracks` follow
    from all that (`with_tracks`).
    """

    seconds: NDArray[np.float64]
    boxes: NDArray[np.float64]
    persons: NDArray[np.int64]
    qualities: NDArray[np.float64]
    good: NDArray[np.bool_]
    vectors: FloatMatrix
    frames: list[_Look]
    tracks: NDArray[np.int64]


def main() -> None:
    """Run or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "report"))
    parser.add_argument("work", type=Path)
    parser.add_argument("--lfw", type=Path, help="lfw.tar; without it only drawn people appear")
    parser.add_argument("--share", type=float, default=1.0, help="so much of each kind's clips")
    options = parser.parse_args()
    engine = FaceEngine(min_face_size=40)
    if options.what == "run":
        run(engine, options.work, options.lfw, options.share)
    else:
        report(engine, options.work)


def run(engine: FaceEngine, work: Path, lfw: Path | None, share: float) -> None:
    """Make the galleries and the clips that are missing, and look at those that were not looked at."""
    kinds = KINDS if lfw else KINDS[1:]
    casts = {kind: _cast(kind, work, lfw) for kind in kinds}
    for kind in kinds:
        _enrol(engine, kind, work / kind, casts[kind])
    # Spread over both, so that a part of the run is a part of each.
    todo = sorted(((number + 0.5) / CLIPS[kind], kind, number) for kind in kinds for number in range(CLIPS[kind]))
    for place, kind, number in todo:
        if place <= share and not (work / kind / f"{number:03d}.npz").exists():
            _make(engine, kind, work / kind, casts[kind], number)
            print(f"{kind} {number + 1} of {CLIPS[kind]}", flush=True)


def _enrol(engine: FaceEngine, kind: str, work: Path, cast: dict[int, Photos]) -> None:
    work.mkdir(parents=True, exist_ok=True)
    if (work / "gallery").exists():
        return
    with Gallery.open(work / "gallery", create=engine.binding) as gallery:
        enrolled = [who for who in cast if who < MATED[kind] or who >= MATED[kind] + STRANGERS[kind]]
        photos = [PersonPhoto(photo, f"person-{who}") for who in enrolled for photo in cast[who][:ENROLLED_PHOTOS]]
        statuses = Counter(one.status for one in engine.enroll(gallery, photos, faces="centre"))
        print(f"{kind}: {gallery.size} people enrolled: {dict(statuses)}", flush=True)


def _make(engine: FaceEngine, kind: str, work: Path, cast: dict[int, Photos], number: int) -> None:
    """Draw a clip, look at it, and keep what was seen."""
    people = []
    for who in _who(number, kind):
        photos = cast[who][ENROLLED_PHOTOS if who < MATED[kind] else 0 :]
        people.append((who, _portraits(engine, photos)))
    clip = work / f"{number:03d}.mp4"
    write_clip(clip, number, people, SECONDS)
    _keep(clip.with_suffix(".npz"), see(engine, clip))
    clip.unlink()


def see(engine: FaceEngine, clip: Path) -> Seen:
    """Look at a clip as `faceid.video.watcher` does, and embed all good faces."""
    truth = read_truth(clip)
    looker = Looker(engine.pipeline)
    limits = TrackPolicy().limits
    rows: list[tuple[float, Box, int, float, bool, FloatVector]] = []
    looked: list[_Look] = []
    nothing = np.zeros(engine.binding.dimension, np.float32)
    with FrameReader(VideoFile(clip), Sampling()) as reader:
        while items := reader.take(QUEUE):
            frames = [item for item in items if isinstance(item, Frame)]
            for frame, faces in zip(frames, looker.find(frames), strict=True):
                there = truth[round(frame.seconds * RATE)]
                looked.append((frame.seconds, frame.shot, there))
                qualities = measure_quality(frame.pixels, faces)
                good = [not quality.reason_codes(limits) for quality in qualities]
                clear = [place for place, is_good in enumerate(good) if is_good]
                vectors = engine.pipeline.embed_faces(frame.pixels, faces, clear)
                for place, (x, y, w, h) in enumerate(faces.boxes.tolist()):
                    vector, quality = vectors.get(place, nothing), qualities[place].overall
                    whose = _whose((x, y, w, h), there)
                    rows.append((frame.seconds, (x, y, w, h), whose, quality, good[place], vector))
    return Seen(
        np.array([row[0] for row in rows], np.float64),
        np.array([row[1] for row in rows], np.float64).reshape(-1, 4),
        np.array([row[2] for row in rows], np.int64),
        np.array([row[3] for row in rows], np.float64),
        np.array([row[4] for row in rows], np.bool_),
        np.array([row[5] for row in rows], np.float32).reshape(len(rows), -1),
        looked,
        np.zeros(len(rows), np.int64),
    )


def with_tracks(seen: Seen, split: float, relink: float) -> Seen:
    """Return what was seen with the tracks that `FaceTracker` makes of it."""
    tracker = FaceTracker(split_below=split, relink_above=relink)
    tracks = np.zeros(len(seen.seconds), np.int64)
    for seconds, shot, _ in seen.frames:
        rows = np.flatnonzero(seen.seconds == seconds)
        faces = [_seen_face(seen, int(row)) for row in rows]
        tracks[rows] = tracker.update(seconds, shot, faces)
        tracker.gone(seconds)
    return replace(seen, tracks=tracks)


def report(engine: FaceEngine, work: Path) -> None:
    """Print the tables."""
    for kind in KINDS:
        files = sorted((work / kind).glob("*.npz"))
        if not files:
            continue
        split, relink = link_similarities(engine, None)
        clips = [with_tracks(_kept(file), split, relink) for file in files]
        people = {face.person for clip in clips for _, _, faces in clip.frames for face in faces}
        minutes = len(clips) * SECONDS / 60
        with Gallery.open(work / kind / "gallery") as gallery:
            print(f"\n## {kind}: {len(clips)} clips, {minutes:.0f} minutes, {len(people)} people, N {gallery.size}\n")
            print(tabulate([followed(clips)], headers="keys", tablefmt="github", disable_numparse=True))
            print()
            print(
                tabulate(named(engine, gallery, clips, kind), headers="keys", tablefmt="github", disable_numparse=True)
            )
            print()
            print(tabulate(templates(gallery, clips, kind), headers="keys", tablefmt="github", disable_numparse=True))


def followed(clips: Sequence[Seen]) -> Row:
    """Return identity F1 and switches by TrackEval, tracks with two people, and how soon faces are found."""
    from trackeval.metrics import CLEAR, Identity

    sums: Counter[str] = Counter()
    for clip in clips:
        data = _for_trackeval(clip)
        sums.update({name: int(value) for name, value in Identity(_QUIET).eval_sequence(data).items() if name in _ID})
        sums.update({name: int(value) for name, value in CLEAR(_QUIET).eval_sequence(data).items() if name in _CLEAR})
    tracks = [_people_of(clip, track) for clip in clips for track in np.unique(clip.tracks)]
    delays = [delay for clip in clips for delay in _delays(clip)]
    appearances = sum(len({face.person for _, _, faces in clip.frames for face in faces}) for clip in clips)
    return {
        "IDF1": f"{2 * sums['IDTP'] / (2 * sums['IDTP'] + sums['IDFP'] + sums['IDFN']):.3f}",
        "switches": sums["IDSW"],
        "faces seen of true": f"{sums['CLR_TP']:,} of {sums['CLR_TP'] + sums['CLR_FN']:,}",
        "false faces": sums["CLR_FP"],
        "people in clips": appearances,
        "tracks": len(tracks),
        "with two people": sum(sum(count >= 2 for who, count in one.items() if who >= 0) > 1 for one in tracks),
        f"found within {FOUND_WITHIN} s": f"{sum(d <= FOUND_WITHIN for d in delays)} of {len(delays)}",
    }


def named(engine: FaceEngine, gallery: Gallery, clips: Sequence[Seen], kind: str) -> list[Row]:
    """Return for each rule and FPIR what became of the tracks of strangers and of enrolled people."""
    tracks = list(_tracks(gallery, clips, kind))
    rows: list[Row] = []
    for fpir in FPIRS:
        photo = identification_threshold(engine.model, gallery, fpir).value
        rows.append(_row("every frame alone, photo threshold", fpir, photo, tracks, lambda one: one.frames))
        rows.append(_row("best frame alone, photo threshold", fpir, photo, tracks, lambda one: one.best))
        corrected = threshold_from_photos(engine, gallery, fpir).value
        rows.append(_row("track, from photos, corrected", fpir, corrected, tracks, lambda one: one.mean))
        with suppress(CalibrationError):
            rows.append(_crossed(tracks, gallery, fpir))
    return rows


def templates(gallery: Gallery, clips: Sequence[Seen], kind: str) -> list[Row]:
    """Return what kinds of templates miss at the threshold that names 5 % of the strangers' tracks by each."""
    tracks = list(_tracks(gallery, clips, kind))
    rules: dict[str, Callable[[_Track], list[_Search]]] = {
        "mean weighted by quality": lambda one: one.mean,
        "plain mean": lambda one: one.plain,
        "best of the faces' own searches": lambda one: one.highest,
        "every frame": lambda one: one.frames,
        "best frame": lambda one: one.best,
    }
    rows = []
    for name, searches in rules.items():
        strangers = np.sort([max(s for s, _ in searches(one)) for one in tracks if not one.mated])[::-1]
        threshold = float(np.nextafter(strangers[int(0.05 * len(strangers))], np.inf))
        row = _row(name, 0.05, threshold, tracks, searches)
        rows.append(
            {"template": name, **{key: row[key] for key in ("threshold", "named right", "named wrong", "missed")}}
        )
    return rows


_SHOWN = ("threshold", "named right", "named wrong", "missed")
_Search = tuple[float, int]  # the best candidate's similarity, and its person


@dataclass(frozen=True, eq=False)
class _Track:
    """A track with at least one good face: whose most of its faces are, and what its searches found by each rule."""

    person: int
    mated: bool
    frames: list[_Search]
    best: list[_Search]
    mean: list[_Search]
    plain: list[_Search]
    highest: list[_Search]


_ARRAYS = ("seconds", "boxes", "persons", "qualities", "good", "vectors", "tracks")
_QUIET = {"PRINT_CONFIG": False, "THRESHOLD": 0.5}
_ID = ("IDTP", "IDFN", "IDFP")
_CLEAR = ("IDSW", "CLR_TP", "CLR_FN", "CLR_FP")


def _row(
    rule: str, fpir: float, threshold: float, tracks: Sequence[_Track], searches: Callable[[_Track], list[_Search]]
) -> Row:
    """Count: a track is named by the first search that reaches the threshold; a later other name is wrong, too."""
    strangers = [one for one in tracks if not one.mated]
    mated = [one for one in tracks if one.mated]
    alarms = sum(any(score >= threshold for score, _ in searches(one)) for one in strangers)
    names = [{who for score, who in searches(one) if score >= threshold} for one in mated]
    right = sum(told == {one.person} for told, one in zip(names, mated, strict=True))
    missed = sum(not told for told in names)
    low, high = wilson(alarms, len(strangers))
    return {
        "rule": rule,
        "FPIR asked": f"{100 * fpir:g} %",
        "threshold": f"{threshold:.3f}",
        "got": f"{100 * alarms / len(strangers):.1f} % [{100 * low:.1f}, {100 * high:.1f}] of {len(strangers)}",
        "named right": f"{100 * right / len(mated):.1f} % of {len(mated)}",
        "named wrong": f"{100 * (len(mated) - right - missed) / len(mated):.1f} %",
        "missed": f"{100 * missed / len(mated):.1f} %",
    }


def _tracks(gallery: Gallery, clips: Sequence[Seen], kind: str) -> Iterator[_Track]:
    policy = TrackPolicy()
    for clip in clips:
        for number in np.unique(clip.tracks):
            whole = _people_of(clip, number)
            person = max(whole, key=lambda who: whole[who])
            rows = np.flatnonzero((clip.tracks == number) & clip.good)
            if person < 0 or not len(rows):
                continue
            single = _search(gallery, clip.vectors[rows])
            identity = TrackIdentity(policy)
            templates, plain, highest = [], [], []
            last = -np.inf
            for row, found in zip(rows, single, strict=True):
                face = _face(clip, int(row))
                if not identity.wants(face.quality) and face.seconds - last < CONFIRMED_EVERY:
                    continue
                last = face.seconds
                if identity.add(face):
                    templates.append(identity.template())
                    mean = np.mean([face.vector for face in identity.faces], axis=0, dtype=np.float64)
                    plain.append((mean / np.linalg.norm(mean)).astype(np.float32))
                    kept = {face.seconds for face in identity.faces}
                    pairs = zip(rows, single, strict=True)
                    highest.append(max([one for at, one in pairs if clip.seconds[at] in kept], default=found))
            best = int(clip.qualities[rows].argmax())
            yield _Track(
                person,
                person < MATED[kind],
                single,
                [single[best]],
                _search(gallery, np.stack(templates)),
                _search(gallery, np.stack(plain)),
                highest,
            )


def _search(gallery: Gallery, vectors: FloatMatrix) -> list[_Search]:
    found = [result.candidates[0] for result in gallery.search(np.ascontiguousarray(vectors), 1)]
    return [(one.similarity, int(one.name.removeprefix("person-"))) for one in found]


def _face(clip: Seen, row: int) -> TrackFace:
    overall = float(clip.qualities[row])
    quality = Quality(face_size=112, detection_score=1.0, sharpness=100, turn=1 - overall)
    return TrackFace(float(clip.seconds[row]), _box(clip, row), quality, clip.vectors[row])


def _seen_face(seen: Seen, row: int) -> SeenFace:
    good = bool(seen.good[row])
    return SeenFace(_box(seen, row), seen.vectors[row] if good else None, good)


def _box(clip: Seen, row: int) -> Box:
    x, y, w, h = clip.boxes[row].tolist()
    return x, y, w, h


def _crossed(tracks: Sequence[_Track], gallery: Gallery, fpir: float) -> Row:
    """Set a threshold on the strangers of two thirds of the people and count on the last third, for each third."""
    thresholds = []
    for third in range(3):
        setting = [one for one in tracks if not one.mated and one.person % 3 != third]
        thresholds.append(_calibrated([max(score for score, _ in one.mean) for one in setting], gallery, fpir))

    def above(one: _Track) -> list[_Search]:
        return [(score - thresholds[one.person % 3], who) for score, who in one.mean]

    row = _row("track, from strangers' tracks (others)", fpir, 0.0, tracks, above)
    return row | {"threshold": f"{np.mean(thresholds):.3f}"}


def _calibrated(scores: Sequence[float], gallery: Gallery, fpir: float) -> float:
    sample = np.sort(np.array(scores, np.float32))[::-1]
    calibration = Calibration(
        "fpir", np.ascontiguousarray(sample), len(sample), gallery.size, None, None, "", "", "", ""
    )
    return choose_threshold([calibration], "fpir", fpir, gallery.size, "gallery").value


def _people_of(clip: Seen, track: int) -> Counter[int]:
    return Counter(clip.persons[clip.tracks == track].tolist())


def _delays(clip: Seen) -> Iterator[float]:
    """Yield for each time that somebody comes into view how long it took until the face was found (inf: never)."""
    since: dict[int, float] = {}
    found: set[int] = set()
    for seconds, _, faces in clip.frames:
        there = {face.person for face in faces if face.seen >= VISIBLE}
        for gone in [who for who in since if who not in there]:
            if gone not in found:
                yield np.inf
            found.discard(gone)
            del since[gone]
        for who in there:
            since.setdefault(who, seconds)
            rows = (clip.seconds == seconds) & (clip.persons == who)
            if who not in found and rows.any():
                found.add(who)
                yield seconds - since[who]
    yield from (np.inf for who in since if who not in found)


def _for_trackeval(clip: Seen) -> dict[str, Any]:
    """Return a clip as TrackEval takes it; faces that can be seen less than half count neither for nor against."""
    people = {
        who: row for row, who in enumerate(sorted({face.person for _, _, faces in clip.frames for face in faces}))
    }
    tracks = {number: row for row, number in enumerate(np.unique(clip.tracks).tolist())}
    data: dict[str, Any] = defaultdict(list)
    for seconds, _, faces in clip.frames:
        true = [face for face in faces if face.seen >= VISIBLE]
        hidden = [face.box for face in faces if face.seen < VISIBLE]
        rows = [
            row
            for row in np.flatnonzero(clip.seconds == seconds)
            if clip.persons[row] >= 0 or not (_overlap([clip.boxes[row]], hidden) >= 0.3).any()
        ]
        data["gt_ids"].append(np.array([people[face.person] for face in true], np.int64))
        data["tracker_ids"].append(np.array([tracks[int(clip.tracks[row])] for row in rows], np.int64))
        data["similarity_scores"].append(_overlap([face.box for face in true], [clip.boxes[row] for row in rows]))
    return {
        **data,
        "num_timesteps": len(clip.frames),
        "num_gt_ids": len(people),
        "num_tracker_ids": len(tracks),
        "num_gt_dets": sum(map(len, data["gt_ids"])),
        "num_tracker_dets": sum(map(len, data["tracker_ids"])),
    }


def _whose(box: Box, faces: Sequence[TrueFace]) -> int:
    """Return the person whose true face overlaps most with a box, by half at least; -1 for nobody."""
    seen = [face for face in faces if face.seen >= VISIBLE]
    if not seen:
        return -1
    overlap = _overlap([box], [face.box for face in seen])[0]
    return seen[int(overlap.argmax())].person if overlap.max() >= 0.5 else -1


def _overlap(first: Sequence[Any], second: Sequence[Any]) -> NDArray[np.float64]:
    a = np.asarray(first, np.float64).reshape(-1, 4)[:, None]
    b = np.asarray(second, np.float64).reshape(-1, 4)[None]
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    return np.asarray(common / (a[..., 2:].prod(axis=2) + b[..., 2:].prod(axis=2) - common), np.float64)


def _who(number: int, kind: str) -> list[int]:
    """Return the three people of a clip: in turn, so that everybody appears about as often."""
    mated, strangers = MATED[kind], STRANGERS[kind]
    order = np.random.default_rng([7, len(kind)]).permutation(mated + strangers)
    chosen = [int(order[(3 * number + place) % len(order)]) for place in range(3)]
    return [chosen[(place + number) % 3] for place in range(3)]


def _cast(kind: str, work: Path, lfw: Path | None) -> dict[int, Photos]:
    """Return everybody's photos: those who are enrolled and appear, then strangers, then others in the gallery."""
    counts = MATED[kind], STRANGERS[kind], OTHERS[kind]
    needed = ENROLLED_PHOTOS + 2, 1, ENROLLED_PHOTOS
    if kind == "drawn":
        drawn = draw_people(sum(counts), ENROLLED_PHOTOS + 2, seed=1118)
        return {who: [photo.pixels for photo in photos] for who, photos in enumerate(drawn)}
    assert lfw is not None
    folders = [path for path in sorted(unpack(lfw, work / "photos").iterdir()) if half_of(path.name) == "B"]
    photos = {path.name: sorted(path.glob("*.jpg")) for path in folders}
    order = [folders[place].name for place in np.random.default_rng(18).permutation(len(folders))]
    cast: dict[int, Photos] = {}
    for count, least in zip(counts, needed, strict=True):
        chosen = [name for name in order if len(photos[name]) >= least and name in photos][:count]
        for name in chosen:
            cast[len(cast)] = [np.asarray(Image.open(path).convert("RGB"), np.uint8) for path in photos.pop(name)[:4]]
        order = [name for name in order if name in photos]
    return cast


def _portraits(engine: FaceEngine, photos: Photos) -> list[Portrait]:
    found = engine.analyse(photos, faces="centre")
    return [Portrait(photo, one.faces[0].box) for photo, one in zip(photos, found, strict=True) if one.faces]


def _keep(file: Path, seen: Seen) -> None:
    frames = [[at, shot, [[f.person, f.box, f.seen] for f in faces]] for at, shot, faces in seen.frames]
    arrays = {name: getattr(seen, name) for name in _ARRAYS}
    part = file.with_suffix(".part")
    with part.open("wb") as opened:
        np.savez(opened, frames=np.array(json.dumps(frames)), **arrays)
    part.replace(file)


def _kept(file: Path) -> Seen:
    with np.load(file, allow_pickle=False) as kept:
        frames = [
            (at, shot, [TrueFace(who, tuple(box), share) for who, box, share in faces])
            for at, shot, faces in json.loads(str(kept["frames"]))
        ]
        return Seen(**{name: kept[name] for name in _ARRAYS}, frames=frames)


if __name__ == "__main__":
    main()
