"""`faceid watch`, `faceid enroll --video` and `faceid calibrate --strangers VIDEO_DIR` on films of drawn people."""

import csv
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import av
import pytest

from faceid.video.webhooks import SECRET, SIGNATURE, is_signed
from indexer.gallery import Gallery
from tests.faceid.cli.conftest import Run
from tests.faceid.video.clips import grey, people, scene, write_video
from tests.faceid.video.conftest import ANN, Cast, cast, film
from tests.faceid.video.rtsp_server import RtspServer

__all__ = ["cast", "film"]

pytestmark = pytest.mark.slow


@pytest.fixture
def staff(cast: Cast, tmp_path: Path) -> Path:
    return Path(shutil.copytree(cast.gallery, tmp_path / "staff"))


def test_events_are_json_lines_and_the_summary_goes_to_the_terminal(run: Run, staff: Path, film: Path) -> None:
    done = run("watch", film, "--gallery", staff, "--threshold", "0.5", "--json")
    assert done.code == 0, done.stderr
    told = [(one["event"], one["identity"] and one["identity"]["name"]) for one in done.records]
    assert told == [
        ("identified", "Ann"),
        ("lost", "Ann"),
        ("identified", "Ann"),
        ("unknown", None),
        ("identified", "Bob"),
        ("lost", "Ann"),
        ("lost", None),
        ("lost", "Bob"),
        ("source_ended", None),
    ]
    assert f"{film}: 200 frames, 0 damaged and passed over, 0 dropped" in done.stderr
    assert "3 tracks told." in done.stderr


def test_people_get_a_table_and_the_threshold_of_tracks_in_words(run: Run, staff: Path, film: Path) -> None:
    done = run("watch", film, "--gallery", staff, "--end", "2", "--fpir", "0.1")
    assert done.code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["time", "event", "track", "who", "similarity", "here", "source", "remark"]
    assert lines[1].split()[:4] == ["0:00:00", "identified", "1", "Ann"]
    assert "for FPIR 10 %: extrapolated" in done.stderr
    assert "photos, corrected for 5 searches a track" in done.stderr
    assert "of 1 strangers' tracks 0.1 would be taken for somebody" in done.stderr


def test_faces_unknown_people_and_the_annotated_film_are_kept(
    run: Run, staff: Path, film: Path, tmp_path: Path
) -> None:
    done = run(
        "watch", film, "--gallery", staff, "--threshold", "0.5", "--json", "--once-per", "60s",
        "--save-faces", "faces", "--save-unknown", "unknown", "--annotate", "drawn.mp4",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert [one["event"] for one in done.records if one["identity"] and one["identity"]["name"] == "Ann"] == [
        "identified",
        "lost",
    ]
    with (tmp_path / "faces" / "faces.csv").open() as file:
        assert {row["name"] for row in csv.DictReader(file)} == {"Ann", "Bob", ""}
    with av.open(str(tmp_path / "drawn.mp4")) as drawn:
        frames = list(drawn.decode(video=0))
    assert len(frames) == 40
    assert [round(float(frame.time or 0), 1) for frame in frames[:3]] == [0.0, 0.2, 0.4]
    assert frames[0].to_ndarray(format="rgb24").std() > 0
    # What was kept of the stranger can be enrolled as it is.
    enrolled = run("enroll", "unknown", "--gallery", staff, "--faces", "largest", "--json")
    assert enrolled.code == 0, enrolled.stderr
    assert {one["status"] for one in enrolled.records} == {"enrolled"}
    again = run("watch", film, "--gallery", staff, "--threshold", "0.5", "--json", "--start", "4", "--end", "5.9")
    named = {one["identity"]["name"] for one in again.records if one["event"] == "identified"}
    assert named == {"Ann", next((tmp_path / "unknown").iterdir()).name}


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[tuple[bytes, str]]]]:
    """A webhook's receiver that fails at first; its address, and what came."""
    came: list[tuple[bytes, str]] = []
    failed = threading.Event()

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200 if failed.is_set() else 503)
            self.end_headers()
            if failed.is_set():
                came.append((body, self.headers[SIGNATURE]))
            failed.set()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/faces", came
    server.shutdown()


def test_a_webhook_gets_the_events_signed_and_in_order(
    run: Run,
    staff: Path,
    film: Path,
    receiver: tuple[str, list[tuple[bytes, str]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(SECRET, "s3cret")
    address, came = receiver
    done = run("watch", film, "--gallery", staff, "--threshold", "0.5", "--json", "--end", "3", "--webhook", address)
    assert [json.loads(body) for body, _ in came] == done.records
    assert all(is_signed(signature, body, "s3cret", now=time.time()) for body, signature in came)


def test_a_broken_file_costs_itself_alone(run: Run, staff: Path, film: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video at all")
    done = run(
        "watch", "broken.mp4", film, "none.mp4", "--gallery", staff, "--threshold", "0.5", "--end", "1", "--json"
    )
    assert done.code == 3
    assert "broken.mp4: not a video" in done.stderr
    assert "none.mp4: there is no such file" in done.stderr
    assert "identified" in {one["event"] for one in done.records}


def test_a_camera_is_watched_for_a_time(run: Run, staff: Path, cast: Cast) -> None:
    with RtspServer(scene([(cast.photos[ANN][:1], lambda _: (60, 20))], 25)) as camera:
        done = run("watch", camera.url, "--gallery", staff, "--threshold", "0.5", "--json", "--end", "3")
    assert done.code == 0, done.stderr
    first = done.records[0]
    assert (first["event"], first["identity"]["name"], first["source"]) == ("identified", "Ann", camera.url)
    assert first["at"] is not None
    assert done.records[-1]["event"] == "source_ended"


def test_a_camera_that_is_not_there_and_a_film_beside_it(run: Run, staff: Path, film: Path) -> None:
    done = run(
        "watch", "rtsp://u:pw@127.0.0.1:9/x", film, "--gallery", staff, "--threshold", "0.5", "--json", "--end", "1"
    )
    assert done.code == 3
    assert "rtsp://127.0.0.1:9/x: nobody answers at this address" in done.stderr
    assert "pw@" not in done.stderr + done.stdout
    assert "identified" in {one["event"] for one in done.records}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--resume",), "give -o FILE"),
        (("--fpir", "0.1", "--threshold", "0.5"), "not both"),
        (("--start", "5", "--end", "4"), "--end must lie after --start"),
        (("--start", "soon"), "is no time"),
        (("--once-per", "often"), "is no duration"),
        (("--csv",), "table or as --json"),
        (("--annotate", "x.mp4", "b.mp4"), "of one source"),
    ],
)
def test_what_does_not_go_together_is_a_matter_of_usage(run: Run, arguments: tuple[str, ...], says: str) -> None:
    done = run("watch", "a.mp4", *arguments)
    assert done.code == 2
    assert says in done.stderr


def test_the_annotated_video_does_not_take_the_place_of_the_one_that_is_watched(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"the only copy")
    (tmp_path / "link.mp4").symlink_to("a.mp4")
    for output in ("a.mp4", "link.mp4"):
        done = run("watch", tmp_path / "a.mp4", "--annotate", tmp_path / output)
        assert done.code == 2
        assert "in the place of the one that is watched" in " ".join(done.stderr.split())
    assert (tmp_path / "a.mp4").read_bytes() == b"the only copy"


def test_what_is_no_address_costs_itself_alone(run: Run, staff: Path, film: Path) -> None:
    wrong = "rtsp://ann:s3[ret@camera/1"
    done = run("watch", wrong, film, "--gallery", staff, "--threshold", "0.5", "--json", "--end", "1")
    assert done.code == 3
    assert "this is no address" in " ".join(done.stderr.split())
    assert {one["event"] for one in done.records} == {"identified", "lost", "source_ended"}


def test_killed_and_started_again_no_event_is_written_twice(staff: Path, film: Path, tmp_path: Path, run: Run) -> None:
    whole = tmp_path / "whole.jsonl"
    arguments = ["--gallery", str(staff), "--threshold", "0.5", "--json"]
    assert run("watch", film, *arguments, "-o", whole).code == 0
    expected = [_facts(line) for line in whole.read_text().splitlines()]
    events = tmp_path / "events.jsonl"
    kills = 0
    for wanted in (1, 4, 7, len(expected)):
        command = [sys.executable, "-m", "faceid", "watch", str(film), *arguments, "-o", str(events)]
        process = subprocess.Popen(
            [*command, *(["--resume"] if events.exists() else [])],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None and _lines(events) < wanted:
            time.sleep(0.01)
        if wanted < len(expected):
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills == 3
    assert [_facts(line) for line in events.read_text().splitlines()] == expected
    done = run("watch", film, *arguments, "-o", events, "--resume")
    assert (done.code, done.stdout) == (0, "")
    assert "it was watched to its end" in done.stderr
    refused = run("watch", film, *arguments, "-o", events)
    assert refused.code == 1
    assert "--resume goes on with them" in refused.stderr


def _lines(file: Path) -> int:
    return len(file.read_bytes().splitlines()) if file.exists() else 0


def _facts(line: str) -> tuple[object, ...]:
    record = json.loads(line)
    who = record["identity"] and record["identity"]["name"]
    return record["event"], record["track"], record["seconds"], record["decision"], who


def test_ctrl_c_tells_who_was_there(staff: Path, film: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "faceid",
        "watch",
        str(film),
        "--gallery",
        str(staff),
        "--threshold",
        "0.5",
        "--json",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    events = [first, *(json.loads(line) for line in rest.splitlines())]
    assert events[-1]["event"] == "source_ended"
    assert "lost" in {one["event"] for one in events}


def test_people_are_enrolled_from_clips(run: Run, cast: Cast, tmp_path: Path) -> None:
    ann, bob, stranger = cast.photos
    clips = tmp_path / "clips"
    (clips / "Ann").mkdir(parents=True)
    write_video(clips / "Ann" / "a.mp4", scene([(ann, lambda number: (20 + number, 20))], 60))
    write_video(clips / "Bob.mp4", scene([(bob[:1], lambda _: (60, 20))], 20))
    write_video(clips / "Two.mp4", scene([(ann[:1], lambda _: (-40, 20)), (stranger[:1], lambda _: (150, 20))], 20))
    write_video(clips / "Nobody.mp4", grey(10))
    (clips / "Broken.mp4").write_bytes(b"none")
    done = run("enroll", clips, "--video", "--gallery", "g", "--json")
    assert done.code == 3
    assert "Broken.mp4: not a video" in done.stderr or done.records
    by_name: dict[str, list[str]] = {}
    for one in done.records:
        by_name.setdefault(one["name"], []).append(one["status"] + "".join(one["reason_codes"]))
    assert 2 <= by_name["Ann"].count("enrolled") <= 5
    assert by_name["Bob"] == ["enrolled"]  # all its frames are one photo
    assert by_name["Two"] == ["rejectedseveral_faces"]
    assert by_name["Nobody"] == ["rejectedno_face"]
    assert by_name["Broken"] == ["failedunreadable"]
    again = run("enroll", clips, "--video", "--gallery", "g", "--json")
    assert {one["status"] for one in again.records} == {"already_enrolled", "rejected", "failed"}
    with Gallery.open(tmp_path / "g") as gallery:
        assert gallery.size == 2
        assert all("#t=" in one.source for one in gallery.templates())


def test_a_manifest_says_who_is_in_which_part_of_a_film(run: Run, film: Path, tmp_path: Path) -> None:
    (tmp_path / "who.csv").write_text(f"path,name,start,end\n{film},Ann,0,1.9\n{film},Bob,0:06,0:07.9\n")
    done = run("enroll", "--manifest", "who.csv", "--video", "--gallery", "g", "--json")
    assert done.code == 0, done.stderr
    assert {(one["name"], one["status"]) for one in done.records} == {("Ann", "enrolled"), ("Bob", "enrolled")}
    (tmp_path / "who.csv").write_text(f"path,name,start\n{film},Ann,noon\n")
    wrong = run("enroll", "--manifest", "who.csv", "--video", "--gallery", "g")
    assert wrong.code == 2
    assert "line 2: 'noon' is no time" in wrong.stderr
    assert run("enroll", tmp_path, "--video", "--sync", "--gallery", "g").code == 2


def test_strangers_videos_calibrate_the_watching(run: Run, staff: Path, tmp_path: Path) -> None:
    folder = tmp_path / "strangers"
    folder.mkdir()
    faces = [photos[0].pixels for photos in people(12, 1, seed=77)]
    for number in range(3):
        persons = [
            ([face], lambda _, place=place: (192 * place, 0)) for place, face in enumerate(faces[4 * number :][:4])
        ]
        write_video(folder / f"{number}.mp4", scene(persons, 6, size=(768, 192)))
    done = run("calibrate", "--strangers", folder, "--gallery", staff, "--fpir", "0.3", "--json")
    assert done.code == 0, done.stderr
    (row,) = done.records
    assert row["basis"] == "measured"
    assert "tracks of strangers in 3 videos" in row["data"]
    assert run("calibrate", "--strangers", folder, "--keep-strangers", "--gallery", staff).code == 2
    watched = run("watch", folder / "0.mp4", "--gallery", staff, "--fpir", "0.3")
    assert "for FPIR 30 %: measured" in watched.stderr
