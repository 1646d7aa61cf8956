"""Model files and boxes from outside: hostile until shown to be right."""

import json

import make_models
import numpy as np
import onnx
import pytest
import stand_ins
from onnx import TensorProto, helper

from pose_onnx import models, wire
from pose_onnx.boxes import read_boxes
from pose_onnx.errors import EngineError, Failure


def external_tensor(name="w"):
    tensor = helper.make_tensor(name, TensorProto.FLOAT, [1], b"\0\0\0\0", raw=True)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


def plain_model():
    return stand_ins.constant_outputs({"y": (1, 2)})


def nested(model, depth=1):
    graph = helper.make_graph([], "inner", [], [])
    graph.initializer.append(external_tensor())
    for _ in range(depth):
        graph = helper.make_graph([helper.make_node("If", ["c"], [], then_branch=graph)], "outer", [], [])
    model.graph.node.append(graph.node[0])


PLACES = {
    "weights": lambda m: m.graph.initializer.append(external_tensor()),
    "sparse weights": lambda m: m.graph.sparse_initializer.add().values.CopyFrom(external_tensor()),
    "a constant": lambda m: m.graph.node.append(helper.make_node("Constant", [], ["k"], value=external_tensor())),
    "a graph within a graph": lambda m: nested(m, 3),
    "a function": lambda m: m.functions.add().node.append(helper.make_node("Constant", [], ["k"], value=external_tensor())),
    "training": lambda m: m.training_info.add().initialization.initializer.append(external_tensor()),
}


@pytest.mark.parametrize("place", PLACES)
def test_references_to_other_files_are_seen_wherever_they_stand(place):
    model = plain_model()
    assert not wire.has_external_data(model.SerializeToString())
    PLACES[place](model)
    assert wire.has_external_data(model.SerializeToString())


def test_model_that_refers_to_other_files_is_refused(tmp_path):
    model = plain_model()
    model.graph.initializer.append(external_tensor())
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(EngineError, match="keeps weights in other files") as caught:
        models.read_model(path)
    assert caught.value.failure is Failure.MODEL_UNREADABLE


def test_graphs_cannot_be_nested_without_end():
    model = plain_model()
    nested(model, 25)  # three messages each
    with pytest.raises(wire.NotONNXError, match="nested"):
        wire.has_external_data(model.SerializeToString())


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a zip, as .pt files are", b"\xff" * 40, b"\x3a\xff\xff\xff\x7f", b"hello"])
def test_other_files_are_no_models(content, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(EngineError) as caught:
        models.read_model(path)
    assert caught.value.failure is Failure.MODEL_UNREADABLE
    assert "no ONNX model" in caught.value.message


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_model_that_breaks_off(share, tmp_path):
    content = plain_model().SerializeToString()
    path = tmp_path / "m.onnx"
    path.write_bytes(content[:int(len(content) * share)])
    with pytest.raises(EngineError) as caught:
        models.Model(models.read_model(path), "cpu", 1)
    assert caught.value.failure is Failure.MODEL_UNREADABLE


def test_large_model_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "MAX_BYTES", 100)
    path = tmp_path / "m.onnx"
    path.write_bytes(plain_model().SerializeToString())
    with pytest.raises(EngineError, match="larger"):
        models.read_model(path)


def test_architectures_have_the_published_number_of_weights():
    """YOLOv8n-pose 3,289,964 as its exporter prints; RTMPose-s 5.47 million; RTMDet-nano for people 0.99; YOLOX-nano 0.91."""
    assert make_models.yolov8n_pose(64)[1].weights == 3_289_964
    assert round(make_models.rtmpose_s()[1].unfused / 1e6, 2) == 5.47
    assert round(make_models.rtmdet_nano(64)[1].unfused / 1e6, 2) == 0.99
    assert round(make_models.yolox_nano(64)[1].unfused / 1e6, 2) == 0.91


def test_gpu_without_cuda_is_said(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(plain_model().SerializeToString())
    with pytest.raises(EngineError) as caught:
        models.Model(models.read_model(path), "gpu", 1)
    assert caught.value.failure is Failure.GPU_UNAVAILABLE


# --- boxes ------------------------------------------------------------------------------------------------------------


def boxes(*frames):
    return {"apiVersion": "pose.dev/v1alpha1", "kind": "PoseBoxes", "frames": list(frames)}


def one(bbox=(10, 20, 30, 40), **more):
    return {"bbox": list(bbox), **more}


def given(tmp_path, document, size=(100, 80)):
    path = tmp_path / "boxes.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return read_boxes(path, size)


def test_boxes_are_those_of_their_frames(tmp_path):
    source = given(tmp_path, boxes({"index": 1, "boxes": [one(score=0.5, id=7), one((500, 0, 5, 5), id=8)]},
                                   {"index": 9, "boxes": [one(id=7)]}))
    assert len(source.detect(None)) == 0
    found = source.detect(None)
    assert (found.boxes.tolist(), found.scores.tolist(), found.ids.tolist()) == ([[10, 20, 30, 40]], [0.5], [7])
    assert (source.outside, source.beyond_end(), source.id_shift) == (1, 1, 0)


def test_ids_from_0_are_moved(tmp_path):
    source = given(tmp_path, boxes({"index": 0, "boxes": [one(id=0), one(id=4)]}))
    assert source.detect(None).ids.tolist() == [1, 5]
    assert source.id_shift == 1


BAD = {
    "no JSON": "frame,x,y,w,h\n0,1,2,3,4\n",
    "another kind": {"kind": "PoseResult", "frames": []},
    "no list": {"kind": "PoseBoxes", "frames": {}},
    "deep": "[" * 100_000,
    "frame below 0": boxes({"index": -1, "boxes": []}),
    "frame that is a truth": boxes({"index": True, "boxes": []}),
    "frame twice": boxes({"index": 1, "boxes": []}, {"index": 1, "boxes": []}),
    "three numbers": boxes({"index": 0, "boxes": [one((1, 2, 3))]}),
    "no width": boxes({"index": 0, "boxes": [one((1, 2, 0, 4))]}),
    "NaN": '{"kind": "PoseBoxes", "frames": [{"index": 0, "boxes": [{"bbox": [NaN, 1, 1, 1]}]}]}',
    "endless": '{"kind": "PoseBoxes", "frames": [{"index": 0, "boxes": [{"bbox": [1e999, 1, 1, 1]}]}]}',
    "text": boxes({"index": 0, "boxes": [one(("1", 2, 3, 4))]}),
    "score above 1": boxes({"index": 0, "boxes": [one(score=2)]}),
    "ids for some": boxes({"index": 0, "boxes": [one(id=1), one()]}),
    "id twice": boxes({"index": 0, "boxes": [one(id=1), one(id=1)]}),
    "too many": boxes({"index": 0, "boxes": [one()] * 1001}),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_boxes_are_refused(case, tmp_path):
    with pytest.raises(EngineError) as caught:
        given(tmp_path, BAD[case])
    assert caught.value.failure is Failure.BOXES_INVALID


def test_model_with_other_inputs_is_refused(tmp_path):
    g = make_models.Graph(1)
    model = g.model({"a": [1, 3, 64, 64], "b": [1]}, {"y": (g.op("ReduceMean", "a", keepdims=0), [])})
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    with pytest.raises(EngineError, match=r"expected one input .*found a tensor\(float\) \(1, 3, 64, 64\), b"):
        models.Model(models.read_model(path), "cpu", 1)


@pytest.mark.parametrize("shape", [[2, 3, 64, 64], [1, 1, 64, 64], [1, 3, 100, 64], [1, 3, 8192, 64]])
def test_model_of_other_pictures_is_refused(shape, tmp_path):
    g = make_models.Graph(1)
    path = tmp_path / "m.onnx"
    onnx.save(g.model({"a": shape}, {"y": (g.op("ReduceMean", "a", keepdims=0), [])}), path)
    with pytest.raises(EngineError, match="expected"):
        models.Model(models.read_model(path), "cpu", 1)


def test_half_precision_is_fed_and_read(tmp_path):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT16, [1, 3, 64, 64])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT16, [1, 3, 64, 64])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [x], [y])
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    (out,) = models.Model(models.read_model(path), "cpu", 1).run(np.full((1, 3, 64, 64), 0.5, np.float32))
    assert out.dtype == np.float32 and out.max() == 0.5
