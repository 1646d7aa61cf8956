"""First pass: the engine's frames, checked one by one, go to the spool."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Tuple

import numpy as np

from pose_phalp.results import sighting
from pose_phalp.results.facts import Facts
from pose_phalp.results.quality import Person, Swaps
from pose_phalp.results.sighting import invalid
from pose_phalp.results.spool import Spool, entry_record, frame_record

MOST_PEOPLE = 1000  # in one frame
MOST_IDS = 100_000  # what the operator accepts in one result
LATEST = 1e9  # seconds


class Gathering:
    """people: all ids met. looked_at: frames so far. sightings, clipped and error (summed, pixels) count sightings."""

    def __init__(self, facts: Facts, spool: Spool) -> None:
        self._facts, self._spool = facts, spool
        self._time = -LATEST
        self.people: Dict[int, Person] = {}
        self.swaps = Swaps()
        self.looked_at = self.sightings = self.clipped = 0
        self.error = 0.0

    def add(self, item: Any) -> None:
        """One frame."""
        index, time = self._when(item)
        entries = self._whom(index, item)
        ids: List[int] = []
        boxes: List[np.ndarray] = []
        kept = 0
        for tid, seen, entry in entries:
            if seen:
                box = self._sight(index, tid, entry)
                ids.append(tid)
                boxes.append(box)
            elif not self._miss(index, tid):
                continue
            kept += 1
        self.swaps.frame(ids, boxes)
        self._spool.frames.append(frame_record(index, time, kept))
        self.looked_at += 1
        self._time = time

    def _when(self, item: Any) -> Tuple[int, float]:
        wanted = self.looked_at * self._facts.stride
        if not isinstance(item, Mapping):
            raise invalid(wanted, None, f"it is a {type(item).__name__}, a dictionary was expected")
        index, time = item.get("index"), item.get("time")
        if isinstance(index, bool) or not isinstance(index, (int, np.integer)) or index != wanted:
            raise invalid(wanted, None, f"its index is {index!r}")
        if isinstance(time, bool) or not isinstance(time, (int, float, np.number)) or not self._time < time <= LATEST:
            raise invalid(wanted, None, f"its time is {time!r} s, a number greater than that of the frame before was expected")
        return int(index), float(time)

    def _whom(self, index: int, item: Mapping[str, Any]) -> List[Tuple[int, bool, Mapping[str, Any]]]:
        people = item.get("people")
        if not isinstance(people, (list, tuple)):
            raise invalid(index, None, "people is missing or no list")
        if len(people) > MOST_PEOPLE:
            raise invalid(index, None, f"it has {len(people)} people, at most {MOST_PEOPLE} are possible")
        entries = sorted(((*sighting.identity(index, p), p) for p in people), key=lambda e: e[0])
        for (a, _, _), (b, _, _) in zip(entries, entries[1:]):
            if a == b:
                raise invalid(index, a, "it occurs twice")
        return entries

    def _sight(self, index: int, tid: int, entry: Mapping[str, Any]) -> np.ndarray:
        found = sighting.read(index, tid, entry, self._facts.view)
        box = found.value["box"].copy()
        row = self._spool.values.append(found.value)
        self._spool.entries.append(entry_record(index, tid, True, row))
        person = self.people.get(tid)
        if person is None:
            if len(self.people) >= MOST_IDS:
                raise invalid(index, tid, f"more than {MOST_IDS} ids")
            person = self.people[tid] = Person(tid, index, box)
        for number in person.gap:
            waiting = self._spool.entries.get(number).copy()
            waiting["after"] = row
            self._spool.entries.put(number, waiting)
        person.gap.clear()
        person.sight(index, box, found.value["betas"].astype(np.float64), row)
        self.sightings += 1
        self.clipped += found.clipped
        self.error += found.error
        return box

    def _miss(self, index: int, tid: int) -> bool:
        """Notes that the person is followed and not seen; False where nobody has seen it yet."""
        person = self.people.get(tid)
        if person is None:
            return False
        number = self._spool.entries.append(entry_record(index, tid, False, person.last_value))
        person.gap.append(number)
        return True
