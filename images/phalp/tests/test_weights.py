"""Every way in which weights are not what they should be, without real ones: files of the project's own making."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from pose_phalp import picklescan, weights
from pose_phalp.errors import EngineError, Failure


class _Array:
    """Pickles as a numpy array of a shape would, with empty data: numpy need not be there."""

    def __init__(self, *shape: int, payload: int = 0) -> None:
        self.state = (1, shape, "<f8", False, b"\0" * payload)


def _global(module: str, name: str) -> bytes:
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def _dump(value: object) -> bytes:
    """A pickle of protocol 2 made by hand for dictionaries of strings, numbers and _Array."""
    if isinstance(value, _Array):
        _, shape, kind, order, data = value.state
        state = pickle.dumps((1, shape, kind, order), 2)[2:-2]  # without PROTO and the tuple's end
        inner = b"".join((state[:0], b"(", _plain(1), _plain(shape), _plain(kind), _plain(order), _plain(data), b"t"))
        return _global("numpy.core.multiarray", "_reconstruct") + b")R" + inner + b"b"
    if isinstance(value, dict):
        return b"}(" + b"".join(_dump(k) + _dump(v) for k, v in value.items()) + b"u"
    return _plain(value)


def _plain(value: object) -> bytes:
    if isinstance(value, bytes):
        return b"B" + struct.pack("<I", len(value)) + value
    return pickle.dumps(value, 2)[2:-1]


def _pickle(value: object) -> bytes:
    return b"\x80\x02" + _dump(value) + b"."


def _smpl(**changed: object) -> dict:
    model = {key: _Array(*(10 if n == -1 else n for n in shape)) for key, shape in weights.SMPL_SHAPES.items()}
    model["posedirs"] = _Array(6890, 3, 207, payload=20_000)
    return {**model, **changed}


def _npy(shape=(256, 256), kind="<f4", item=4) -> bytes:
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    count = 1
    for n in shape:
        count *= n
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"\0" * (count * item)


def _zip() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"state_dict": {}}))
        archive.writestr("archive/data/0", b"\0" * 4096)
    return made.getvalue()


CONTENT = {"smpl": _pickle(_smpl()), "torch": _zip(), "pickle": _pickle({"model": {"w": _Array(2, 3)}}), "npy": _npy(), "npz": _zip(),
           "yaml": b"configs:\n  a: 1\n", "any": b""}


def _small(files):
    """The same files without their lower bounds and names' digests, for stand-ins of a few bytes."""
    return [replace(f, min_bytes=0, digest=None) for f in files]


@pytest.fixture
def cache(tmp_path: Path):
    """A whole cache, as a list of files."""
    files = _small(weights.required("vitdet", env={"HOME": str(tmp_path)}))
    for f in files:
        f.path.parent.mkdir(parents=True, exist_ok=True)
        f.path.write_bytes(CONTENT[f.kind])
    return files


def _of(files, ending: str):
    return next(f for f in files if f.name.endswith(ending))


def _only(files, **options):
    problems = weights.verify(files, **options)
    assert len(problems) == 1, [str(p) for p in problems]
    return problems[0]


def test_whole_cache_has_no_problem(cache):
    assert weights.verify(cache, digests=True) == []
    assert weights.summary(cache).startswith("16 of 16 weight files, ")


def test_places_follow_the_environment():
    env = {"HOME": "/h", "TORCH_HOME": "/t", "FVCORE_CACHE": "~/f"}
    files = weights.required("maskrcnn", env=env)
    assert str(_of(files, "19c8e357.pth").path) == "/t/hub/checkpoints/resnet50-19c8e357.pth"
    assert str(_of(files, "ef3a80.pkl").path).startswith("/h/f/detectron2/new_baselines/")
    assert str(_of(files, "1000000.ckpt").path).startswith("/h/.cache/4DHumans/logs/")
    plain = weights.required("vitdet", env={"HOME": "/h", "XDG_CACHE_HOME": "/x"})
    assert str(_of(plain, "19c8e357.pth").path).startswith("/x/torch/hub/")
    assert str(_of(plain, "f05665.pkl").path).startswith("/h/.torch/iopath_cache/detectron2/ViTDet/")


@pytest.mark.parametrize("env", [{}, {"HOME": ""}, {"HOME": "relative"}])
def test_no_home_is_said(env):
    with pytest.raises(EngineError) as error:
        weights.required("vitdet", env=env)
    assert error.value.failure is Failure.WEIGHTS_MISSING and "HOME" in error.value.message


@pytest.mark.parametrize("detector,boxes,count", [("vitdet", False, 1), ("maskrcnn", False, 1), ("none", False, 0), (None, True, 0),
                                                  ("vitdet", True, 0)])
def test_a_detector_is_needed_only_where_one_is_loaded(detector, boxes, count):
    names = [f.name for f in weights.required(detector, boxes, {"HOME": "/h"})]
    assert sum(n.startswith("detectron2/") for n in names) == count


def test_missing_file_names_place_and_source(cache):
    smpl = _of(cache, "models/smpl/SMPL_NEUTRAL.pkl")
    smpl.path.unlink()
    problem = _only(cache)
    assert (problem.code, problem.fatal) == ("Missing", True)
    assert str(smpl.path) in str(problem) and "smpl.is.tue.mpg.de" in str(problem) and "register" in str(problem)


def test_what_only_upstream_wants_stops_nothing(cache):
    _of(cache, "ava_labels.pkl").path.unlink()
    assert (_only(cache).code, _only(cache).fatal) == ("Missing", False)


def test_what_stops_a_run_comes_first(cache):
    _of(cache, "ava_labels.pkl").path.unlink()
    _of(cache, "fmap_256.npy").path.unlink()
    assert [p.fatal for p in weights.verify(reversed(cache))] == [True, False]


@pytest.mark.parametrize("content,code", [
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "Pointer"),
    (b"\n<!DOCTYPE html><html>Sign in</html>", "Page"),
    (b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>", "Page"),
    (b"", "Broken"),
    (b"not a pickle", "Broken"),
])
@pytest.mark.parametrize("ending", ["models/smpl/SMPL_NEUTRAL.pkl", "f05665.pkl", "1000000.ckpt", "fmap_256.npy", "texture.npz"])
def test_what_is_no_weights_at_all(cache, ending, content, code):
    file = _of(cache, ending)
    file.path.write_bytes(content)
    assert _only(cache).code == code


@pytest.mark.parametrize("ending", ["models/smpl/SMPL_NEUTRAL.pkl", "f05665.pkl", "1000000.ckpt", "fmap_256.npy", "texture.npz"])
@pytest.mark.parametrize("left", [0.3, 0.9, 0.999])
def test_a_file_that_breaks_off(cache, ending, left):
    file = _of(cache, ending)
    whole = file.path.read_bytes()
    file.path.write_bytes(whole[: int(len(whole) * left)])
    assert _only(cache).code == "Broken"


def test_a_file_too_small(cache):
    file = replace(_of(cache, "f05665.pkl"), min_bytes=1 << 20)
    problem = _only([file])
    assert problem.code == "Small" and str(1 << 20) in str(problem)


def test_a_folder_under_the_name(cache):
    file = _of(cache, "fmap_256.npy")
    file.path.unlink()
    file.path.mkdir()
    assert _only(cache).code == "Unreadable"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_of_somebody_else(cache):
    file = _of(cache, "fmap_256.npy")
    file.path.chmod(0)
    problem = _only(cache)
    assert problem.code == "Unreadable" and "mode 0000" in str(problem)


@pytest.mark.parametrize("model,says", [
    (_smpl(v_template=_Array(10475, 3)), "SMPL-X"),
    (_smpl(v_template=_Array(778, 3)), "MANO"),
    (_smpl(J_regressor=_Array(52, 6890), weights=_Array(6890, 52)), "SMPL+H"),
    (_smpl(gender="male"), "male model"),
    (_smpl(shapedirs=_Array(6890, 3, 4)), "shapedirs"),
    (_smpl(posedirs=_Array(6890, 3, 9)), "posedirs"),
    ({"a": 1}, "has no v_template"),
    ("text", "no dictionary"),
])
def test_a_wrong_body_model(cache, model, says):
    _of(cache, "models/smpl/SMPL_NEUTRAL.pkl").path.write_bytes(_pickle(model))
    problem = _only(cache)
    assert problem.code == "WrongModel" and says in str(problem)


def test_an_archive_for_a_body_model(cache):
    _of(cache, "models/smpl/SMPL_NEUTRAL.pkl").path.write_bytes(_zip())
    assert _only(cache).code == "WrongModel"


def test_300_shapes_are_smpl_too(cache):
    _of(cache, "models/smpl/SMPL_NEUTRAL.pkl").path.write_bytes(_pickle(_smpl(shapedirs=_Array(6890, 3, 300))))
    assert weights.verify(cache) == []


class _Runs:
    """A pickle of this runs a program when it is opened."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __reduce__(self):
        return os.mkdir, (str(self._target),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("ending", ["models/smpl/SMPL_NEUTRAL.pkl", "f05665.pkl", "SMPL_to_J19.pkl"])
def test_a_pickle_that_runs_something_is_found_and_not_run(cache, tmp_path, ending, protocol):
    _of(cache, ending).path.write_bytes(pickle.dumps({"model": _Runs(tmp_path / "ran")}, protocol))
    problem = _only(cache)
    assert problem.code == "Unsafe" and "mkdir" in str(problem)
    assert not (tmp_path / "ran").exists()


def test_digest_in_a_name(cache):
    data = b"model: 1\n"
    file = replace(_of(cache, "pose_predictor.yaml"), digest=("md5", hashlib.md5(data).hexdigest()[:6]))
    file.path.write_bytes(data)
    assert weights.verify([file]) == []
    file.path.write_bytes(data + b" ")
    problem = _only([file])
    assert problem.code == "Digest" and "its own name" in str(problem)


def test_digests_of_the_user(cache):
    file = _of(cache, "fmap_256.npy")
    lines = file.root / weights.DIGESTS_FILE
    right = hashlib.sha256(file.path.read_bytes()).hexdigest()
    lines.write_text(f"# mine\n{right} *./{file.name}\n")
    assert weights.verify(cache) == []
    lines.write_text(f"{'0' * 64}  {file.name}\n")
    assert _only(cache).code == "Digest"
    lines.write_text("nonsense\n")
    assert (_only(cache).code, _only(cache).fatal) == ("DigestsFile", False)


def test_large_files_are_hashed_on_request_alone(cache, monkeypatch):
    monkeypatch.setattr(weights, "HASHED_ALWAYS", 10)
    file = _of(cache, "fmap_256.npy")
    (file.root / weights.DIGESTS_FILE).write_text(f"{'0' * 64}  {file.name}\n")
    assert weights.verify(cache) == []
    assert _only(cache, digests=True).code == "Digest"


@pytest.mark.parametrize("data", [b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62), b"\x80\x02(" * 100, b"t.", b"R.", b"h\x05.", b"\x80\x02]q\x00b.",
                                  b"B\xff\xff\xff\xff", b"I" + b"9" * 100_000, b"S'a" + b"b" * 100_000, b"T\xff\xff\xff\xff.", b"\xff"])
def test_hostile_pickles_end(data):
    try:
        picklescan.scan(io.BytesIO(data))
    except picklescan.Broken:
        pass


def test_a_negative_length_is_refused():
    with pytest.raises(picklescan.Broken, match="longer than what is left"):
        picklescan.scan(io.BytesIO(b"T" + struct.pack("<i", -5) + b"abc."))


def test_hostile_pickle_is_bounded(monkeypatch):
    monkeypatch.setattr(picklescan, "MOST_OPCODES", 100)
    with pytest.raises(picklescan.Broken):
        picklescan.scan(io.BytesIO(b"0".join([b"N"] * 200) + b"."))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", [{"a": [1, 2.5, None, True], "b": ("x", -7, 1 << 70)}, {}, [], ("a",), {"k": {"n": [{"z": "y"}]}}])
def test_plain_values_come_out_as_they_went_in(value, protocol):
    assert picklescan.scan(io.BytesIO(pickle.dumps(value, protocol))).top == value


def test_long_parts_are_skipped_and_not_read():
    class Counting(io.BytesIO):
        most = 0

        def read(self, size=-1):
            self.most = max(self.most, size)
            return super().read(size)

    source = Counting(pickle.dumps({"w": b"x" * 10_000_000}, 4))
    assert picklescan.scan(source).top["w"] == picklescan.Payload(10_000_000)
    assert source.most < 10_000


def test_numpy_arrays_have_their_shapes():
    numpy = pytest.importorskip("numpy")
    array = numpy.zeros((24, 7), dtype="f4")
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        seen = picklescan.scan(io.BytesIO(pickle.dumps({"a": array}, protocol)))
        assert picklescan.shape(seen.top["a"]) == (24, 7)


def test_npy_with_a_hostile_header(cache):
    file = _of(cache, "fmap_256.npy")
    for header in (b"{'descr': '<f4', 'shape': (1<<99,)}", b"{" * 5000, b"__import__('os')", b""):
        file.path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"\0" * 100)
        assert _only(cache).code == "Broken"
