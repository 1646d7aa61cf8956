"""What a line of the queue may say. The lines are outside input of a kind: a fault in one must name itself and end nothing."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import clip_queue
import pytest

from pose_onnx import clips
from pose_onnx.clips import Clip, clip_of, members_of, number_of, read_lines
from pose_onnx.errors import EngineError, Failure

LEAST = '"clip": 3, "video": "/in/video.mp4", "outputDir": "/out/3"'


def parse(text: str | bytes) -> Clip:
    return clip_of(members_of(text if isinstance(text, bytes) else text.encode()))


def test_the_protocol_is_the_same_in_all_engines():
    assert clip_queue.differing_copies(Path(__file__).resolve().parents[2]) == []


def test_every_member():
    text = ('{"clip": 3, "video": "/in/a b.mp4", "outputDir": "/out/é", "startFrame": 12, "captureFPS": 240, "focalLengthPx": 1.5e3, '
            '"maxPeople": 2, "boxes": "/in/boxes.json", "overlay": "blurred"}')
    assert parse(text) == Clip(3, Path("/in/a b.mp4"), Path("/out/é"), 12, 240.0, 1500.0, 2, Path("/in/boxes.json"), "blurred")


def test_what_is_left_out_is_nothing():
    least = Clip(3, Path("/in/video.mp4"), Path("/out/3"), 0, 0.0, 0.0, 0, None, "none")
    assert parse("{" + LEAST + "}") == least
    assert parse("{" + LEAST + ', "startFrame": 0, "captureFPS": 0, "focalLengthPx": 0, "maxPeople": 0, "boxes": "", '
                                '"overlay": "none"}') == least


@pytest.mark.parametrize(("line", "words"), [
    ("", "not JSON"), ("{", "not JSON"), ("[1]", "no object"), ("3", "no object"), (b"\xff{}", "not JSON"),
    ("{" + LEAST + "} {}", "not JSON"), ("[" * 30_000, "not JSON"),
    ("{" + LEAST + ', "clip": 4}', "twice"), ("{" + LEAST + ', "captureFPS": NaN}', "NaN"),
    ("{" + LEAST + ', "captureFPS": -Infinity}', "-Infinity"),
    ("{" + LEAST + ', "threads": 3}', "'threads'"), ('{"clip": 3, "video": "/v"}', "no member 'outputDir'"),
    ('{"video": "/v", "outputDir": "/o"}', "no member 'clip'"), ('{"clip": 3, "outputDir": "/o"}', "no member 'video'"),
])
def test_lines_that_are_no_clip(line, words):
    with pytest.raises(EngineError, match=words) as caught:
        parse(line)
    assert caught.value.failure is Failure.USAGE


@pytest.mark.parametrize(("member", "value"), [
    ("clip", "true"), ("clip", "-1"), ("clip", "2147483648"), ("clip", "3.0"), ("clip", '"3"'), ("clip", "null"),
    ("video", "3"), ("video", '""'), ("video", '"relative.mp4"'), ("video", r'"/nul\u0000"'), ("video", r'"/new\nline"'),
    ("video", r'"/half\ud800"'), ("video", r'"/byte\udcff"'), ("video", '"/' + "x" * 4096 + '"'), ("outputDir", "null"), ("boxes", "false"),
    ("boxes", '"b.json"'), ("startFrame", "1.5"), ("startFrame", "-1"), ("startFrame", "9" * 4000), ("captureFPS", "true"),
    ("captureFPS", "1e999"), ("captureFPS", "-0.1"), ("captureFPS", '"25"'), ("captureFPS", "9" * 400), ("focalLengthPx", "1000001"),
    ("maxPeople", "1001"), ("maxPeople", "0.0"), ("overlay", '"naked"'), ("overlay", '""'), ("overlay", "[]"), ("overlay", "null"),
])
def test_members_that_make_no_sense_are_named(member, value):
    members = {"clip": "3", "video": '"/v"', "outputDir": '"/o"', member: value}
    with pytest.raises(EngineError, match=f"^{member} ") as caught:
        parse("{" + ", ".join(f'"{k}": {v}' for k, v in members.items()) + "}")
    assert caught.value.failure is Failure.USAGE


def test_a_line_too_long_is_refused():
    with pytest.raises(EngineError, match="more than 32768 bytes"):
        members_of(None)


@pytest.mark.parametrize(("given", "number"), [({"clip": 7, "x": 1}, "7"), ({"clip": True}, "unknown"), ({}, "unknown"),
                                               ({"clip": -1}, "unknown"), ({"clip": "7"}, "unknown"), ({"clip": 2**40}, "unknown")])
def test_the_number_is_known_as_far_as_it_can_be(given, number):
    assert number_of(given) == number


def lines_of(pieces: list[bytes]) -> list[bytes | None]:
    """What is read from a pipe into which the pieces are written one by one."""
    read, write = os.pipe()

    def fill() -> None:
        for piece in pieces:
            os.write(write, piece)
        os.close(write)

    threading.Thread(target=fill).start()
    found = list(read_lines(read))
    os.close(read)
    return found


LONG = b"x" * (clips.MOST_LINE + 1)


@pytest.mark.parametrize(("pieces", "lines"), [
    ([], []), ([b"a\nb\n"], [b"a", b"b"]), ([b"a", b"b\nc", b"\n"], [b"ab", b"c"]), ([b"a\nrest"], [b"a", b"rest"]),
    ([b"\n\n"], [b"", b""]), ([LONG[1:] + b"\n"], [LONG[1:]]),
    ([LONG + b"\na\n"], [None, b"a"]), ([LONG, b"\na\n"], [None, b"a"]), ([LONG] * 90 + [b"\na\n"], [None, b"a"]),
    ([LONG], [None]), ([LONG, LONG], [None]), ([b"a\n", LONG, b"b\n" + LONG + b"\n"], [b"a", None, None]),
])
def test_lines_are_whole_and_bounded(pieces, lines):
    assert lines_of(pieces) == lines


def test_a_line_is_read_as_soon_as_it_is_whole():
    read, write = os.pipe()
    os.write(write, b"a\nb")
    reader = read_lines(read)
    assert next(reader) == b"a"
    os.write(write, b"c\n")
    assert next(reader) == b"bc"
    os.close(write)
    assert next(reader, None) is None
