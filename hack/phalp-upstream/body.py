"""A body model of the project's own making with the shapes of SMPL, and the small files that go with it.

A closed surface of 84 rings by 82 points (and two poles) is an ellipsoid of a person's size; its joints lie where a person's
are, roughly. It is not SMPL, and nothing in it was taken from SMPL: it lets the code that reads SMPL run.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import scipy.sparse

RINGS, POINTS = 84, 82
VERTICES = RINGS * POINTS + 2  # 6890, as SMPL
FACES = 2 * RINGS * POINTS  # 13776, as SMPL
HEIGHT, WIDTH, DEPTH = 1.7, 0.5, 0.3  # metres
PARENTS = [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21]
# Where the joints are: share of half the width to the person's left, metres above the middle.
JOINTS = [(0, 0.05), (0.3, 0.0), (-0.3, 0.0), (0, 0.15), (0.35, -0.4), (-0.35, -0.4), (0, 0.27), (0.35, -0.75), (-0.35, -0.75),
          (0, 0.33), (0.4, -0.8), (-0.4, -0.8), (0, 0.5), (0.35, 0.45), (-0.35, 0.45), (0, 0.6), (0.6, 0.43), (-0.6, 0.43),
          (0.75, 0.25), (-0.75, 0.25), (0.8, 0.1), (-0.8, 0.1), (0.8, 0.02), (-0.8, 0.02)]


def surface() -> tuple[np.ndarray, np.ndarray]:
    """Vertices (6890, 3) in metres, y up, and faces (13776, 3)."""
    latitude = np.pi * (np.arange(RINGS) + 1) / (RINGS + 1)
    longitude = 2 * np.pi * np.arange(POINTS) / POINTS
    x = np.sin(latitude)[:, None] * np.cos(longitude)
    z = np.sin(latitude)[:, None] * np.sin(longitude)
    y = np.repeat(np.cos(latitude)[:, None], POINTS, axis=1)
    body = np.stack((x * WIDTH / 2, y * HEIGHT / 2, z * DEPTH / 2), axis=2).reshape(-1, 3)
    vertices = np.vstack((body, [[0, HEIGHT / 2, 0], [0, -HEIGHT / 2, 0]]))
    ring, point = np.meshgrid(np.arange(RINGS - 1), np.arange(POINTS), indexing="ij")
    a, b = ring * POINTS + point, ring * POINTS + (point + 1) % POINTS
    sides = np.concatenate((np.stack((a, a + POINTS, b), 2).reshape(-1, 3),
                            np.stack((b, a + POINTS, b + POINTS), 2).reshape(-1, 3)))
    around, after = np.arange(POINTS), (np.arange(POINTS) + 1) % POINTS
    top = np.stack((np.full(POINTS, VERTICES - 2), around, after), 1)
    last = (RINGS - 1) * POINTS
    bottom = np.stack((np.full(POINTS, VERTICES - 1), last + after, last + around), 1)
    return vertices, np.concatenate((sides, top, bottom)).astype(np.uint32)


def regressor(vertices: np.ndarray, places: list[tuple[float, float]]) -> np.ndarray:
    """Rows that give each place as a mix of two opposite points of the ring at its height."""
    rows = np.zeros((len(places), VERTICES))
    heights = vertices[:RINGS * POINTS, 1].reshape(RINGS, POINTS)[:, 0]
    for row, (side, height) in zip(rows, places):
        ring = int(np.abs(heights - height).argmin()) * POINTS
        row[ring], row[ring + POINTS // 2] = (1 + side) / 2, (1 - side) / 2
    return rows


def model(rng: np.random.Generator) -> dict:
    """The members that smplx reads, with SMPL's shapes and types."""
    vertices, faces = surface()
    joints = regressor(vertices, JOINTS)
    places = joints @ vertices
    distance = np.linalg.norm(vertices[:, None] - places[None], axis=2)
    weights = np.exp(-((distance / 0.08) ** 2)) + 1e-6
    return {
        "v_template": vertices, "f": faces, "weights": weights / weights.sum(axis=1, keepdims=True),
        "shapedirs": rng.normal(scale=0.003, size=(VERTICES, 3, 10)), "posedirs": rng.normal(scale=0.0005, size=(VERTICES, 3, 207)),
        "J_regressor": scipy.sparse.csc_matrix(joints), "J": places,
        "kintree_table": np.array([[p % 2**32 for p in PARENTS], range(24)], dtype=np.uint32),
        "bs_style": "lbs", "bs_type": "lrotmin",
    }


def texture_map() -> dict[str, np.ndarray]:
    """Face and barycentric weights of each texel of a map that unrolls the surface; the upper quarter stays empty."""
    column, row = np.meshgrid(np.arange(256), np.arange(256))
    used = row >= 64
    ring = np.clip((row - 64) * (RINGS - 1) // 192, 0, RINGS - 2)
    point = np.clip(column * POINTS // 256, 0, POINTS - 1)
    faces = np.where(used, ring * POINTS + point, -1)
    return {"fmap": faces.astype(np.int64), "bmap": np.full((256, 256, 3), 1 / 3, dtype=np.float32)}


def write(cache: Path, rng: np.random.Generator) -> None:
    """The body model and its companions, in the places where upstream looks for them."""
    vertices, faces = surface()
    body = model(rng)
    extra = regressor(vertices, [(0.1 * k - 0.9, 0.08 * k - 0.75) for k in range(19)])
    mean = {"pose": np.tile([1.0, 0, 0, 1, 0, 0], 24), "shape": np.zeros(10), "cam": np.array([0.9, 0, 0])}
    # Turned by half a turn about x: the camera's y points down.
    mean["pose"][:6] = [1, 0, 0, -1, 0, 0]
    texture = texture_map()
    uv = np.stack((np.tile(np.arange(POINTS) / POINTS, RINGS), np.repeat(np.arange(RINGS) / RINGS, POINTS)), 1)
    for folder, smpl in (("phalp/3D", "phalp/3D/models/smpl"), ("4DHumans/data", "4DHumans/data/smpl")):
        (cache / smpl).mkdir(parents=True, exist_ok=True)
        (cache / smpl / "SMPL_NEUTRAL.pkl").write_bytes(pickle.dumps(body, protocol=2))
        (cache / folder / "SMPL_to_J19.pkl").write_bytes(pickle.dumps(extra, protocol=2))
        np.savez(cache / folder / "smpl_mean_params.npz", **mean)
    folder = cache / "phalp/3D"
    np.savez(folder / "texture.npz", smpl_faces=faces, vt=np.vstack((uv, [[0, 0], [0, 1]])), ft=faces.astype(np.int64))
    np.save(folder / "fmap_256.npy", texture["fmap"])
    np.save(folder / "bmap_256.npy", texture["bmap"])
    np.save(folder / "head_faces.npy", faces[-POINTS:])
    np.save(folder / "mean_std.npy", np.stack((np.zeros((1, 226)), np.ones((1, 226)))))
