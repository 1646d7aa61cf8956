"""Heads that `blurred` hides: where, how long, and how well. Upstream's renderer is replaced by one that draws nothing."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from pose_phalp import overlay
from pose_phalp.tracking import Frame, Sighting

WIDTH, HEIGHT = 320, 240


def noise():
    return np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def is_hidden(picture, x, y, half=6):
    """No detail is left around a place: of neighbours, which differ by some 80 in noise, none does by much."""
    part = picture[max(y - half, 0):y + half, max(x - half, 0):x + half].astype(int)
    return np.abs(np.diff(part, axis=1)).mean() < 12


@pytest.mark.parametrize(("box", "places"), [
    ((100, 60, 140, 180), [(120, 65), (120, 90)]),
    ((-20, 60, 20, 180), [(4, 70)]),
    ((100, -30, 160, 150), [(130, 8)]),
    ((100, 120, 180, 240), [(140, 130), (140, 205)]),
    ((40, 120, 200, 170), [(50, 145), (190, 145)]),
    ((100, 60, 108, 84), [(104, 62)]),
    ((318.5, 60, 360, 180), [(319, 70)]),
], ids=["upright", "left edge", "upper edge", "cut off below", "lying", "small", "a sliver"])
def test_the_head_of_a_box_is_hidden(box, places):
    picture = noise()
    overlay.hide_heads(picture, [box])
    for x, y in places:
        assert is_hidden(picture, x, y, 3 if box[2] - box[0] < 10 else 6), (x, y)


def test_the_rest_stays():
    picture = noise()
    overlay.hide_heads(picture, [(100, 60, 140, 180)])
    assert (picture[120:] == noise()[120:]).all() and (picture[:, 150:] == noise()[:, 150:]).all()


def test_what_the_edge_cuts_is_no_finer():
    """Of a head of which a sliver is in the picture, one column of patches is left, not five."""
    blocks = np.random.default_rng(1).integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), np.uint8)
    picture = blocks.repeat(8, axis=0).repeat(8, axis=1)
    overlay.hide_heads(picture, [(-158, 0, 2, 230)])
    assert np.ptp(picture[20, :15].astype(int), axis=0).max() <= 2


class Renderer:
    """Takes the pictures instead of drawing them."""

    def __init__(self):
        self.cfg = SimpleNamespace(render=SimpleNamespace(output_resolution=256, res=256, up_scale=1))
        self.visualizer = self
        self.pictures = []

    def reset_render(self, size):
        pass

    def render_video(self, entry):
        self.pictures.append(entry["frame"])
        return entry["frame"], (WIDTH, HEIGHT)


class Writer:
    def write(self, picture):
        pass

    def close(self):
        pass


def drawn(frames, tmp_path, monkeypatch, blurred=True):
    monkeypatch.setattr(overlay, "open_writer", lambda *_: Writer())
    renderer = Renderer()
    film = overlay.Overlay(renderer, tmp_path, 10.0, blurred)
    film.partial.write_text("")
    for frame in frames:
        film.add(frame)
        frame.picture = None  # as the run does
    film.finish()
    return renderer.pictures


BOX = (100.0, 60.0, 140.0, 180.0)


def film_of(seen):
    """A film in which somebody is found in the frames for which seen is true."""
    return [Frame(i, i, i / 10, picture=noise(), found=[BOX] if here else []) for i, here in enumerate(seen)]


def test_a_face_is_hidden_before_it_is_found_and_in_gaps(tmp_path, monkeypatch):
    seen = [False] * 8 + [True, False, False, True] + [False] * 8
    pictures = drawn(film_of(seen), tmp_path, monkeypatch)
    assert len(pictures) == len(seen)
    assert [is_hidden(p, 120, 80) for p in pictures] == [False] * 3 + [True] * 14 + [False] * 3


def test_a_hidden_person_is_covered_where_they_were(tmp_path, monkeypatch):
    film = film_of([True] + [False] * 20)
    for frame in film[1:]:
        frame.sightings = [Sighting(1, frame.index, {"bbox": (100.0, 60.0, 40.0, 120.0)})]
    assert all(is_hidden(p, 120, 80) for p in drawn(film, tmp_path, monkeypatch))


def test_nothing_waits_and_nothing_is_hidden_without_it(tmp_path, monkeypatch):
    pictures = drawn(film_of([True] * 3), tmp_path, monkeypatch, blurred=False)
    assert all((p == noise()).all() for p in pictures)


def test_pictures_that_wait_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(overlay, "MARGIN_BYTES", 2 * WIDTH * HEIGHT * 3)
    pictures = drawn(film_of([False] * 4 + [True] + [False] * 4), tmp_path, monkeypatch)
    assert [is_hidden(p, 120, 80) for p in pictures] == [False] * 2 + [True] * 5 + [False] * 2
