"""The small pure parts: options, configuration, errors, frame counts."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from pose_phalp import config, video
from pose_phalp.errors import EngineError, Failure, classify, one_line
from pose_phalp.options import parse_run

NEEDED = ["--video", "v.mp4", "--output-dir", "out"]


def test_defaults_are_those_of_the_operator():
    options = parse_run(NEEDED)
    assert (options.detector, options.device, options.overlay) == ("vitdet", "gpu", "none")
    assert options.boxes is None and options.stride == 1 and not options.keep_pickle


def test_empty_boxes_mean_none():
    assert parse_run([*NEEDED, "--boxes", ""]).boxes is None
    assert parse_run([*NEEDED, "--boxes", "b.json", "--detector", "none"]).boxes == Path("b.json")


def test_all_frames_are_asked_for_and_the_device_is_set_everywhere():
    chosen = config.overrides(parse_run([*NEEDED, "--device", "cpu"]), given_ids=False)
    assert chosen["device"] == "cpu"
    assert chosen["video"]["end_frame"] == -1
    assert chosen["render"]["enable"] is False
    assert "small_w" not in chosen["phalp"]


def test_given_boxes_count_whatever_their_size():
    chosen = config.overrides(parse_run([*NEEDED, "--boxes", "b.csv", "--detector", "none"]), given_ids=True)
    assert (chosen["phalp"]["small_w"], chosen["phalp"]["small_h"], chosen["use_gt"]) == (0, 0, True)


def test_settings_of_upstreams_tracker_are_handed_on():
    options = parse_run([*NEEDED, "--set", "phalp.low_th_c=0.5", "--set", "phalp.n_init=3", "--set", "phalp.shape=true", "--set", "phalp.x=a=b"])
    chosen = config.overrides(options, given_ids=False)["phalp"]
    assert (chosen["low_th_c"], chosen["n_init"], chosen["shape"], chosen["x"]) == (0.5, 3, True, "a=b")
    assert isinstance(chosen["n_init"], int) and chosen["detector"] == "vitdet"


@pytest.mark.parametrize("text", ["video.end_frame=5", "phalp.detector=maskrcnn", "phalp.low_th_c", "phalp.=1", "device=cpu", "phalp.a.b=1"])
def test_other_settings_have_options_of_their_own(text):
    with pytest.raises(EngineError) as refused:
        parse_run([*NEEDED, "--set", text])
    assert refused.value.failure is Failure.USAGE and text in refused.value.message


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


@pytest.mark.parametrize(("error", "failure"), [
    (OutOfMemoryError("CUDA out of memory. Tried to allocate"), Failure.GPU_OUT_OF_MEMORY),
    (RuntimeError("CUDA error: out of memory"), Failure.GPU_OUT_OF_MEMORY),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), Failure.HOST_OUT_OF_MEMORY),
    (MemoryError(), Failure.HOST_OUT_OF_MEMORY),
    (RuntimeError("Found no NVIDIA driver on your system"), Failure.GPU_UNAVAILABLE),
    (RuntimeError("CUDA error: no kernel image is available for execution on the device"), Failure.GPU_UNAVAILABLE),
    (OSError(errno.ENOSPC, "No space left on device", "pose.json"), Failure.OUTPUT_NOT_WRITABLE),
    (OSError(errno.EDQUOT, "Disk quota exceeded"), Failure.OUTPUT_NOT_WRITABLE),
    (OSError(errno.ENOENT, "No such file"), Failure.INTERNAL),
    (ValueError("something"), Failure.INTERNAL),
])
def test_what_an_exception_means(error, failure):
    assert classify(error).failure is failure


def test_a_message_stays_one_field_of_one_line():
    assert one_line('a "quoted"\nname\x1b[31m\\') == "a 'quoted' name [31m/"
    assert len(one_line("x" * 5000)) == 600


@pytest.mark.parametrize(("declared", "decoded", "short"), [
    (0, 5, False), (100, 100, False), (100, 98, False), (100, 97, True), (10_000, 9_901, False), (10_000, 9_890, True),
    (5, 9, False),
])
def test_how_many_missing_frames_mean_a_broken_video(declared, decoded, short):
    assert video.is_short(declared, decoded) is short
