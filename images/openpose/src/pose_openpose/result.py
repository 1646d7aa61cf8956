"""The pose.json document (docs/pose-json.md): tracks to numbers, numbers to a file."""

import json
import os

from pose_openpose import ENGINE_NAME, __version__, skeleton
from pose_openpose.report import EngineError, Failure

FILE_NAME = "pose.json"


def header(video, options, people, judged, frames, models):
    """Everything before frames[]. video: mp4.VideoInfo; options: source_start, capture_fps, device; judged: the document's
    quality; models: (name, sha256)."""
    facts = {"width": video.width, "height": video.height, "fps": round(video.fps, 6), "frames": frames,
             "startFrame": options.source_start, "durationSeconds": round(frames / video.fps, 3)}
    if options.capture_fps:
        facts["captureFPS"] = options.capture_fps
    return {
        "apiVersion": "pose.dev/v1alpha1",
        "kind": "PoseResult",
        "video": facts,
        "engine": {"name": ENGINE_NAME, "version": __version__, "device": options.device.upper(),
                   "models": [{"name": name, "sha256": digest} for name, digest in models]},
        "skeleton": {"name": skeleton.NAME, "joints": list(skeleton.JOINTS), "edges": [list(e) for e in skeleton.EDGES]},
        "units": {"bbox": "pixels", "joints2d": "pixels"},
        "coordinates": {"image": "x-right-y-down"},
        "quality": judged,
        "people": [{"id": k, "firstFrame": t.frames[0], "lastFrame": t.frames[-1], "framesSeen": len(t)}
                   for k, t in enumerate(people, 1)],
    }


def frame_entries(people, frames):
    """frames[].people of each frame, ids ascending."""
    cursors = [0] * len(people)
    for frame in range(frames):
        present = []
        for k, track in enumerate(people):
            while cursors[k] + 1 < len(track) and track.frames[cursors[k] + 1] <= frame:
                cursors[k] += 1
            if track.frames[0] <= frame <= track.frames[-1]:
                present.append(_entry(k + 1, track, cursors[k], frame))
        yield present


def _entry(number, track, at, frame):
    """One element of frames[].people[], rounded as the format says; a straight line between sightings in a gap."""
    box, score, joints = track.box(at), track.scores[at], track.joint_list(at)
    observed = track.frames[at] == frame
    if not observed:
        share = (frame - track.frames[at]) / (track.frames[at + 1] - track.frames[at])
        box = [a + share * (b - a) for a, b in zip(box, track.box(at + 1))]
        score += share * (track.scores[at + 1] - score)
        joints = [(x + share * (u - x), y + share * (v - y), 0.0)
                  for (x, y, _), (u, v, _) in zip(joints, track.joint_list(at + 1))]
    entry = {"id": number, "bbox": [round(v, 1) for v in box], "score": round(score, 3)}
    if not observed:
        entry["observed"] = False
    entry["joints2d"] = [[round(x, 1), round(y, 1), round(v, 2)] for x, y, v in joints]
    return entry


def document(head, entries):
    """The text of the document in pieces, one frame at a time."""
    yield _json(head)[:-1] + ',"frames":['
    for index, people in enumerate(entries):
        yield ("," if index else "") + "\n" + _json({"index": index, "people": people})
    yield "\n]}\n"


def _json(value):
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def write_document(folder, pieces):
    """Writes pose.json under a temporary name and renames it when every byte is on the disk."""
    partial, target = folder / ("." + FILE_NAME + ".partial"), folder / FILE_NAME
    try:
        with open(str(partial), "w", encoding="utf-8") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        os.replace(str(partial), str(target))
    except OSError as failure:
        if partial.exists():
            partial.unlink()
        raise EngineError(Failure.OUTPUT_NOT_WRITABLE,
                          "cannot write {} in {}: {}".format(FILE_NAME, folder, failure.strerror)) from None
