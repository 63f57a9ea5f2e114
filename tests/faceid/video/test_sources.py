"""Frames of files: whatever the container, the codec, the rotation and the damage, a clear answer for each."""

import os
import socket
import sys
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from faceid.video import sources
from faceid.video.enrolling import clips_of_manifest, time_of
from faceid.video.frames import VideoError
from faceid.video.sources import Decoded, FrameFolder, VideoFile, clock, is_live, open_source
from faceid.vision.photo_list import PhotoListError
from tests.faceid.video.clips import grey, turned, with_duration, write_sound, write_video


def frames_of(path: Path, start: float = 0.0) -> list[Decoded]:
    return list(VideoFile(path).frames(start))


def number_of(frame: Decoded) -> int:
    """Which frame of `grey` it is, by its brightness."""
    return round((float(frame.pixels().mean()) - 16) / 6)


def corners() -> np.ndarray:
    """Red above left, green above right, blue below left, white below right."""
    picture = np.zeros((96, 160, 3), np.uint8)
    picture[:48, :80, 0] = picture[:48, 80:, 1] = picture[48:, :80, 2] = 220
    picture[48:, 80:] = 220
    return picture


def colours(picture: np.ndarray) -> str:
    """Return the corners' colours, from above left in reading order."""
    height, width = picture.shape[:2]
    names = []
    for y in (height // 4, 3 * height // 4):
        for x in (width // 4, 3 * width // 4):
            bright = picture[y, x] > 110
            names.append("w" if bright.all() else "rgb"[int(picture[y, x].argmax())])
    return "".join(names)


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "libx264"),
        ("a.mkv", "libx265"),
        ("a.webm", "libvpx-vp9"),
        ("a.avi", "mjpeg"),
        ("a.mov", "mpeg4"),
        ("a.ts", "libx264"),
        ("a.mpg", "mpeg2video"),
    ],
)
def test_common_containers_and_codecs_give_all_frames_at_their_times(tmp_path: Path, name: str, codec: str) -> None:
    pixel_format = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    file = write_video(
        tmp_path / name, grey(10), codec=codec, pix_fmt=pixel_format, options={"qmax": "3"} if codec == "mpeg4" else {}
    )
    source = VideoFile(file)
    frames = list(source.frames())
    assert [round(frame.seconds * 25) for frame in frames] == list(range(10))
    assert [number_of(frame) for frame in frames] == list(range(10))
    assert (source.counts.decoded, source.counts.damaged, source.counts.remark) == (10, 0, None)


def test_frames_have_the_streams_times_however_uneven(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.5, 0.52, 2.0]
    file = write_video(tmp_path / "a.mkv", grey(5), times=times)
    assert [round(frame.seconds, 2) for frame in frames_of(file)] == times


def test_reading_begins_where_it_is_told_to_and_not_at_the_key_frame_before(tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.mp4", grey(40), options={"g": "30"})
    frames = frames_of(file, start=0.6)
    assert [number_of(frame) for frame in frames] == list(range(15, 40))
    assert frames[0].seconds == pytest.approx(0.6)


def test_what_cannot_be_sought_in_is_read_from_its_beginning(tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.ts", grey(40))
    assert [number_of(frame) for frame in frames_of(file, start=1.0)] == list(range(25, 40))


@pytest.mark.parametrize(("degrees", "expected"), [(90, "brwg"), (180, "wbgr"), (270, "gwrb")])
def test_a_telephones_picture_stands_upright(tmp_path: Path, degrees: int, expected: str) -> None:
    file = turned(write_video(tmp_path / "a.mp4", [corners()] * 3), degrees)
    picture = frames_of(file)[0].pixels()
    assert picture.shape == ((160, 96, 3) if degrees != 180 else (96, 160, 3))
    assert colours(picture) == expected


def test_ten_bits_a_colour_become_eight(tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.mkv", grey(5), codec="libx265", pix_fmt="yuv420p10le")
    frames = frames_of(file)
    assert [number_of(frame) for frame in frames] == list(range(5))
    assert frames[0].pixels().dtype == np.uint8
    assert frames[0].sketch().dtype == np.uint8


def test_an_interlaced_picture_is_one_moment(tmp_path: Path) -> None:
    combed = np.zeros((96, 160, 3), np.uint8)
    combed[::2] = 200  # one moment is bright, the other dark
    options = {"flags": "+ildct+ilme"}
    file = write_video(tmp_path / "a.mpg", [combed] * 5, codec="mpeg2video", options=options | {"b": "8000000"})
    picture = frames_of(file)[0].pixels()
    assert picture.std() < 10
    assert picture.shape == (96, 160, 3)


def test_pixels_that_are_not_square_are_made_so(tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.mkv", [corners()] * 3, pixel_aspect=Fraction(2))
    picture = frames_of(file)[0].pixels()
    assert picture.shape == (96, 320, 3)
    assert colours(picture) == "rgbw"


def test_a_single_frame_is_a_video(tmp_path: Path) -> None:
    assert [number_of(frame) for frame in frames_of(write_video(tmp_path / "a.mp4", grey(1)))] == [0]


def test_a_wrong_ending_does_not_matter(tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.mp4", grey(3)).rename(tmp_path / "a.txt")
    assert len(frames_of(file)) == 3


def test_four_hours_by_the_header_and_two_seconds_of_them_are_told(tmp_path: Path) -> None:
    source = VideoFile(with_duration(write_video(tmp_path / "a.mkv", grey(50)), 4 * 3600))
    assert len(list(source.frames())) == 50
    assert source.counts.remark == "it announces 4:00:00 and ends after 0:00:02: cut off, or damaged"


def test_a_file_that_was_cut_off_gives_what_is_there_and_says_so(tmp_path: Path) -> None:
    whole = write_video(
        tmp_path / "a.mp4",
        [np.random.default_rng(n).integers(0, 255, (120, 160, 3), np.uint8) for n in range(100)],
        container_options={"movflags": "faststart"},
    )
    content = whole.read_bytes()
    whole.write_bytes(content[: len(content) * 6 // 10])
    source = VideoFile(whole)
    frames = list(source.frames())
    assert 40 <= len(frames) <= 65
    assert source.counts.remark is not None
    assert "it announces 0:00:04 and ends after 0:00:02" in source.counts.remark


def test_damaged_frames_are_counted_and_passed_over(tmp_path: Path) -> None:
    noise = [np.random.default_rng(n).integers(0, 255, (120, 160, 3), np.uint8) for n in range(60)]
    file = write_video(tmp_path / "a.avi", noise, codec="mjpeg", pix_fmt="yuvj420p")
    content = bytearray(file.read_bytes())
    pictures = [at for at in range(len(content) - 3) if content[at : at + 3] == b"\xff\xd8\xff"]
    for at in pictures[10:20]:
        content[at : at + 600] = bytes(600)
    file.write_bytes(content)
    source = VideoFile(file)
    frames = list(source.frames())
    assert len(frames) == 50
    assert source.counts.damaged == 10
    assert frames[-1].seconds == pytest.approx(59 / 25, abs=0.03)


def test_whatever_word_a_decoder_has_for_a_damaged_frame_it_is_passed_over(tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.mov", grey(10), codec="png", pix_fmt="rgb24")
    content = bytearray(file.read_bytes())
    compressed = [at for at in range(len(content) - 3) if content[at : at + 4] == b"IDAT"]
    content[compressed[4] + 8 : compressed[4] + 18] = bytes([255]) * 10  # "an error in an external library"
    file.write_bytes(content)
    source = VideoFile(file)
    assert len(list(source.frames())) == 9
    assert source.counts.damaged == 1


def test_reading_that_breaks_off_is_told_and_keeps_what_came_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = VideoFile(write_video(tmp_path / "a.mp4", grey(10)))
    decode = sources._decode

    def broken(*arguments: Any) -> Iterator[Any]:
        yield from islice(decode(*arguments), 3)
        raise av.error.OSError(5, "Input/output error")

    monkeypatch.setattr(sources, "_decode", broken)
    assert len(list(source.frames())) == 3
    assert source.counts.remark == "reading it broke off after 0:00:00: it cannot be reached"


def test_a_codec_that_is_not_known_is_told(tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.avi", grey(3), codec="mpeg4")
    file.write_bytes(file.read_bytes().replace(b"FMP4", b"XyZ9"))
    with pytest.raises(VideoError, match=r"a\.avi: its codec is not known here"):
        frames_of(file)


def test_a_title_in_any_encoding_costs_nothing(tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.mkv", grey(3))
    content = file.read_bytes()
    at = content.index(b"ENCODER")
    file.write_bytes(content[:at] + b"ENC\xd6DER" + content[at + 7 :])
    assert len(frames_of(file)) == 3


def test_frames_beyond_the_limit_are_refused_before_they_take_the_memory(tmp_path: Path) -> None:
    file = tmp_path / "a.y4m"
    header = b"YUV4MPEG2 W9000 H8000 F25:1 Cmono\nFRAME\n"
    file.write_bytes(header)
    with file.open("r+b") as sparse:
        sparse.truncate(len(header) + 9000 * 8000)
    with pytest.raises(VideoError, match=r"no frame that can be decoded \(of more than 64,000,000 pixels none is\)"):
        frames_of(file)


def test_a_pixel_that_is_said_to_be_fifty_times_wider_than_high_is_square(tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.mkv", [corners()] * 3, pixel_aspect=Fraction(50))
    assert frames_of(file)[0].pixels().shape == (96, 160, 3)


@pytest.mark.parametrize("name", ["overlong" * 100, "a\0b", "loop"])
def test_a_path_that_cannot_be_is_told_as_any_other(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(VideoError):
        open_source(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the file is empty"),
        (b"This is a text, whatever it is called.\n" * 50, "not a video, or its beginning is damaged"),
        (b"#EXTM3U\n#EXTINF:1,\nother.mp4\n", "not a video"),
        (b"ffconcat version 1.0\nfile 'other.mp4'\n", "not a video"),
    ],
)
def test_what_is_no_video_is_named_and_leads_to_no_other_file(tmp_path: Path, content: bytes, says: str) -> None:
    write_video(tmp_path / "other.mp4", grey(3))
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(VideoError, match=says) as caught:
        frames_of(tmp_path / "a.mp4")
    assert str(tmp_path / "a.mp4") in str(caught.value)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"there is no video in it \(only sound\)"):
        frames_of(write_sound(tmp_path / "a.m4a"))


def test_a_video_of_no_frames_says_so(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"no frame that can be decoded|not a video"):
        frames_of(_without_frames(tmp_path))


def _without_frames(folder: Path) -> Path:
    file = write_video(folder / "a.mp4", grey(3), container_options={"movflags": "faststart"})
    content = file.read_bytes()
    at = content.index(b"mdat")
    file.write_bytes(content[: at + 4] + bytes(len(content) - at - 4))
    return file


def test_a_missing_beginning_is_damage(tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.mp4", grey(20))
    file.write_bytes(file.read_bytes()[:2000])  # the table of frames lies at the end
    with pytest.raises(VideoError, match="its beginning is damaged"):
        frames_of(file)


def test_a_name_is_a_name_and_no_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "a.mp4", grey(3)).rename(tmp_path / "concat:a|b.mp4")
    assert len(list(open_source("concat:a|b.mp4").frames())) == 3
    with pytest.raises(VideoError, match=r"none\.mp4: there is no such file"):
        open_source("none.mp4")
    with pytest.raises(VideoError, match="sources are files, folders"):
        open_source("ftp://host/a.mp4")


def test_a_folder_of_numbered_frames_has_gaps_in_time(tmp_path: Path) -> None:
    for number in (9, 10, 12, 110):
        Image.fromarray(grey(number + 1, (32, 24))[number % 50]).save(tmp_path / f"0.{number}.png")
    (tmp_path / "0.11.png").write_bytes(b"damaged")
    (tmp_path / "notes 7.txt").write_text("no frame")
    source = open_source(tmp_path, frame_rate=10)
    assert isinstance(source, FrameFolder)
    assert [round(frame.seconds, 2) for frame in source.frames()] == [0.0, 0.1, 0.3, 10.1]
    assert (source.counts.decoded, source.counts.damaged) == (4, 1)
    assert [round(frame.seconds, 2) for frame in source.frames(start=0.25)] == [0.3, 10.1]


def test_a_folder_without_numbered_frames_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "me.jpg").write_bytes(b"")
    with pytest.raises(VideoError, match="no numbered frames"):
        open_source(tmp_path)
    (tmp_path / "1.jpg").write_bytes(b"damaged")
    with pytest.raises(VideoError, match="none of its 1 frames can be read"):
        list(open_source(tmp_path).frames())


def test_errors_show_neither_password_nor_query() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    source = open_source(f"rtsp://camera:s3cret%2F@127.0.0.1:{port}/live?token=s3cret")
    with pytest.raises(VideoError) as caught:
        next(source.frames())
    assert str(caught.value) == f"rtsp://127.0.0.1:{port}/live: nobody answers at this address"
    assert "s3cret" not in source.name


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("1.2.3.4/user=a&password=s3cret&channel=2&stream=0.sdp?x", "user=***&password=***&channel=2&stream=0.sdp"),
        ("1.2.3.4/user=a_password=s3cret_channel=2_stream=0.sdp", "user=***_password=***_channel=2_stream=0.sdp"),
        ("a:s3cret@1.2.3.4/cam/realmonitor?channel=2&subtype=0&pwd=s3", "cam/realmonitor?channel=2&subtype=0"),
        ("1.2.3.4/live?token=s3cret&channel=s3cret&pin=1234", "live"),
    ],
)
def test_a_name_shows_no_password_wherever_it_stands_and_tells_the_cameras_of_a_recorder_apart(
    address: str, name: str
) -> None:
    assert open_source(f"rtsp://{address}").name == f"rtsp://1.2.3.4/{name}"


@pytest.mark.parametrize("address", ["rtsp://ann:s3[ret@camera/1", "http://[::1/x.mp4", "rtsp://s3cret@cam\u2100/1"])
def test_what_is_no_address_is_told_as_any_other_source_and_not_shown(address: str) -> None:
    assert not is_live(address)
    with pytest.raises(VideoError, match="this is no address") as caught:
        open_source(address)
    assert "s3" not in str(caught.value)


def test_a_pipe_and_a_device_are_not_called_empty(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path(os.devnull)):
        with pytest.raises(VideoError, match="it is no file"):
            next(open_source(path).frames())


def test_a_beginning_that_lies_behind_the_end_is_told(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    write_video(tmp_path / "a.mp4", grey(25))
    for number in range(1, 26):
        (tmp_path / "frames" / f"{number}.jpg").write_bytes(b"not read")
    for path in (tmp_path / "a.mp4", tmp_path / "frames"):
        source = open_source(path)
        assert list(source.frames(start=3600)) == []
        assert source.counts.remark == "it ends after 0:00:01, before it was to be watched from 1:00:00 on"


def test_a_clip_that_ends_before_it_begins_is_refused_with_its_line(tmp_path: Path) -> None:
    manifest = tmp_path / "clips.csv"
    manifest.write_text("path,name,start,end\na.mp4,Ann,5:00,12:00\na.mp4,Bob,12:00,5:00\n")
    with pytest.raises(PhotoListError, match="line 3: the end does not lie after the start"):
        clips_of_manifest(manifest)


def test_a_camera_that_is_not_there_is_named() -> None:
    if sys.platform != "linux":
        pytest.skip("devices are named otherwise elsewhere")
    with pytest.raises(VideoError, match="camera:99: "):
        next(open_source("camera:99").frames())
    with pytest.raises(VideoError, match="cameras are numbered"):
        next(open_source("camera:/etc/passwd").frames())


def test_without_pyav_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(VideoError, match=r"pip install 'faceid-engine\[video\]'"):
        open_source(tmp_path / "a.mp4")


def test_times_are_seconds_or_have_colons() -> None:
    assert [time_of(text) for text in ("12.5", "1:02", "1:02:03.5", "90:00")] == [12.5, 62, 3723.5, 5400]
    for wrong in ("", "noon", "1:", "-3", "1:2:3:4", "nan", "1e3"):
        with pytest.raises(ValueError, match="is no time"):
            time_of(wrong)


def test_a_clock() -> None:
    assert [clock(seconds) for seconds in (0, 59.4, 61, 36061)] == ["0:00:00", "0:00:59", "0:01:01", "10:01:01"]


def test_a_clips_name_that_a_comma_takes_apart_is_refused_with_its_line(tmp_path: Path) -> None:
    manifest = tmp_path / "clips.csv"
    manifest.write_text('path,name\na.mp4,"Lee, Ann"\n')
    assert [clip.name for clip in clips_of_manifest(manifest)] == ["Lee, Ann"]
    manifest.write_text("path,name\na.mp4,Ann\nb.mp4,Lee, Ann\n")
    with pytest.raises(PhotoListError, match="line 3: more cells than columns"):
        clips_of_manifest(manifest)
