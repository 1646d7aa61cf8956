from pathlib import Path

import pytest
from conftest import ffmpeg

from pose_mediapipe.decode import FrameRange, VideoInfo, decode_command, parse_range, probe, read_frames
from pose_mediapipe.errors import EngineError, Failure


@pytest.mark.parametrize(("text", "wanted"), [
    ("", FrameRange()), ("0:40", FrameRange(0, 40)), ("5:", FrameRange(5)), (":7", FrameRange(0, 7)), (":", FrameRange())])
def test_ranges(text, wanted):
    assert parse_range(text) == wanted


@pytest.mark.parametrize("text", ["5", "a:b", "3:3", "4:2", "-1:4", "1:2:3", "1.5:2"])
def test_bad_ranges_are_wrong_use(text):
    with pytest.raises(EngineError) as caught:
        parse_range(text)
    assert caught.value.failure is Failure.USAGE


def test_ffmpeg_may_open_local_files_only():
    command = decode_command(Path("-y"), VideoInfo(64, 48, 25, 1), FrameRange(), 1)
    assert command[command.index("-protocol_whitelist") + 1] == "file"
    assert command[command.index("-i") + 1].startswith("file:/")


@pytest.fixture
def counting(tmp_path):
    """Ten grey frames, each brighter than the one before: 20, 40, ... 200."""
    path = tmp_path / "counting.mkv"
    ffmpeg("-f", "lavfi", "-i", "color=black:size=64x48:rate=10:duration=1", "-vf",
           "format=gray,geq=lum=20*(N+1)", "-c:v", "ffv1", str(path))
    return path


@pytest.mark.parametrize(("frames", "first", "count"), [
    (FrameRange(), 20, 10), (FrameRange(3, 6), 80, 3), (FrameRange(8), 180, 2), (FrameRange(8, 99), 180, 2)])
def test_range_is_exact(counting, frames, first, count):
    pictures = list(read_frames(counting, probe(counting), frames))
    assert len(pictures) == count
    assert pictures[0].shape == (48, 64, 3)
    assert pictures[0].mean() == pytest.approx(first, abs=2)


def test_range_beyond_the_end_has_no_frames(counting):
    with pytest.raises(EngineError) as caught:
        list(read_frames(counting, probe(counting), FrameRange(50)))
    assert caught.value.failure is Failure.NO_FRAMES


def test_playlist_that_names_other_files_is_refused(tmp_path, counting):
    playlist = tmp_path / "list.mp4"
    playlist.write_text(f"#EXTM3U\n#EXTINF:1,\n{counting}\n#EXT-X-ENDLIST\n")
    with pytest.raises(EngineError) as caught:
        probe(playlist)
    assert caught.value.failure is Failure.INPUT_UNREADABLE


def test_concat_script_is_refused(tmp_path, counting):
    script = tmp_path / "list.mp4"
    script.write_text(f"ffconcat version 1.0\nfile {counting.name}\n")
    with pytest.raises(EngineError) as caught:
        probe(script)
    assert caught.value.failure is Failure.INPUT_UNREADABLE
