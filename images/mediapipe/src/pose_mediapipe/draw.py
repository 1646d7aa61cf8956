"""Skeletons, labels and hidden faces drawn into BGR pictures."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np

from pose_mediapipe import skeleton
from pose_mediapipe.result import PersonFrame

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SUBPIXEL = 4  # bits of fraction that OpenCV's drawing calls take
FAINT = 0.2  # joints less visible than this are guesses; limbs to them are drawn thin and dark
PATCH = 6.0  # pixels; the finest that is left of a hidden head
UPRIGHT = 0.6  # width by height of the box of somebody who walks; wider ones bend, sit or lie

Circle = tuple[float, float, float]  # centre x, y and radius, pixels


def colour(person_id: int) -> tuple[int, int, int]:
    """A bright BGR colour; ids next to each other get hues far apart."""
    hue = (person_id * 0.618034) % 1.0
    r, g, b = colorsys.hsv_to_rgb(hue, 0.65 if person_id % 2 else 0.85, 1.0)
    return round(255 * b), round(255 * g), round(255 * r)


def head_circles(person: PersonFrame, frame_height: float = 0.0) -> list[Circle]:
    """Circles that cover the whole head, hair included: where the joints have it, and where it is in most boxes. The joints
    alone are no proof: a model that is unsure puts them anywhere."""
    head = person.points[list(skeleton.HEAD)]
    shoulders = person.points[[skeleton.LEFT_SHOULDER, skeleton.RIGHT_SHOULDER]].mean(axis=0)
    hips = person.points[[skeleton.LEFT_HIP, skeleton.RIGHT_HIP]].mean(axis=0)
    torso = float(np.hypot(*(shoulders - hips)))
    centre = head.mean(axis=0)
    spread = float(np.hypot(*(head - centre).T).max())
    radius = max(0.42 * torso, 1.7 * spread, 0.09 * float(person.box[3]), 4.0)
    unsure = not person.observed or float(person.visibility[list(skeleton.HEAD)].max()) < 0.5
    return [(float(centre[0]), float(centre[1]), radius), *([box_head(person.box, frame_height)] if unsure else [])]


def box_head(box: np.ndarray, frame_height: float = 0.0) -> Circle:
    """Where the head is in a box [x, y, w, h]: at the top of an upright person's; anywhere in one that is as wide as high, of
    somebody who bends, sits or lies. Where the frame's lower edge (frame_height, 0 if unknown) cuts the person off, the
    head is a greater part of what is left."""
    x, y, w, h = (float(v) for v in box)
    size = min(w, h / 3)
    if frame_height and y + h >= 0.99 * frame_height:
        size = max(size, min(1.2 * w, h))
    if (share := (w / h - UPRIGHT) / (1 - UPRIGHT)) > 0:
        size = max(size, min(share, 1.0) * max(w, h))
    radius = max(size / 2, 4.0)
    return x + w / 2, y + min(radius, h / 2), radius

def hide_circle(picture: np.ndarray, cx: float, cy: float, radius: float) -> None:
    """Replaces a disc by a few patches of its mean colours, in place. What is averaged away cannot be sharpened back.

    A patch is half as wide as the radius and never less than PATCH pixels: of a disc that the frame's edge cuts, no finer
    picture is left than of a whole one, and of a small head nothing but its colour.
    """
    height, width = picture.shape[:2]
    x0, x1 = max(int(cx - radius), 0), min(int(cx + radius) + 1, width)
    y0, y1 = max(int(cy - radius), 0), min(int(cy + radius) + 1, height)
    if x1 <= x0 or y1 <= y0:
        return
    part = picture[y0:y1, x0:x1]
    patch = max(radius / 2, PATCH)
    patches = (max(1, round((x1 - x0) / patch)), max(1, round((y1 - y0) / patch)))
    coarse = cv2.resize(part, patches, interpolation=cv2.INTER_AREA)
    smooth = cv2.resize(coarse, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
    rows, columns = np.ogrid[y0:y1, x0:x1]
    inside = (columns - cx) ** 2 + (rows - cy) ** 2 <= radius**2
    part[inside] = smooth[inside]

def draw_person(picture: np.ndarray, person: PersonFrame, scale: float = 1.0) -> None:
    """Draws one skeleton with its id, in place; scale is picture pixels for each video pixel."""
    points = person.points * scale
    tint = colour(person.id)
    height = float(person.box[3]) * scale
    width = max(1, round(height / 75))
    for a, b in skeleton.EDGES:
        seen = person.observed and min(person.visibility[a], person.visibility[b]) >= FAINT
        shade = tint if seen else tuple(c // 2 for c in tint)
        if seen:
            _line(picture, points[a], points[b], (20, 20, 20), width + 2)
        _line(picture, points[a], points[b], shade, width if seen else 1)
    _label(picture, f"{person.id}", float(points[:, 0].mean()), float(person.box[1]) * scale, tint, height)


def draw_frame_number(picture: np.ndarray, number: int, people: int) -> None:
    """Writes the frame's number in the source video and the number of people into the top left corner, in place."""
    size = max(picture.shape[0] / 900, 0.4)
    text = f"frame {number}  people {people}"
    (w, h), base = cv2.getTextSize(text, _FONT, size, 1)
    cv2.rectangle(picture, (0, 0), (w + 12, h + base + 10), (0, 0, 0), -1)
    cv2.putText(picture, text, (6, h + 5), _FONT, size, (255, 255, 255), 1, cv2.LINE_AA)


def _line(picture: np.ndarray, a: np.ndarray, b: np.ndarray, shade: tuple[int, ...], width: int) -> None:
    limit = 4 * max(picture.shape[:2])
    start, end = (tuple(int(v) for v in np.clip(p, -limit, limit) * 2**_SUBPIXEL) for p in (a, b))
    cv2.line(picture, start, end, shade, width, cv2.LINE_AA, _SUBPIXEL)


def _label(picture: np.ndarray, text: str, cx: float, top: float, tint: tuple[int, int, int], height: float) -> None:
    size = min(max(height / 180, 0.45), 1.5)
    (w, h), base = cv2.getTextSize(text, _FONT, size, 1)
    x = int(min(max(cx - w / 2, 2), picture.shape[1] - w - 4))
    y = int(min(max(top - 4, h + 4), picture.shape[0] - 4))
    cv2.rectangle(picture, (x - 2, y - h - 3), (x + w + 2, y + base - 1), tint, -1)
    cv2.putText(picture, text, (x, y), _FONT, size, (0, 0, 0), 1, cv2.LINE_AA)
