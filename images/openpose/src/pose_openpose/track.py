"""Who is who over time. Pure: people of each frame in, tracks out. OpenPose looks at each frame alone.

A track moves on at its last velocity. All pairs of tracks and people are matched nearest first; near is a mean distance of the
joints that both show, in heights of the person.
"""

import array

MAX_DISTANCE = 0.4  # of the height, for a track seen in the frame before
DISTANCE_GROWTH = 0.05  # more for each frame in which it was missed
MAX_RATIO = 1.8  # of two heights
LEAST_SIGHTINGS = 3
VELOCITY_GAIN = 0.4
GAP_SECONDS = 1.0


class Track:
    """One person's sightings. Numbers lie packed: a long video has millions of them."""

    def __init__(self, key):
        self.key = key
        self.frames = array.array("l")
        self.boxes = array.array("d")
        self.scores = array.array("d")
        self.joints = array.array("f")
        self.velocity = (0.0, 0.0)
        self.misses = 0

    def __len__(self):
        return len(self.frames)

    def box(self, at):
        return tuple(self.boxes[4 * at:4 * at + 4])

    def joint_list(self, at):
        """(x, y, visibility) of each joint of a sighting."""
        size = len(self.joints) // len(self.frames)
        numbers = self.joints[at * size:(at + 1) * size]
        return list(zip(numbers[::3], numbers[1::3], numbers[2::3]))

    def add(self, frame, person):
        if self.frames:
            steps = frame - self.frames[-1]
            (x, y, w, h), (a, b, c, d) = self.box(len(self) - 1), person.box
            gain = VELOCITY_GAIN if len(self) > 1 else 1.0
            move = ((a + c / 2 - x - w / 2) / steps, (b + d / 2 - y - h / 2) / steps)
            self.velocity = tuple(v + gain * (m - v) for v, m in zip(self.velocity, move))
        self.frames.append(frame)
        self.boxes.extend(person.box)
        self.scores.append(person.score)
        for joint in person.joints:
            self.joints.extend(joint)
        self.misses = 0

    @property
    def total_height(self):
        """Sum of the box heights of all sightings, pixels: who is near and long in sight has most."""
        return sum(self.boxes[3::4])


class Tracker:
    """Give it the people of one frame after the other."""

    def __init__(self, fps):
        self._max_gap = min(max(int(round(fps * GAP_SECONDS)), 4), 60)
        self._live = []
        self.tracks = []
        self.frames = 0

    def update(self, people):
        pairs = sorted((cost, t, p) for t, track in enumerate(self._live) for p, person in enumerate(people)
                       for cost in [distance(track, person)] if cost is not None)
        taken_tracks, taken_people = set(), set()
        for _, t, p in pairs:
            if t not in taken_tracks and p not in taken_people:
                self._live[t].add(self.frames, people[p])
                taken_tracks.add(t)
                taken_people.add(p)
        for t, track in enumerate(self._live):
            if t not in taken_tracks:
                track.misses += 1
        self._live = [track for track in self._live if track.misses <= (self._max_gap if len(track) >= LEAST_SIGHTINGS else 1)]
        for p, person in enumerate(people):
            if p not in taken_people:
                self._begin(person)
        self.frames += 1

    def _begin(self, person):
        track = Track(len(self.tracks) + 1)
        track.add(self.frames, person)
        self._live.append(track)
        self.tracks.append(track)


def distance(track, person):
    """How far a person is from where the track expects its own, in heights; None if that is too far, or of another size."""
    last = len(track) - 1
    height, tall = track.box(last)[3], person.box[3]
    if max(height, tall) > MAX_RATIO * min(height, tall):
        return None
    steps = track.misses + 1
    dx, dy = track.velocity[0] * steps, track.velocity[1] * steps
    both = [((a[0] + dx - b[0]) ** 2 + (a[1] + dy - b[1]) ** 2) ** 0.5
            for a, b in zip(track.joint_list(last), person.joints) if a[2] > 0 and b[2] > 0]
    if not both:
        return None
    far = sum(both) / len(both) / max(height, tall)
    return far if far <= MAX_DISTANCE + DISTANCE_GROWTH * track.misses else None


def select(tracks, frames, max_people):
    """People to report, in order of appearance; how many tracks were too short to be believed; how many people were left out
    because fewer are wanted. max_people 0: all."""
    least = min(LEAST_SIGHTINGS, frames)
    people = [t for t in tracks if len(t) >= least]
    kept = sorted(people, key=lambda t: (-t.total_height, t.key))[:max_people] if max_people else people
    return sorted(kept, key=lambda t: (t.frames[0], t.key)), len(tracks) - len(people), len(people) - len(kept)
