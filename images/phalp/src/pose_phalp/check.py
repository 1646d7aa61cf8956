"""`pose-phalp check`: whether this image, as this user on this node, can run the engine, and what to mend if not.

The looks (the functions that begin with look) gather facts; the judgements (judge) turn facts into findings and touch
nothing. What may crash runs in a process of its own (probe).
"""

from __future__ import annotations

import json
import os
import pwd
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from typing import Dict, Iterable, List, Optional, Sequence, Tuple

from pose_phalp import __version__, weights
from pose_phalp.errors import EngineError, one_line
from pose_phalp.options import DETECTORS, DEVICES, Parser

FAILED = 8  # exit code when there is an error among the findings
OK, WARNING, ERROR = "ok", "warning", "error"
GIB = 1 << 30
PROBE_SECONDS = 600  # imports from a cold image on a slow disk take minutes

# Host memory in GiB by detector and device: the least to load at all, and what a whole run wants. Loading was measured on a CPU
# (hack/phalp-upstream): 3.2 GiB with ViTDet, for files are mapped and become memory only where they are used; 1 GiB where a GPU takes
# each tensor, and CUDA's own one to two. A run on a CPU was measured too: 10.5, 4.4 and 3.6 GiB.
HOST_MEMORY = {("vitdet", "gpu"): (3.0, 6.0), ("maskrcnn", "gpu"): (3.0, 5.0), ("none", "gpu"): (3.0, 5.0),
               ("vitdet", "cpu"): (4.0, 12.0), ("maskrcnn", "cpu"): (3.0, 6.0), ("none", "cpu"): (3.0, 5.0)}
LEAST_SHARED = 64 << 20  # bytes of /dev/shm
LEAST_DISK = GIB
OLDEST_TORCH = (2, 1)

# Modules that a run imports, and the words that name their package. The adapter stands in for neural_renderer and for GL.
NEEDED = (("numpy", "numpy"), ("cv2", "opencv-python"), ("torch", "torch"), ("torchvision", "torchvision"), ("timm", "timm"),
          ("einops", "einops"), ("omegaconf", "omegaconf"), ("hydra", "hydra-core"), ("yacs", "yacs"), ("smplx", "smplx"),
          ("pytorch_lightning", "pytorch-lightning"), ("joblib", "joblib"), ("sklearn", "scikit-learn"), ("scipy", "scipy"),
          ("pycocotools", "pycocotools"), ("detectron2", "detectron2"), ("phalp.trackers.PHALP", "phalp"), ("hmr2.models", "hmr2"))
WANTED = (("av", "av"), ("chumpy", "chumpy"), ("pyrender", "pyrender"))


@dataclass(frozen=True)
class Finding:
    """One thing looked at. level is ok, warning or error; remedy is empty where nothing is to be mended."""

    level: str
    name: str
    what: str
    remedy: str = ""


@dataclass(frozen=True)
class Probe:
    """What a process that may die said, and how it ended. died: what it was doing when it did not end well."""

    said: List[dict]
    died: str = ""
    how: str = ""
    last_words: str = ""


def look_probe(*arguments: str, seconds: float = PROBE_SECONDS) -> Probe:
    """Runs probe in a process of its own, which finds modules where this one does."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "PYTHONDONTWRITEBYTECODE": "1"}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            ended = subprocess.run([sys.executable, "-m", "pose_phalp.probe", *arguments], stdin=subprocess.DEVNULL, stdout=out,
                                   stderr=err, env=env, timeout=seconds, check=False)
            how = _ending(ended.returncode)
        except subprocess.TimeoutExpired:
            how = f"it did not end within {seconds:.0f} s"
        said, begun = [], ""
        for line in _tail(out, 1 << 20).splitlines():
            try:
                answer = json.loads(line)
            except ValueError:
                continue
            if "begin" in answer:
                begun = str(answer["begin"])
            else:
                said.append(answer)
                begun = ""
        return Probe(said, begun if how else "", how, one_line(_last_words(_tail(err, 4000)), 300))


def _tail(source, most: int) -> str:
    end = source.seek(0, os.SEEK_END)
    source.seek(max(0, end - most))
    return source.read().decode("utf-8", "replace")


def _last_words(text: str) -> str:
    """Why a Python process ended: the line of a native crash, or the exception's own, which is the last."""
    lines = [line for line in text.splitlines() if line.strip()]
    fatal = [line for line in lines if line.startswith("Fatal Python error")]
    return (fatal or lines[-1:] or [""])[0]


def _ending(code: int) -> str:
    if code < 0:
        try:
            return f"killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"killed by signal {-code}"
    return f"exit code {code}" if code else ""


def look_imports(names: Sequence[str]) -> List[Tuple[str, Optional[str], Optional[str]]]:
    """Name, version and error of each module. One that takes the process with it costs nothing but itself."""
    left, found = list(names), []
    while left:
        probe = look_probe("imports", *left)
        for said in probe.said:
            found.append((said["name"], said.get("version"), said.get("error")))
            left.remove(said["name"])
        if not probe.how:
            break
        culprit = probe.died if probe.died in left else (left[0] if left else "")
        if not culprit:
            break
        found.append((culprit, None, f"the import ends the process: {probe.how} ({probe.last_words})"))
        left.remove(culprit)
    return found


def judge_imports(found: Iterable[Tuple[str, Optional[str], Optional[str]]], also_needed: Sequence[str] = ()) -> List[Finding]:
    packages, needed = {**dict(NEEDED), **dict(WANTED)}, {*dict(NEEDED), *also_needed}
    out = []
    for name, version, error in found:
        package = packages.get(name, name)
        if error is None:
            out.append(Finding(OK, f"import {name}", version or "imports"))
        else:
            remedy = f"install {package} into the image for {sys.executable}, in a version that fits the others (docs/phalp.md)"
            out.append(Finding(ERROR if name in needed else WARNING, f"import {name}", one_line(error), remedy))
    return out


def judge_torch(said: dict, device: str, expected: Sequence[str]) -> List[Finding]:
    """Version, and for a GPU: whether it is built with CUDA, sees a GPU, and has code for it and for those expected."""
    version = str(said.get("version", ""))
    out = []
    if _numbers(version) < OLDEST_TORCH:
        out.append(Finding(ERROR, "torch", f"version {version} is older than 2.1", "use an image with torch 2.1 or newer"))
    if device == "cpu":
        return out or [Finding(OK, "torch", f"{version}; a CPU run needs no CUDA")]
    cuda, archs, gpus = said.get("cuda"), [str(a) for a in said.get("archs") or []], said.get("gpus") or []
    if said.get("hip"):
        seen = ", ".join(str(g.get("name")) for g in gpus) or "no GPU"
        return out + [Finding(OK if gpus else ERROR, "torch ROCm", f"torch {version}, ROCm {said['hip']}, sees {seen}",
                              "" if gpus else "give the variant an AMD GPU (resources)")]
    if not cuda:
        return out + [Finding(ERROR, "torch CUDA", f"torch {version} is built without CUDA",
                              "install torch's CUDA build into the image, or use the engine's CPU variants")]
    names = " ".join(archs) or "unknown architectures"
    out.append(Finding(OK, "torch CUDA", f"torch {version}, CUDA {cuda}, compiled for {names}"))
    out += judge_driver(str(cuda), said.get("driver"))
    if not gpus:
        out.append(Finding(ERROR, "GPU", f"torch sees none{_after(said)}",
                           "give the variant a GPU (resources, runtimeClassName), and look at the node's driver and device plugin"))
    here = [(str(g.get("capability")), str(g.get("name"))) for g in gpus]
    for capability, who in here + [(c, "GPUs of the cluster") for c in expected]:
        out.append(judge_arch(archs, capability, who))
    if gpus and said.get("kernel"):
        out.append(Finding(ERROR, "GPU kernel", one_line(str(said["kernel"])),
                           "use an image whose torch is compiled for this GPU, or another node"))
    return out


def _after(said: dict) -> str:
    return f" ({one_line(str(said['kernel']))})" if said.get("kernel") else ""


def judge_driver(cuda: str, driver: Optional[int]) -> List[Finding]:
    """A driver runs programs of its own CUDA major version and of older ones."""
    if driver is None:
        return [Finding(ERROR, "NVIDIA driver", "libcuda.so.1 cannot be loaded", "the node's driver is not in the container: check "
                        "runtimeClassName and NVIDIA's container toolkit")]
    have, need = (driver // 1000, driver % 1000 // 10), _numbers(cuda)
    text = f"does CUDA {have[0]}.{have[1]}, torch wants {cuda}"
    if have[0] < need[0]:
        return [Finding(ERROR, "NVIDIA driver", text,
                        "update the node's driver, or use an image whose torch is built for an older CUDA")]
    return [Finding(OK, "NVIDIA driver", text)]


def judge_arch(archs: Sequence[str], capability: str, who: str) -> Finding:
    """Machine code (sm_) runs on its own major version with an equal or higher minor one; PTX (compute_) on all later GPUs,
    compiled when it starts. Letters behind the number (sm_90a) tie it to that GPU alone."""
    name, want = f"GPU architecture {capability}", _numbers(capability)
    if not archs or len(want) < 2:
        return Finding(WARNING, name, f"{who}: it is not known what torch was compiled for",
                       "compare torch.cuda.get_arch_list() by hand")
    exact = [a for a in archs if a.startswith("sm_") and a[3:].isdigit()]
    if any(_arch(a) <= want and _arch(a)[0] == want[0] for a in exact) or f"sm_{want[0]}{want[1]}a" in archs:
        return Finding(OK, name, f"{who}: torch has code for it")
    if any(_arch(a) <= want for a in archs if a.startswith("compute_")):
        return Finding(WARNING, name, f"{who}: torch has only PTX for it, which the driver compiles at the first start: minutes",
                       f"use a torch that lists sm_{want[0]}{want[1]}")
    return Finding(ERROR, name, f"{who}: torch has no code for it, it was compiled for {' '.join(archs)}",
                   f"use an image whose torch lists sm_{want[0]}{want[1]}; newer GPUs need newer builds, very old ones older builds")


def _arch(name: str) -> Tuple[int, int]:
    digits = "".join(c for c in name.split("_", 1)[1] if c.isdigit()) or "0"
    return int(digits[:-1] or 0), int(digits[-1])


def _numbers(version: str) -> Tuple[int, ...]:
    parts = []
    for part in version.split("+")[0].split(".")[:2]:
        digits = "".join(c for c in part if c.isdigit())
        if not digits:
            break
        parts.append(int(digits))
    return tuple(parts)


def judge_gl(said: Iterable[dict]) -> List[Finding]:
    """GL is for upstream's own drawing. The adapter runs without."""
    errors = {str(s.get("name")): s.get("error") for s in said}
    working = [n for n in ("EGL", "OSMesa") if n in errors and errors[n] is None]
    if working:
        return [Finding(OK, "GL", f"{' and '.join(working)} can be used")]
    why = one_line(str(errors.get("EGL", "it crashed")), 120)
    return [Finding(WARNING, "GL", f"neither EGL nor OSMesa can be used ({why}): jobs that ask for an overlay get none",
                    "results are whole without; for overlays add libegl1, libegl-mesa0 and libgl1-mesa-dri to the image")]


def look_memory_limit(root: str = "/sys/fs/cgroup") -> Optional[int]:
    """The container's memory limit in bytes; None if there is none or it cannot be told."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            with open(os.path.join(root, name), encoding="ascii") as source:
                text = source.read(64).strip()
        except OSError:
            continue
        limit = int(text) if text.isdigit() else None
        return limit if limit is not None and limit < 1 << 60 else None
    return None


def judge_memory(limit: Optional[int], detector: str, device: str) -> Finding:
    least, whole = HOST_MEMORY[(detector, device)]
    if limit is None:
        return Finding(WARNING, "memory limit", "there is none, or it cannot be told", "give the variant resources.limits.memory")
    text = f"{limit / GIB:.1f} GiB; detector {detector} on {device} takes {least:.0f} to load, and {whole:.0f} are wise for a run"
    if limit < whole * GIB:
        level = ERROR if limit < least * GIB else WARNING
        return Finding(level, "memory limit", text, "raise resources.limits.memory of the variant")
    return Finding(OK, "memory limit", text)


def judge_shared(size: Optional[int]) -> Finding:
    if size is None:
        return Finding(WARNING, "/dev/shm", "cannot be looked at", "set sharedMemorySize of the variant")
    if size < LEAST_SHARED:
        return Finding(WARNING, "/dev/shm", f"{size >> 20} MiB", "set sharedMemorySize of the variant, as 1Gi: torch's loaders pass "
                       "tensors through it")
    return Finding(OK, "/dev/shm", f"{size >> 20} MiB")


def look_disk(path: str) -> Tuple[Optional[int], Optional[str]]:
    """Free bytes of a folder, and why nothing can be written into it."""
    try:
        with tempfile.NamedTemporaryFile(dir=path):
            pass
        info = os.statvfs(path)
        return info.f_bavail * info.f_frsize, None
    except OSError as error:
        return None, error.strerror or str(error)


def judge_disk(name: str, path: str, free: Optional[int], error: Optional[str]) -> Finding:
    if error is not None:
        return Finding(ERROR, name, f"{path}: {error}", "make it a folder that the pod's user may write")
    if free is not None and free < LEAST_DISK:
        return Finding(WARNING, name, f"{path} has {free >> 20} MiB left", "free the node's disk, or give the job less to write")
    return Finding(OK, name, f"{path} is writable, {(free or 0) / GIB:.1f} GiB left")


def look_user(env) -> List[Finding]:
    """Who this is, and what libraries make of a user without a name."""
    who = f"user {os.geteuid()}, group {os.getegid()}, further groups {sorted(os.getgroups())}"
    out = [Finding(OK, "user", who)]
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        if not any(env.get(n) for n in ("LOGNAME", "USER", "LNAME", "USERNAME")):
            out[0] = Finding(WARNING, "user", f"{who}; it has no name in /etc/passwd",
                             "set USER in the variant's env: parts of torch ask for a name")
    home = env.get("HOME", "")
    if home.startswith("/") and not os.access(home, os.R_OK | os.X_OK):
        out.append(Finding(ERROR, "HOME", f"{home} cannot be entered by {who}", "let others read and enter it: `chmod a+rx`"))
    return out


def judge_weights(problems: Iterable[weights.Problem], summary: str) -> List[Finding]:
    """One finding for each file that a run needs. Those that plain upstream alone wants are no finding while they are missing."""
    out = [Finding(ERROR if p.fatal else WARNING, f"weights {p.file.name}", f"{p.file.path} {p.what}", p.remedy)
           for p in problems if p.fatal or p.code != "Missing"]
    return out if any(f.level == ERROR for f in out) else [Finding(OK, "weights", summary), *out]


def look_all(detector: str, device: str, expected: Sequence[str], digests: bool, output_dir: str, env=None) -> List[Finding]:
    """Everything, from the cheapest to the dearest."""
    env = os.environ if env is None else env
    out = [Finding(OK, "python", f"{sys.version.split()[0]} at {sys.executable}"), *look_user(env)]
    try:
        files = weights.required(detector, detector == "none", env)
        out += judge_weights(weights.verify(files, digests), weights.summary(files))
    except EngineError as error:
        files = []
        out.append(Finding(ERROR, "weights", error.message, "set HOME in the variant's env"))
    out.append(judge_memory(look_memory_limit(), detector, device))
    out.append(judge_shared(_shared_size()))
    for name, path in (("temporary files", tempfile.gettempdir()), ("output", output_dir)):
        if path:
            out.append(judge_disk(name, path, *look_disk(path)))
    also = ["chumpy"] if any("chumpy" in weights.modules(f) for f in files if f.kind == "smpl") else []
    out += judge_imports(look_imports([name for name, _ in NEEDED + WANTED]), also)
    probe = look_probe("torch")
    if probe.said and not probe.said[0].get("error"):
        out += judge_torch(probe.said[0], device, expected)
    elif probe.how:
        out.append(Finding(ERROR, "torch", f"{probe.died or 'its look'} ends the process: {probe.how} ({probe.last_words})",
                           torch_remedy(probe)))
    return out + judge_gl(look_probe("gl").said)


def torch_remedy(probe: Probe) -> str:
    """What to do about a torch that ended its process. Only a crash or CUDA's own words speak of the driver."""
    if probe.how.startswith("killed") or any(word in probe.last_words for word in ("CUDA", "NVIDIA", "cuDNN", "driver")):
        return "driver and torch do not fit: use a torch that is built for the driver's CUDA, or update the driver"
    return "the torch of this image does not work: install it anew, with the torchvision and numpy that belong to it"


def _shared_size() -> Optional[int]:
    try:
        info = os.statvfs("/dev/shm")
        return info.f_blocks * info.f_frsize
    except OSError:
        return None


def document(findings: Sequence[Finding], detector: str, device: str) -> Dict[str, object]:
    """What --json prints, as one line. `kubectl pose engines check` reads it."""
    return {"apiVersion": "pose.dev/v1alpha1", "kind": "PoseEngineCheck", "engine": "phalp", "adapter": __version__,
            "detector": detector, "device": device, "findings": [asdict(f) for f in findings]}


def text(findings: Sequence[Finding]) -> str:
    """The same for people: what is wrong last, where the eye is."""
    lines = []
    for finding in sorted(findings, key=lambda f: (OK, WARNING, ERROR).index(f.level)):
        lines.append(f"{finding.level:<8}{finding.name}: {finding.what}")
        if finding.remedy and finding.level != OK:
            lines.append(f"        -> {finding.remedy}")
    errors = sum(f.level == ERROR for f in findings)
    return "\n".join([*lines, f"{errors} errors" if errors else "nothing stands in the way of a run"])


def main(arguments: List[str]) -> int:
    parser = Parser(prog="pose-phalp check", description="Says whether image and weights can run the engine, and what to mend.")
    parser.add_argument("--detector", choices=DETECTORS, default="vitdet", help="whose weights and memory are looked at")
    parser.add_argument("--device", choices=DEVICES, default="gpu", help="gpu: CUDA and the GPU are looked at too")
    parser.add_argument("--expect-capability", action="append", default=[], metavar="X.Y",
                        help="compute capability of GPUs that it shall run on elsewhere, as 8.9; may be repeated")
    parser.add_argument("--digests", action="store_true", help="read every file of weights whole and compare its digest")
    parser.add_argument("--output-dir", default="", metavar="DIR", help="folder for results that must be writable")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    given = parser.parse_args(arguments)
    findings = look_all(given.detector, given.device, given.expect_capability, given.digests, given.output_dir)
    print(json.dumps(document(findings, given.detector, given.device)) if given.json else text(findings), flush=True)
    return FAILED if any(f.level == ERROR for f in findings) else 0
