"""The part of `pose-phalp check` that may die: imports, torch's view of the GPU, EGL. It runs in a process of its own, whose
death is then a finding. Each answer is one line of JSON on a copy of stdout, so that nothing a library prints gets in
between; a line {"begin": name} says before each step what a death in it would mean.

    python -m pose_phalp.probe imports NAME...
    python -m pose_phalp.probe torch
    python -m pose_phalp.probe gl
"""

from __future__ import annotations

import ctypes
import faulthandler
import importlib
import json
import os
import sys
import warnings
from typing import Dict, List, Optional


def main(arguments: List[str]) -> int:
    out = os.dup(1)
    os.dup2(2, 1)

    def tell(**what: object) -> None:
        os.write(out, (json.dumps(what) + "\n").encode())

    faulthandler.enable()
    warnings.simplefilter("ignore")
    if arguments[:1] == ["imports"]:
        for name in arguments[1:]:
            tell(begin=name)
            tell(name=name, **_imported(name))
    elif arguments == ["torch"]:
        tell(begin="torch")
        tell(name="torch", **_torch(lambda step: tell(begin=step)))
    elif arguments == ["gl"]:
        for name, look in (("EGL", _egl), ("OSMesa", _osmesa)):
            tell(begin=name)
            tell(name=name, error=look())
    else:
        return 2
    return 0


def _imported(name: str) -> Dict[str, Optional[str]]:
    """version (None if none is known) and error (None if it imports) of a module."""
    try:
        if name.split(".")[0] in ("phalp", "hmr2", "chumpy", "smplx"):
            _shims()
        module = importlib.import_module(name)
    except BaseException as error:  # noqa: B902 - SystemExit and the like are what the import did
        return {"version": None, "error": f"{type(error).__name__}: {error}"}
    return {"version": _version(name, module), "error": None}


def _shims() -> None:
    """What a run sets right before it imports upstream, so that only what stops a run is a finding."""
    from pose_phalp import image

    try:
        image.old_names()
        importlib.import_module("pyrender")
    except Exception:
        image.stand_in_renderer()


def _version(name: str, module: object) -> Optional[str]:
    top = sys.modules.get(name.split(".")[0], module)
    found = getattr(top, "__version__", None)
    if found is None:
        try:
            from importlib import metadata

            found = metadata.version(name.split(".")[0])
        except Exception:
            return None
    return str(found)


def _torch(step) -> Dict[str, object]:
    """Versions, architectures that were compiled in (also without a GPU), and the GPUs that it sees."""
    try:
        import torch
    except BaseException as error:  # noqa: B902
        return {"error": f"{type(error).__name__}: {error}"}
    said: Dict[str, object] = {"error": None, "version": str(torch.__version__), "cuda": torch.version.cuda,
                               "hip": getattr(torch.version, "hip", None), "archs": _archs(torch), "driver": _driver(), "gpus": []}
    step("CUDA start")
    try:
        if not torch.cuda.is_available():
            return said
        for i in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(i)
            said["gpus"].append({"name": properties.name, "capability": f"{properties.major}.{properties.minor}",
                                 "memoryBytes": int(properties.total_memory)})
        step("a kernel on the GPU")
        if float((torch.ones(8, device="cuda") + 1).sum().cpu()) != 16.0:
            said["kernel"] = "1 + 1 is not 2 on it"
    except Exception as error:
        said["kernel"] = f"{type(error).__name__}: {error}"
    return said


def _archs(torch) -> List[str]:
    # torch.cuda.get_arch_list() answers with nothing where it sees no GPU.
    flags = getattr(getattr(torch, "_C", None), "_cuda_getArchFlags", None)
    text = flags() if callable(flags) else ""
    return str(text or "").split() or [str(a) for a in torch.cuda.get_arch_list()]


def _driver() -> Optional[int]:
    """The highest CUDA version that the driver can do, as 12040 for 12.4; None without a driver."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
        version = ctypes.c_int()
        return version.value if library.cuDriverGetVersion(ctypes.byref(version)) == 0 else None
    except (OSError, AttributeError):
        return None


def _egl() -> Optional[str]:
    """Why EGL cannot be used; None if a display opens."""
    try:
        egl = ctypes.CDLL("libEGL.so.1")
        egl.eglGetDisplay.restype = ctypes.c_void_p
        egl.eglGetDisplay.argtypes = [ctypes.c_void_p]
        egl.eglInitialize.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
        os.environ.setdefault("EGL_PLATFORM", "surfaceless")
        display = egl.eglGetDisplay(None)
        if not display:
            return "there is no display"
        return None if egl.eglInitialize(display, None, None) else "the display does not open"
    except (OSError, AttributeError) as error:
        return str(error)


def _osmesa() -> Optional[str]:
    for name in ("libOSMesa.so.8", "libOSMesa.so.6", "libOSMesa.so"):
        try:
            ctypes.CDLL(name)
            return None
        except OSError as error:
            last = str(error)
    return last


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
