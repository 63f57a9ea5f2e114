"""`faceid watch`: who was there, when, and who was nobody known?  In Python: `faceid.video.watcher.watch`."""

import os
import re
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from faceid.cli.config import file_of, one_of
from faceid.cli.options import OUTPUT_FILE, RATE, SIMILARITY, Number, engine_options, gallery_option, output_option
from faceid.cli.output import say, write_lines, write_records
from indexer.store.place import Place
from indexer.text import counted

if TYPE_CHECKING:
    from faceid.engine import FaceEngine
    from faceid.video.events import Event
    from faceid.video.watcher import DecideAt, Look, Watcher
    from indexer.gallery import Gallery

PER_SECOND = Number(0.001, 100_000)
# Of a table whose rows come one by one, over days perhaps: time, event, track, who, similarity, here, source.
_WIDTHS = (19, 12, 5, 20, 10, 8, 24)


class Time(click.ParamType[float]):
    """A time in a video: seconds, or h:mm:ss."""

    name = "h:mm:ss"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds."""
        from faceid.video.enrolling import time_of

        try:
            return float(value) if isinstance(value, int | float) else time_of(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Duration(click.ParamType[float]):
    """A duration: 60s, 5m, 1h, or seconds."""

    name = "60s|5m|1h"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds."""
        matched = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)([smh]?)", str(value))
        if not matched:
            self.fail(f"{value!r} is no duration; give 60s, 5m or 1h", param, ctx)
        return float(matched[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[matched[2]]


@dataclass
class _Run:
    """What happened, for the summary and the exit code."""

    tracks: int = 0
    troubles: int = 0
    watchers: list["Watcher"] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def stop(self) -> None:
        self.stopped.set()
        for watcher in self.watchers:
            watcher.stop()


@click.command(epilog="Example: faceid watch rtsp://camera.local/1 --gallery staff --json")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@gallery_option
@engine_options
@click.option("--fpir", type=RATE, help="Share of strangers' tracks that may be taken for somebody (default 0.01).")
@click.option("--threshold", type=SIMILARITY, help="Accept at this similarity instead.")
@click.option(
    "--sample-fps", type=PER_SECOND, default=5.0, show_default=True, help="Frames a second to look at, at most."
)
@click.option("--start", type=Time(), default=0.0, help="Begin here in a file.")
@click.option("--end", type=Time(), help="End here; of a live source, after so long.")
@click.option(
    "--frame-rate", type=PER_SECOND, default=25.0, show_default=True, help="Frames a second of folders of frames."
)
@click.option(
    "--full-scan-every",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    help="Search every n-th frame everywhere, others near the last faces: newcomers are found later.",
)
@click.option("--once-per", type=Duration(), help="Tell a person at most once in this time at each source.")
@click.option(
    "-o",
    "--output",
    "events_file",
    type=OUTPUT_FILE,
    help="Also write the events to this file as JSON Lines, each on the disk before it is told.",
)
@click.option("--resume", is_flag=True, help="Go on with the events of -o FILE: none of them is written twice.")
@click.option(
    "--annotate",
    "annotate_file",
    type=OUTPUT_FILE,
    help="Write the frames that were looked at with boxes and names to this MP4 file (one source).",
)
@click.option(
    "--save-faces",
    "faces_dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write tracks' best faces here.",
)
@click.option(
    "--save-unknown",
    "unknown_dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write faces of unknown people here, a folder a track, to cluster and to enrol.",
)
@click.option(
    "--webhook",
    "webhooks",
    multiple=True,
    help="Send each event to this http(s) address; FACEID_WEBHOOK_SECRET signs it.",
)
@output_option
@click.pass_context
def watch(
    ctx: click.Context,
    /,
    sources: tuple[str, ...],
    gallery_path: Place,
    fpir: float | None,
    threshold: float | None,
    sample_fps: float,
    start: float,
    end: float | None,
    frame_rate: float,
    full_scan_every: int,
    once_per: float | None,
    events_file: Path | None,
    resume: bool,
    annotate_file: Path | None,
    faces_dir: Path | None,
    unknown_dir: Path | None,
    webhooks: tuple[str, ...],
    output: str | None,
    **engine_settings: Any,
) -> None:
    """Tell who is seen in each SOURCE, when, and who is nobody in the gallery: one decision a person's track.

    SOURCE is a video file, a folder of numbered frames, camera:0, or an rtsp:// or http:// address (its user and
    password from FACEID_STREAM_CREDENTIALS=user:password). Ctrl-C ends in good order.
    """
    fpir, threshold = one_of(ctx, fpir=fpir, threshold=threshold)
    if resume and events_file is None:
        raise click.UsageError("--resume goes on with a file of events: give -o FILE")
    if annotate_file is not None and (len(sources) > 1 or resume):
        raise click.UsageError("--annotate writes the video of one source, from its beginning")
    if annotate_file is not None and _are_one_file(sources[0], annotate_file):
        raise click.UsageError("--annotate would put its video in the place of the one that is watched")
    if end is not None and end <= start:
        raise click.UsageError("--end must lie after --start")
    if output == "csv":
        raise click.UsageError("events go out as a table or as --json")

    from faceid.cli.session import open_with_engine
    from faceid.video.annotated_video import annotated_video
    from faceid.video.event_file import EventFile
    from faceid.video.face_files import save_faces, save_unknown
    from faceid.video.heap import HeapKeeper
    from faceid.video.once_per import OncePer
    from faceid.video.reader import Sampling
    from faceid.video.several import side_by_side
    from faceid.video.sources import is_live, open_source
    from faceid.video.watcher import Watcher
    from faceid.video.webhooks import SECRET, Webhook

    run, heap = _Run(), HeapKeeper()
    with ExitStack() as open_things:
        engine, gallery = open_things.enter_context(open_with_engine(gallery_path, **engine_settings))
        decide_at = _threshold(ctx, engine, gallery, fpir, threshold)
        file = EventFile(events_file, resume=resume) if events_file else None
        if file:
            open_things.callback(file.close)
        hooks = [Webhook(url, os.environ.get(SECRET), say) for url in webhooks]
        for hook in hooks:
            open_things.callback(hook.close)

        def looks_of(what: str) -> Iterator["Look"]:
            source = open_source(what, frame_rate=frame_rate)
            begin = file.resumed(source.name, live=source.live) if file else None
            if begin and begin.done and not source.live:
                say(f"{source.name}: it was watched to its end")
                return
            watcher = Watcher(
                engine,
                gallery,
                source,
                decide_at,
                sampling=Sampling(sample_fps, max(start, begin.seconds if begin else 0.0), end),
                full_scan_every=full_scan_every,
                keep_pictures=bool(faces_dir or unknown_dir),
                first_track=begin.first_track if begin else 1,
            )
            run.watchers.append(watcher)
            yield from watcher.looks() if annotate_file is None else annotated_video(watcher.looks(), annotate_file)

        def events_of(some: Iterable[str]) -> Iterator["Event"]:
            from faceid.video.frames import VideoError

            for what in some:
                if run.stopped.is_set():
                    return
                try:
                    for look in looks_of(what):
                        heap.look()
                        yield from look.events
                except VideoError as error:
                    run.troubles += 1
                    say(str(error))

        live = [one for one in sources if is_live(one)]
        files = [one for one in sources if not is_live(one)]
        lanes = [events_of([one]) for one in live] + ([events_of(files)] if files else [])
        events: Iterable[Event] = side_by_side(lanes, run.stop)
        if once_per is not None:
            once = OncePer(once_per)
            once.remember(file.records if file else ())
            events = once.through(events)
        if file:
            events = file.through(events)
        if faces_dir:
            events = save_faces(events, faces_dir)
        if unknown_dir:
            events = save_unknown(events, unknown_dir)
        for hook in hooks:
            events = hook.through(events)
        with _interrupt(run.stop):
            told = _noted(events, run)
            if output == "json":
                write_records(told, output, lambda event: event.record(), _row)
            else:
                write_lines(told, _row, _WIDTHS)
        say(_summary(run, fpir if threshold is None else None))
    ctx.exit(3 if run.troubles else 0)


def _are_one_file(source: str, file: Path) -> bool:
    try:
        return Path(source).samefile(file)
    except (OSError, ValueError):  # one of them is not there, or no path
        return False


def _threshold(
    ctx: click.Context, engine: "FaceEngine", gallery: "Gallery", fpir: float | None, threshold: float | None
) -> "DecideAt":
    from faceid.threshold_words import describe
    from faceid.video.track_thresholds import track_threshold
    from indexer.decision.decision import user_threshold

    if threshold is not None:
        return user_threshold(threshold, file_of(ctx, "threshold"))
    say(describe(track_threshold(engine, gallery, fpir or 0.01)))
    return lambda: track_threshold(engine, gallery, fpir or 0.01)


@contextmanager
def _interrupt(stop: Callable[[], None]) -> Iterator[None]:
    """Let Ctrl-C (and SIGTERM) end the watching with its last events; a second Ctrl-C ends at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, _: object) -> None:
        signal.signal(number, signal.default_int_handler)
        stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _noted(events: Iterable["Event"], run: _Run) -> Iterator["Event"]:
    seen: set[tuple[str, int]] = set()
    for event in events:
        if event.track is not None:
            seen.add((event.source, event.track))
            run.tracks = len(seen)
        if event.message:
            say(event.message if event.message.startswith(event.source) else f"{event.source}: {event.message}")
        if event.event == "source_ended" and event.counts:
            if event.message:
                run.troubles += 1
            say(
                f"{event.source}: {event.counts.decoded:,} frames, {event.counts.damaged:,} damaged and passed over,"
                f" {event.counts.dropped:,} dropped"
            )
        yield event


def _row(event: "Event") -> dict[str, object]:
    from faceid.video.sources import clock

    best = event.answer.candidates[0] if event.answer and event.answer.candidates else None
    decision = event.answer.decision if event.answer else ""
    remark = ""
    if event.before is not None:
        remark = f"before: {event.before.identity.label if event.before.identity else event.before.decision}"
    elif best and decision == "unknown":
        remark = f"nearest {best.label}, below the threshold"
    return {
        "time": event.at.strftime("%Y-%m-%d %H:%M:%S") if event.at else clock(event.seconds),
        "event": event.event,
        "track": event.track,
        "who": event.identity.label if event.identity else decision,
        "similarity": event.answer.similarity if event.answer else None,
        "here": None if event.first_seconds is None else f"{(event.last_seconds or 0.0) - event.first_seconds:.1f} s",
        "source": event.source,
        "remark": remark,
    }


def _summary(run: _Run, fpir: float | None) -> str:
    tracks = counted(run.tracks, "track", "tracks")
    if fpir is None or not run.tracks:
        return f"{tracks} told."
    return f"{tracks} told; of {run.tracks:,} strangers' tracks {run.tracks * fpir:.2g} would be taken for somebody."
