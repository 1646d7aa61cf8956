"""A home with small weight files that fit the stand-ins, in the forms of the real ones."""

from __future__ import annotations

import io
import pickle
import sys
import zipfile
from pathlib import Path

import numpy as np

STANDINS = Path(__file__).resolve().parent / "standins"
DETECTOR = "detectron2/{}/model_final_{}.pkl"
PLACES = {"vitdet": DETECTOR.format("ViTDet/COCO/cascade_mask_rcnn_vitdet_h/f328730692", "f05665"),
          "maskrcnn": DETECTOR.format("new_baselines/mask_rcnn_regnety_4gf_dds_FPN_400ep_LSJ/42045954", "ef3a80")}
HMR2 = ".cache/4DHumans/logs/train/multiruns/hmr2/0"


class _Stored:
    def __init__(self, key: str, array: np.ndarray) -> None:
        self.key, self.array = key, array


def torch_file(content: dict) -> bytes:
    """What torch.save makes of nested dictionaries of arrays: an index that names raw storages, in a zip."""
    sys.path.insert(0, str(STANDINS))
    try:
        import torch
        import torch._utils
    finally:
        sys.path.remove(str(STANDINS))
    kinds = {"f4": torch.FloatStorage, "i8": torch.LongStorage, "b1": torch.BoolStorage}
    stored: list[_Stored] = []

    class Tensor:
        def __init__(self, array: np.ndarray) -> None:
            self.array = array

        def __reduce__(self):
            base = self.array if self.array.flags.c_contiguous else self.array.T
            stored.append(_Stored(str(len(stored)), np.ascontiguousarray(base)))
            steps = tuple(s // self.array.itemsize for s in self.array.strides)
            return torch._utils._rebuild_tensor_v2, (stored[-1], 0, self.array.shape, steps, False, {})

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            if not isinstance(value, _Stored):
                return None
            return "storage", kinds[value.array.dtype.str[1:]], value.key, "cpu", value.array.size

    def wrap(value):
        if isinstance(value, dict):
            return {k: wrap(v) for k, v in value.items()}
        return Tensor(value) if isinstance(value, np.ndarray) else value

    index = io.BytesIO()
    Pickler(index, protocol=2).dump(wrap(content))
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", index.getvalue())
        for storage in stored:
            archive.writestr(f"archive/data/{storage.key}", storage.array.tobytes())
        archive.writestr("archive/version", "3\n")
    for name in [n for n in sys.modules if n == "torch" or n.startswith("torch.")]:
        del sys.modules[name]
    return target.getvalue()


def linear(name: str, inputs: int, outputs: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(len(name))
    return {f"{name}weight": rng.normal(size=(outputs, inputs)).astype("f4"), f"{name}bias": rng.normal(size=outputs).astype("f4")}


def smpl(vertices: int = 6890) -> bytes:
    """A dictionary of SMPL's members and shapes, all zero."""
    shapes = {"v_template": (vertices, 3), "f": (13776, 3), "weights": (vertices, 24), "shapedirs": (vertices, 3, 10),
              "posedirs": (vertices, 3, 207), "J_regressor": (24, vertices), "kintree_table": (2, 24), "J": (24, 3)}
    return pickle.dumps({k: np.zeros(s, dtype="u1") for k, s in shapes.items()}, protocol=2)


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def array(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def arrays(**values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **values)
    return buffer.getvalue()


def make_home(home: Path) -> Path:
    """Fills the folder that is to be HOME."""
    cache, iopath = home / ".cache", home / ".torch/iopath_cache"
    body = smpl()
    for part in ("4DHumans/data", "phalp/3D"):
        write(cache / part / "SMPL_to_J19.pkl", pickle.dumps(np.zeros((19, 6890), dtype="f4"), protocol=2))
        write(cache / part / "smpl_mean_params.npz", arrays(pose=np.zeros(144), shape=np.zeros(10), cam=np.zeros(3)))
    write(cache / "4DHumans/data/smpl/SMPL_NEUTRAL.pkl", body)
    write(cache / "phalp/3D/models/smpl/SMPL_NEUTRAL.pkl", body)
    write(cache / "phalp/3D/mean_std.npy", array(np.zeros((2, 1, 229))))
    write(cache / "phalp/3D/texture.npz", arrays(smpl_faces=np.zeros((13776, 3), dtype="u4")))
    write(cache / "phalp/3D/bmap_256.npy", array(np.zeros((256, 256, 3), dtype="f4")))
    write(cache / "phalp/3D/fmap_256.npy", array(np.zeros((256, 256), dtype="i8")))
    write(cache / "phalp/weights/hmar_v2_weights.pth", torch_file({"model": linear("hmar.encoding_head.", 3, 2)}))
    write(cache / "phalp/weights/pose_predictor.pth", torch_file({"state_dict": linear("encoder.", 5, 4)}))
    write(cache / "phalp/weights/pose_predictor.yaml", b"configs: {in_feat: 1024, frame_length: 125}\n" * 4)
    write(home / HMR2 / "model_config.yaml", b"MODEL: {IMAGE_SIZE: 256, BACKBONE: {TYPE: vit}}\n" * 4)
    write(home / HMR2 / "checkpoints/epoch=35-step=1000000.ckpt",
          torch_file({"state_dict": linear("backbone.", 6, 5), "optimizer_states": [1]}))
    for place in PLACES.values():
        write(iopath / place, pickle.dumps({"model": linear("head.", 4, 3), "__author__": "stand-in"}, protocol=4))
    list_digests(iopath)
    return home


def list_digests(root: Path) -> None:
    """The stand-ins' files do not have the digests that their names carry."""
    import hashlib
    lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(root)}\n" for p in sorted(root.rglob("*.pkl"))]
    (root / "weights.sha256").write_text("".join(lines))
