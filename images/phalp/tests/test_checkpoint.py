"""Checkpoints are read where they lie, and nothing in them is run."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
import standin_weights

from pose_phalp.checkpoint import LazyTensor, read_checkpoint
from pose_phalp.errors import EngineError, Failure

RNG = np.random.default_rng(4)
WEIGHTS = {"large": RNG.normal(size=(300, 120)).astype("f4"), "small": np.array([1, 2, 3], dtype="f4"),
           "counts": np.arange(5000), "flag": np.array(True), "half": RNG.normal(size=(90, 70)).astype("f2")}


def values(stored) -> np.ndarray:
    return stored.array(own=True) if isinstance(stored, LazyTensor) else stored


@pytest.mark.parametrize("protocol", range(1, 6))
def test_a_model_zoo_pickle_of_any_protocol(protocol, tmp_path):
    (tmp_path / "m.pkl").write_bytes(pickle.dumps({"model": WEIGHTS, "__author__": "me"}, protocol))
    read = read_checkpoint(tmp_path / "m.pkl", "model")
    assert isinstance(read["large"], LazyTensor), "large arrays stay in the file"
    assert set(read) == set(WEIGHTS)
    for name, array in WEIGHTS.items():
        assert np.array_equal(values(read[name]), array) and values(read[name]).dtype == array.dtype


def test_a_torch_file(tmp_path):
    weights = {"a": WEIGHTS["large"], "turned": WEIGHTS["large"].T, "counts": WEIGHTS["counts"]}
    (tmp_path / "m.ckpt").write_bytes(standin_weights.torch_file({"state_dict": weights, "epoch": 3}))
    read = read_checkpoint(tmp_path / "m.ckpt", "state_dict")
    for name, array in weights.items():
        assert np.array_equal(read[name].array(own=False), array), name
        assert np.array_equal(read[name].array(own=True), array), name


def test_writing_to_a_tensor_leaves_the_file_alone(tmp_path):
    path = tmp_path / "m.ckpt"
    path.write_bytes(standin_weights.torch_file({"state_dict": {"a": WEIGHTS["large"]}}))
    before = path.read_bytes()
    array = read_checkpoint(path, "state_dict")["a"].array(own=False)
    if array.flags.writeable:
        array[:] = 0
    assert path.read_bytes() == before


class Evil:
    def __reduce__(self):
        return os.mkdir, ("owned",)


def test_code_in_a_pickle_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.pkl").write_bytes(pickle.dumps({"first": Evil(), "model": WEIGHTS | {"evil": Evil()}}))
    assert set(read_checkpoint(tmp_path / "m.pkl", "model")) == set(WEIGHTS)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("share", [0, 0.0005, 0.1, 0.5, 0.9, 0.9999])
@pytest.mark.parametrize("form", ["pkl", "pth"])
def test_a_file_that_was_cut_off(form, share, tmp_path):
    torch = standin_weights.torch_file({"model": {"a": WEIGHTS["large"], "b": WEIGHTS["counts"]}})
    data = pickle.dumps({"model": WEIGHTS}, 4) if form == "pkl" else torch
    path = tmp_path / f"m.{form}"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(EngineError) as refused:
        read_checkpoint(path, "model")
    assert refused.value.failure is Failure.MODEL_UNREADABLE
    assert str(path) in refused.value.message


def test_damaged_bytes_never_crash(tmp_path):
    """Every outcome is fine but an exception of another kind, or a tensor beyond the file."""
    whole = {"m.pkl": pickle.dumps({"model": WEIGHTS}, 4),
             "m.pth": standin_weights.torch_file({"model": {"a": WEIGHTS["large"], "b": WEIGHTS["counts"]}})}
    rng = np.random.default_rng(6)
    for name, data in whole.items():
        for _ in range(150):
            broken = bytearray(data)
            for place in rng.integers(0, min(len(data), 1500), size=3):
                broken[place] = rng.integers(256)
            (tmp_path / name).write_bytes(broken)
            try:
                for stored in read_checkpoint(tmp_path / name, "model").values():
                    values(stored)
            except (EngineError, ValueError, TypeError):
                pass


@pytest.mark.parametrize("content", [{"weights": WEIGHTS}, {"model": {}}, {"model": [1, 2]}, [1], "text"])
def test_a_pickle_of_something_else(content, tmp_path):
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(EngineError) as refused:
        read_checkpoint(tmp_path / "m.pkl", "model")
    assert refused.value.failure is Failure.MODEL_UNREADABLE


def test_a_tensor_beyond_its_storage(tmp_path):
    class Liar:
        def __reduce__(self):
            import numpy.core.multiarray as multiarray
            return multiarray._reconstruct, (np.ndarray, (0,), b"b"), (1, (10**6, 10**6), np.dtype("f4"), False, b"x" * 100_000)

    (tmp_path / "m.pkl").write_bytes(pickle.dumps({"model": {"a": Liar()}}))
    with pytest.raises(EngineError, match="100000 bytes"):
        read_checkpoint(tmp_path / "m.pkl", "model")


def test_arrays_of_objects_are_refused(tmp_path):
    (tmp_path / "m.pkl").write_bytes(pickle.dumps({"model": {"a": np.array([{}, 1], dtype=object)}}))
    with pytest.raises(EngineError, match="not read"):
        read_checkpoint(tmp_path / "m.pkl", "model")
