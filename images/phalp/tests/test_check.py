"""The checks of an image, with small modules that stand in for those of a real one."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from pose_phalp import check
from pose_phalp.check import ERROR, OK, WARNING

TORCH = '''
import os, sys, types
__version__ = "{version}"
version = types.SimpleNamespace(cuda={cuda!r}, hip=None)
_C = types.SimpleNamespace(_cuda_getArchFlags=lambda: {archs!r})
class _One:
    def __add__(self, n): return self
    def sum(self): return self
    def cpu(self): return self
    def __float__(self): return 16.0
def _start():
    {start}
    return {available}
cuda = types.SimpleNamespace(is_available=_start, device_count=lambda: 1, get_arch_list=lambda: [],
    get_device_properties=lambda i: types.SimpleNamespace(name="NVIDIA L4", major=8, minor=9, total_memory=24 << 30))
def ones(n, device): {ones}
'''


@pytest.fixture
def modules(tmp_path: Path, monkeypatch):
    """A folder first on the path, for stand-in modules."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])

    def put(name: str, text: str) -> None:
        path = folder.joinpath(*name.split("."))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".py").write_text(text)

    put.torch = lambda **changed: put("torch", TORCH.format(**{
        "version": "2.1.2+cu121", "cuda": "12.1", "archs": "sm_80 sm_90", "start": "pass", "available": True, "ones": "return _One()", **changed}))
    return put


def _levels(findings):
    return {f.name: f.level for f in findings}


def test_imports_have_versions_and_errors(modules):
    modules("standin_good", "__version__ = '1.2'\nprint('noise')\nprint('{\\\"name\\\": \\\"standin_bad\\\"}')\n")
    modules("standin_bad", "import a_module_that_is_not_there\n")
    modules("standin_exit", "raise SystemExit('bye')\n")
    found = {n: (v, e) for n, v, e in check.look_imports(["standin_good", "standin_bad", "standin_exit"])}
    assert found["standin_good"] == ("1.2", None)
    assert "a_module_that_is_not_there" in found["standin_bad"][1]
    assert "SystemExit: bye" in found["standin_exit"][1]


@pytest.mark.parametrize("death,how", [("os.kill(os.getpid(), 11)", "SIGSEGV"), ("os.abort()", "SIGABRT"), ("os._exit(3)", "exit code 3")])
def test_an_import_that_crashes_is_one_finding_and_the_rest_goes_on(modules, death, how):
    modules("standin_first", "")
    modules("standin_crash", f"import os\n{death}\n")
    modules("standin_last", "__version__ = '9'\n")
    found = {n: (v, e) for n, v, e in check.look_imports(["standin_first", "standin_crash", "standin_last"])}
    assert how in found["standin_crash"][1]
    assert found["standin_first"][1] is None and found["standin_last"] == ("9", None)


def test_an_import_that_hangs_ends(modules):
    modules("standin_slow", "import time\ntime.sleep(600)\n")
    probe = check.look_probe("imports", "standin_slow", seconds=2)
    assert probe.died == "standin_slow" and "did not end" in probe.how


def test_needed_and_wanted_modules_differ():
    findings = check.judge_imports([("torch", None, "ImportError: x"), ("av", None, "ImportError: y"), ("cv2", "4.10", None),
                                    ("chumpy", None, "z")])
    assert _levels(findings) == {"import torch": ERROR, "import av": WARNING, "import cv2": OK, "import chumpy": WARNING}
    assert "opencv" in check.judge_imports([("cv2", None, "e")])[0].remedy
    assert check.judge_imports([("chumpy", None, "z")], ["chumpy"])[0].level == ERROR


@pytest.mark.parametrize("archs,capability,level", [
    ("sm_50 sm_60 sm_70 sm_75 sm_80 sm_86 sm_90", "8.9", OK),        # minor versions go up within a major one
    ("sm_50 sm_60 sm_70 sm_75 sm_80 sm_86 sm_90", "12.0", ERROR),    # a GPU newer than the build
    ("sm_70 sm_75 sm_80 compute_80", "12.0", WARNING),               # only PTX
    ("sm_86", "8.0", ERROR),                                         # never down
    ("sm_75 sm_80", "5.2", ERROR),                                   # a GPU older than the build
    ("sm_90a", "9.0", OK),
    ("sm_90a", "10.0", ERROR),                                       # letters tie it to one GPU
    ("sm_100 sm_120", "10.0", OK),
    ("", "8.0", WARNING),
    ("sm_80", "nonsense", WARNING),
])
def test_architectures(archs, capability, level):
    assert check.judge_arch(archs.split(), capability, "x").level == level


@pytest.mark.parametrize("cuda,driver,level", [("12.1", 12040, OK), ("12.8", 12020, OK), ("12.1", 11080, ERROR), ("11.8", 12040, OK), ("12.1", None, ERROR)])
def test_drivers(cuda, driver, level):
    assert check.judge_driver(cuda, driver)[0].level == level


def test_torch_on_a_gpu(modules):
    modules.torch()
    said = check.look_probe("torch").said[0]
    assert said["archs"] == ["sm_80", "sm_90"] and said["gpus"][0]["capability"] == "8.9"
    levels = _levels(check.judge_torch({**said, "driver": 12040}, "gpu", ["12.0"]))
    assert levels == {"torch CUDA": OK, "NVIDIA driver": OK, "GPU architecture 8.9": OK, "GPU architecture 12.0": ERROR}


@pytest.mark.parametrize("changed,name,level", [
    ({"cuda": None}, "torch CUDA", ERROR),
    ({"available": False}, "GPU", ERROR),
    ({"start": "raise RuntimeError('no driver')"}, "GPU", ERROR),
    ({"ones": "raise RuntimeError('no kernel image is available')"}, "GPU kernel", ERROR),
    ({"version": "1.13.1"}, "torch", ERROR),
    ({"version": "2.7.0"}, "torch", None),
])
def test_torch_that_does_not_fit(modules, changed, name, level):
    modules.torch(**changed)
    said = {**check.look_probe("torch").said[0], "driver": 12040}
    assert _levels(check.judge_torch(said, "gpu", [])).get(name) == level


def test_torch_for_amd():
    said = {"version": "2.7.0+rocm6.3", "cuda": None, "hip": "6.3", "gpus": [{"name": "MI300X", "capability": "9.4"}]}
    assert _levels(check.judge_torch(said, "gpu", [])) == {"torch ROCm": OK}
    assert _levels(check.judge_torch({**said, "gpus": []}, "gpu", [])) == {"torch ROCm": ERROR}


def test_a_cpu_run_asks_for_no_cuda(modules):
    modules.torch(cuda=None, available=False)
    assert _levels(check.judge_torch(check.look_probe("torch").said[0], "cpu", [])) == {"torch": OK}


def test_a_driver_that_kills_the_process(modules, tmp_path, monkeypatch):
    modules.torch(start="os.kill(os.getpid(), 11)")
    monkeypatch.setattr(check, "NEEDED", (("torch", "torch"),))
    monkeypatch.setattr(check, "WANTED", ())
    findings = check.look_all("vitdet", "gpu", [], False, "", {"HOME": str(tmp_path)})
    torch = next(f for f in findings if f.name == "torch")
    assert torch.level == ERROR and "SIGSEGV" in torch.what and "CUDA start" in torch.what


def test_gl_is_never_an_error():
    assert check.judge_gl([])[0].level == WARNING
    assert check.judge_gl([{"name": "EGL", "error": "x"}, {"name": "OSMesa", "error": None}])[0].level == OK


@pytest.mark.parametrize("files,limit", [
    ({"memory.max": "max"}, None), ({"memory.max": "8589934592"}, 8 << 30), ({"memory/memory.limit_in_bytes": "4294967296"}, 4 << 30),
    ({"memory/memory.limit_in_bytes": "9223372036854771712"}, None), ({}, None),
])
def test_memory_limit_of_both_cgroups(tmp_path, files, limit):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content + "\n")
    assert check.look_memory_limit(str(tmp_path)) == limit


def test_memory_is_compared_with_what_the_variant_needs():
    assert check.judge_memory(2 << 30, "vitdet", "gpu").level == ERROR
    assert check.judge_memory(5 << 30, "vitdet", "gpu").level == WARNING
    assert check.judge_memory(64 << 30, "vitdet", "cpu").level == OK
    assert check.judge_memory(None, "vitdet", "cpu").level == WARNING


def test_disk(tmp_path):
    assert check.judge_disk("output", "/o", *check.look_disk(str(tmp_path / "none"))).level == ERROR
    assert check.judge_disk("output", str(tmp_path), *check.look_disk(str(tmp_path))).level in (OK, WARNING)
    assert check.judge_disk("output", "/o", 5 << 20, None).level == WARNING


def test_a_user_without_a_name(monkeypatch):
    monkeypatch.setattr(check.os, "geteuid", lambda: 65533)
    assert check.look_user({"HOME": "/"})[0].level == WARNING
    assert check.look_user({"HOME": "/", "USER": "pose"})[0].level == OK


@pytest.fixture
def short(monkeypatch, modules, tmp_path):
    """A check of few modules, in an empty home."""
    monkeypatch.setattr(check, "NEEDED", (("torch", "torch"), ("phalp_standin", "phalp")))
    monkeypatch.setattr(check, "WANTED", ())
    monkeypatch.setenv("HOME", str(tmp_path))
    modules.torch()


def test_main_as_json(short, capsys):
    assert check.main(["--json", "--detector=maskrcnn", "--device=cpu"]) == check.FAILED
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    said = json.loads(lines[0])
    assert (said["apiVersion"], said["kind"], said["detector"], said["device"]) == ("pose.dev/v1alpha1", "PoseEngineCheck", "maskrcnn", "cpu")
    levels = {f["name"]: f["level"] for f in said["findings"]}
    assert levels["import phalp_standin"] == ERROR and levels["import torch"] == OK
    assert levels["weights 4DHumans/data/smpl/SMPL_NEUTRAL.pkl"] == ERROR
    assert all(f["remedy"] for f in said["findings"] if f["level"] != OK)
    assert not any("ava_labels" in name for name in levels)


def test_main_for_people(short, capsys):
    assert check.main(["--device=cpu"]) == check.FAILED
    out = capsys.readouterr().out
    assert "SMPL_NEUTRAL.pkl is missing" in out and "register" in out and out.rstrip().endswith("errors")


def test_main_without_errors(monkeypatch, capsys):
    monkeypatch.setattr(check, "look_all", lambda *_: [check.Finding(OK, "a", "b"), check.Finding(WARNING, "c", "d", "e")])
    assert check.main([]) == 0
    assert "nothing stands in the way" in capsys.readouterr().out


def test_no_home(short, monkeypatch):
    findings = check.look_all("vitdet", "cpu", [], False, "", {})
    assert next(f for f in findings if f.name == "weights").level == ERROR
