"""Stand-in for upstream's tracker: its constructor's order, its methods' names and shapes."""

import os
import subprocess
import time
import urllib.request
from collections import deque

import numpy as np
import pyrender  # noqa: F401  upstream needs it at import, whether or not it draws
import torch
from torch import nn

from phalp.utils.utils_detectron2 import DefaultPredictor_Lazy

FAULT = os.environ.get("STANDIN_FAULT", "")
FILES = {"vitdet": "model_final_f05665.pkl", "maskrcnn": "model_final_ef3a80.pkl"}


class Track:
    def __init__(self, number, data, settings):
        self.track_id, self.hits, self.time_since_update, self.dead = number, 1, 0, False
        self.settings = settings
        self.confirmed = bool(data["annotations"])
        self.track_data = {"history": deque([data] * 7, maxlen=7)}

    def is_confirmed(self):
        return self.confirmed and not self.dead

    def update(self, data):
        self.track_data["history"].append(data)
        self.hits, self.time_since_update = self.hits + 1, 0
        self.confirmed = self.confirmed or self.hits >= self.settings.n_init

    def miss(self):
        self.dead = not self.confirmed or self.time_since_update > self.settings.max_age_track


class Follower:
    def __init__(self, config):
        self.config, self.tracks, self._next_id, self.tracked_cost = config, [], 1, {}

    def predict(self):
        for track in self.tracks:
            track.time_since_update += 1

    def update(self, detections, number, _name, _shot):
        self.tracked_cost[number] = np.zeros((len(self.tracks), 512))
        free = list(self.tracks)
        for data in detections:
            track = next((t for t in free if self._same(t, data)), None)
            if track is None:
                self.tracks.append(Track(self._next_id, data, self.config.phalp))
                self._next_id += 1
            else:
                free.remove(track)
                track.update(data)
        for track in free:
            track.miss()
        self.tracks = [t for t in self.tracks if not t.dead]

    def _same(self, track, data):
        last = track.track_data["history"][-1]
        if self.config.use_gt:
            return last["ground_truth"] == data["ground_truth"]
        return float(np.abs(last["bbox"] - data["bbox"]).max()) < 25


class PHALP(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.cfg = cfg
        self.cached_download_from_drive()
        if FAULT == "download":
            urllib.request.urlopen("https://example.invalid/weights.pth")
        self.setup_hmr()
        self.setup_predictor()
        self.setup_detectron2()
        self.setup_visualizer()
        self.default_setup()

    def setup_detectron2(self):
        self.detector = DefaultPredictor_Lazy("https://example.invalid/" + FILES[self.cfg.phalp.detector])
        self.setup_detectron2_with_RPN()

    def setup_detectron2_with_RPN(self):
        raise RuntimeError("the second detector was loaded")

    def setup_deepsort(self):
        self.tracker = Follower(self.cfg)

    def get_detections(self, image, _name, number, additional, _measurements):
        assert additional == {}
        if number == 3:
            fail()
        boxes, masks = self.detector(image)
        scores = np.full(len(boxes), 0.9, dtype="f4")
        return boxes, boxes, masks, scores, np.zeros(len(boxes), dtype="i8"), [1] * len(boxes), [[] for _ in boxes]

    def run_additional_models(self, _image, boxes, *_rest):
        return list(range(len(boxes)))

    def get_human_features(self, image, masks, edges, _widened, scores, name, _classes, number, measurements, ids, notes, extra):
        height, width, side, left, top = measurements
        people = []
        for k, (x0, y0, x1, y1) in enumerate(edges):
            if x1 - x0 < self.cfg.phalp.small_w or y1 - y0 < self.cfg.phalp.small_h:
                continue
            people.append(self._person(image, masks[k], (x0, y0, x1, y1), measurements) | {
                "conf": scores[k], "img_path": name, "img_name": name, "class_name": 0, "time": number,
                "ground_truth": ids[k], "annotations": notes[k], "extra_data": extra[k]})
        return people

    def _person(self, image, mask, edges, measurements):
        """A body of fixed pose whose joints lie on the box, seen by upstream's camera."""
        height, width, side, left, top = measurements
        x0, y0, x1, y1 = (float(v) for v in edges)
        rng = np.random.default_rng(5)
        joints = np.vstack((rng.uniform(-0.5, 0.5, size=(44, 3)) * [0.5, 1.7, 0.3], [[0, 0, 0]]))
        scale = max(x1 - x0, y1 - y0) / side * 256
        middle = (np.array([(x0 + x1) / 2 + left, (y0 + y1) / 2 + top]) / side - 0.5) * 256
        z = 2 * 5000 / (0.9 * scale)
        camera = np.array([middle[0] * z / 5000, middle[1] * z / 5000, z])
        points = joints + camera
        flat = points[:, :2] / points[:, 2:] * 5000 / 256 + 0.5
        return {"bbox": np.array([x0, y0, x1 - x0, y1 - y0]), "mask": {"size": list(mask.shape), "counts": "x" * 200},
                "center": np.array([(x0 + x1) / 2, (y0 + y1) / 2]), "scale": max(x1 - x0, y1 - y0) / side, "size": [height, width],
                "smpl": {"global_orient": np.eye(3, dtype="f4")[None], "body_pose": np.tile(np.eye(3, dtype="f4"), (23, 1, 1)),
                         "betas": np.zeros(10, dtype="f4")},
                "camera": camera.astype("f4"), "camera_bbox": np.array([0.9, 0, 0], dtype="f4"),
                "3d_joints": joints.astype("f4"), "2d_joints": flat.reshape(-1).astype("f4")}


def fail():
    if FAULT == "raise":
        print("upstream says something")
        raise ValueError("something broke")
    if FAULT == "gpu_memory":
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    if FAULT == "memory":
        raise MemoryError
    if FAULT == "stdin" and (os.read(0, 1 << 16) or subprocess.run(["cat"], capture_output=True, check=True).stdout):
        raise ValueError("a clip was eaten")
    if FAULT == "sleep":
        time.sleep(120)
