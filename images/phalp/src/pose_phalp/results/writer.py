"""Puts the passes together, and makes files appear only when they are complete."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional

import numpy as np

from pose_phalp.errors import EngineError, Failure
from pose_phalp.results import document, facts as facts_module, quality, replay, spool as spool_module
from pose_phalp.results.archive import Archive
from pose_phalp.results.document import POSE_FILE, SMPL_FILE
from pose_phalp.results.facts import MOST_FRAMES, Facts
from pose_phalp.results.gather import Gathering
from pose_phalp.results.quality import Person
from pose_phalp.results.spool import Spool


def write(frames: Iterable[Mapping[str, Any]], meta: Mapping[str, Any], output_dir: Any,
          progress: Optional[Callable[[int, int], None]] = None) -> Dict[str, Any]:
    """Writes smpl.npz and pose.json into output_dir and returns figures for the log; see the package for frames and meta.

    progress is called with the frames written and their number while the second pass goes on. Memory does not grow with the
    number of frames. EngineError RESULT_INVALID names the frame and person whose numbers are broken; OSError names the file
    that could not be written. After either there is no pose.json.
    """
    folder = Path(output_dir)
    facts = facts_module.read(meta)
    with _naming(folder / POSE_FILE):
        for name in (POSE_FILE, SMPL_FILE):  # of an earlier run: nobody may take them for this one's
            (folder / name).unlink(missing_ok=True)
    with ExitStack() as stack:
        with _naming(folder / POSE_FILE):
            spool = stack.enter_context(spool_module.opened(folder))
        gathering = Gathering(facts, spool)
        for item in frames:
            with _naming(folder / POSE_FILE):
                gathering.add(item)
        count = _count(facts, gathering)
        with _naming(folder / POSE_FILE):
            return _write(facts, gathering, spool, count, folder, progress)


def _count(facts: Facts, gathering: Gathering) -> int:
    count = facts.frames()
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or not 1 <= count <= MOST_FRAMES:
        raise EngineError(Failure.NO_FRAMES, f"the video has {count!r} frames, a result has 1 to {MOST_FRAMES}")
    wanted = -(-int(count) // facts.stride)
    if gathering.looked_at != wanted:
        raise EngineError(Failure.RESULT_INVALID,
                          f"PHALP looked at {gathering.looked_at} frames; of {count} with a stride of {facts.stride} it had to "
                          f"be {wanted}; a part of the video is missing from its result")
    return int(count)


def _write(facts: Facts, gathering: Gathering, spool: Spool, count: int, folder: Path,
           progress: Optional[Callable[[int, int], None]]) -> Dict[str, Any]:
    kept = quality.select(gathering.people.values(), facts.max_people)
    people = list(kept.values())
    figures = _quality(facts, gathering, spool, kept, count)
    error = gathering.error / max(1, gathering.sightings)
    camera = document.camera(facts.view.camera, error, gathering.clipped)
    head = document.head(facts, count, camera, figures, people)
    rest = [_rest_joints(facts, p) for p in people]
    rows = 0
    with ExitStack() as stack:
        archive = Archive(folder)
        stack.callback(archive.close)
        parameters = stack.enter_context(_partial(folder / SMPL_FILE, "wb"))
        pose = stack.enter_context(_partial(folder / POSE_FILE))
        pose.write(document.text(head)[:-1] + ',"frames":[')
        for shot in replay.shots(spool, kept, facts, count):
            pose.write(("," if shot.index else "") + "\n" + _frame(shot, archive))
            rows += len(shot.people)
            if progress is not None:
                progress(shot.index + 1, count)
        pose.write("\n]}\n")
        archive.write(parameters, kept, rest, facts.fps, facts.world_fps)
    for name in (SMPL_FILE, POSE_FILE):
        os.replace(_partial_name(folder / name), folder / name)
    return {"frames": count, "people": len(people), "entries": rows, "sightings": gathering.sightings,
            "clipped": gathering.clipped, "meanProjectionErrorPx": round(error, 3), **figures}


def _frame(shot: replay.Shot, archive: Archive) -> str:
    entries: List[Dict[str, Any]] = []
    for number, seen, value in shot.people:
        entries.append(document.person(number, seen, value))
        archive.append(shot.index, number, seen, value)
    return document.frame(shot.index, shot.time, entries)


def _quality(facts: Facts, gathering: Gathering, spool: Spool, kept: Dict[int, Person], count: int) -> Dict[str, Any]:
    switches = quality.handovers(kept.values(), facts.fps) + gathering.swaps.count(kept)
    figures: Dict[str, Any] = {"coverage": round(replay.observed_frames(spool, kept) / count, 3),
                               "gaps": sum(p.gaps for p in kept.values()), "idSwitchesSuspected": switches}
    filtered = facts.filtered()
    if filtered is not None:
        figures["peopleFiltered"] = int(filtered)
    if facts.max_people:
        figures["peopleNotSelected"] = len(gathering.people) - len(kept)
    return figures


def _rest_joints(facts: Facts, person: Person) -> np.ndarray:
    joints = np.asarray(facts.rest_joints(person.betas / person.seen), np.float64)
    if joints.shape != (24, 3) or not np.isfinite(joints).all() or np.abs(joints).max() > 10:
        raise EngineError(Failure.RESULT_INVALID, f"the rest joints of person {person.id} have the shape {joints.shape} or "
                                                  "numbers beyond 10 m; the SMPL file may be another model's")
    return joints


def _partial_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


@contextmanager
def _partial(path: Path, mode: str = "w") -> Iterator[Any]:
    """A file under another name, on the disk when the block is through and gone if it fails."""
    partial = _partial_name(path)
    file = open(partial, mode, **({} if "b" in mode else {"encoding": "utf-8"}))
    try:
        yield file
        file.flush()
        os.fsync(file.fileno())
        file.close()
    except BaseException:
        partial.unlink(missing_ok=True)
        try:
            file.close()
        except OSError:
            pass  # it tried to write what it held; the first error counts
        raise


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Gives an error of the disk the name of what was being written: files without names have none."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror} while PHALP's result was written", str(path)) from error
