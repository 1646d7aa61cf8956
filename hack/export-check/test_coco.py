"""COCO files, read and evaluated by pycocotools."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


@pytest.fixture
def files(export, result):
    folder = export(result, "coco")
    return folder / "coco.json", folder / "coco-results.json"


def test_a_result_against_itself_is_perfect(files):
    truth = COCO(str(files[0]))
    evaluation = COCOeval(truth, truth.loadRes(str(files[1])), "keypoints")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1.0), "AP"
    assert evaluation.stats[5] == pytest.approx(1.0), "AR"


def test_a_moved_joint_costs_precision(files, tmp_path):
    """The check above would be empty if everything scored 1."""
    results = json.loads(files[1].read_text())
    for r in results:
        r["keypoints"] = [v + (200 if i % 3 == 0 and v else 0) for i, v in enumerate(r["keypoints"])]
    moved = tmp_path / "moved.json"
    moved.write_text(json.dumps(results))
    truth = COCO(str(files[0]))
    evaluation = COCOeval(truth, truth.loadRes(str(moved)), "keypoints")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] < 0.1


def test_annotations_are_the_people_of_pose_json(files, result):
    dataset = COCO(str(files[0]))
    assert len(dataset.imgs) == result.document["video"]["frames"]
    assert len(dataset.anns) == len(result.people)
    category = dataset.loadCats([1])[0]
    assert len(category["keypoints"]) == 17
    for a in dataset.anns.values():
        person = result.people[a["image_id"] - 1, a["track_id"]]
        assert a["bbox"] == pytest.approx(person["bbox"])
        observed = person.get("observed", True)
        for name, (x, y, v) in zip(category["keypoints"], np.reshape(a["keypoints"], (17, 3)), strict=True):
            if name not in result.names:
                assert (x, y, v) == (0, 0, 0)
                continue
            px, py, visibility = person["joints2d"][result.names.index(name)]
            assert (x, y) == pytest.approx((px, py))
            assert v == (2 if observed and visibility >= 0.5 else 1)
