"""Random weights of the right shapes, at the full size of the models, in the files and folders where upstream looks.

Every model is built by the image's own upstream code, and what its constructor drew is saved. The results mean nothing;
load, memory, time and the way of the data are those of real weights. The detectors' last biases are set so that they find a
large "person" or two in any picture: with random weights alone they would find nobody.
"""

from __future__ import annotations

import argparse
import hashlib
import pickle
import sys
from pathlib import Path

import body
import numpy as np
import yaml

HMR2_CONFIG = {
    "GENERAL": {}, "TRAIN": {}, "EXTRA": {"FOCAL_LENGTH": 5000},
    "LOSS_WEIGHTS": {"ADVERSARIAL": 0.0005},
    "SMPL": {"MODEL_PATH": "data/smpl", "GENDER": "neutral", "NUM_BODY_JOINTS": 23,
             "JOINT_REGRESSOR_EXTRA": "data/SMPL_to_J19.pkl", "MEAN_PARAMS": "data/smpl_mean_params.npz"},
    "MODEL": {"IMAGE_SIZE": 256, "IMAGE_MEAN": [0.485, 0.456, 0.406], "IMAGE_STD": [0.229, 0.224, 0.225],
              "BACKBONE": {"TYPE": "vit"},
              "SMPL_HEAD": {"TYPE": "transformer_decoder", "IN_CHANNELS": 2048,
                            "TRANSFORMER_DECODER": {"depth": 6, "heads": 8, "mlp_dim": 1024, "dim_head": 64, "dropout": 0.0,
                                                    "emb_dropout": 0.0, "norm": "layer", "context_dim": 1280}}},
}
PREDICTOR_CONFIG = {"configs": {
    "in_feat": 1024, "frame_length": 125, "max_people": 1, "num_smpl_heads": 1, "mask_ratio": 0.1, "mask_type_test": "zero",
    "transformer": {"depth": 6, "heads": 8, "mlp_dim": 512, "dim_head": 64, "dropout": 0.1, "emb_dropout": 0.1, "droppath": 0.1,
                    "conv": {"pad": 1, "stride": 5}},
    "extra_feat": {"enable": "", "pose_shape": {"dim": 229, "mid_dim": 1024, "en_dim": 1024}},
    "ava": {"num_action_classes": 80, "num_valid_action_classes": 60, "predict_valid": True},
}}


def arrays(module) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in module.state_dict().items()}


def zoo(path: Path, weights: dict) -> None:
    """A file in the form of detectron2's model zoo."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        pickle.dump({"model": weights, "__author__": "random weights of the project's own making"}, file, protocol=4)
    print(f"{path.name}: {path.stat().st_size / 1e6:.0f} MB", flush=True)


def see_people(weights: dict) -> None:
    """Every proposal becomes a person, and its box grows to the whole picture, so that one or two are left."""
    for name, value in weights.items():
        if "cls_score" in name or "bbox_pred" in name:
            value[...] = value * 1e-3 if name.endswith("weight") else 0
        if name.endswith("cls_score.bias"):
            value[0] = 10
        if name.endswith("bbox_pred.bias") and "box_predictor" in name:
            value[2:4] = 20


def detectors(iopath: Path) -> None:
    import phalp
    import phalp.utils.utils_detectron2  # noqa: F401  registers the architecture for given boxes
    from detectron2 import model_zoo
    from detectron2.config import LazyConfig, get_cfg, instantiate
    from detectron2.modeling import build_model
    root = iopath / "detectron2"
    light = model_zoo.get_config("new_baselines/mask_rcnn_regnety_4gf_dds_FPN_400ep_LSJ.py")
    heavy = LazyConfig.load(str(Path(phalp.__file__).parent / "configs/cascade_mask_rcnn_vitdet_h_75ep.py"))
    for config, place in ((light, "new_baselines/mask_rcnn_regnety_4gf_dds_FPN_400ep_LSJ/42045954/model_final_ef3a80.pkl"),
                          (heavy, "ViTDet/COCO/cascade_mask_rcnn_vitdet_h/f328730692/model_final_f05665.pkl")):
        weights = arrays(instantiate(config.model))
        see_people(weights)
        zoo(root / place, weights)
        del weights
    given = get_cfg()
    given.merge_from_file(model_zoo.get_config_file("COCO-InstanceSegmentation/mask_rcnn_X_101_32x8d_FPN_3x.yaml"))
    given.MODEL.DEVICE = "cpu"
    given.MODEL.META_ARCHITECTURE = "GeneralizedRCNN_with_proposals"
    zoo(root / "COCO-InstanceSegmentation/mask_rcnn_X_101_32x8d_FPN_3x/139653917/model_final_2d9806.pkl", arrays(build_model(given)))


def hmr2(cache: Path) -> None:
    import torch
    from hmr2.configs import get_config
    from hmr2.models import HMR2
    folder = cache / "4DHumans/logs/train/multiruns/hmr2/0"
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    (folder / "model_config.yaml").write_text(yaml.safe_dump(HMR2_CONFIG))
    (cache / "4DHumans/hmr2_data.tar.gz").write_bytes(b"random weights, unpacked already")
    network = HMR2(get_config(str(folder / "model_config.yaml"), update_cachedir=True), init_renderer=False)
    state = network.state_dict()
    for name in ("decpose", "decshape", "deccam"):  # near the mean pose, so that bodies stay in one piece
        for end in ("weight", "bias"):
            state[f"smpl_head.{name}.{end}"] *= 0.05
    torch.save({"state_dict": state, "hyper_parameters": {}, "pytorch-lightning_version": "2.1.4", "epoch": 0, "global_step": 0},
               folder / "checkpoints/epoch=35-step=1000000.ckpt")
    print("HMR2", flush=True)


def tracker(cache: Path, torch_home: Path) -> None:
    from types import SimpleNamespace

    import torch
    import torchvision
    from omegaconf import OmegaConf
    from phalp.configs.base import FullConfig
    from phalp.models.hmar import HMAR
    from phalp.models.predictor.pose_transformer_v2 import Pose_transformer_v2
    weights, ava = cache / "phalp/weights", cache / "phalp/ava"
    for folder in (weights, ava, torch_home / "hub/checkpoints"):
        folder.mkdir(parents=True, exist_ok=True)
    for name in ("ava_labels.pkl", "ava_class_mapping.pkl"):
        (ava / name).write_bytes(pickle.dumps({}))
    torch.save(torchvision.models.resnet50(weights=None).state_dict(), torch_home / "hub/checkpoints/resnet50-19c8e357.pth")
    (weights / "pose_predictor.yaml").write_text(yaml.safe_dump(PREDICTOR_CONFIG))
    config = OmegaConf.structured(FullConfig)
    old = HMAR(config)
    torch.save({"model": {"hmar." + k.replace("smpl_head", "smplx_head"): v for k, v in old.state_dict().items()}},
               weights / "hmar_v2_weights.pth")
    predictor = Pose_transformer_v2(config, SimpleNamespace(HMAR=old))
    torch.save({"state_dict": {"encoder." + k: v for k, v in predictor.encoder.state_dict().items()}}, weights / "pose_predictor.pth")
    print("PHALP", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("home", type=Path, help="folder to fill; HOME of the runs")
    home = parser.parse_args().home.resolve()
    import paths
    paths.use(home)
    import shims
    shims.no_gpu()
    import torch
    torch.manual_seed(1)
    body.write(home / ".cache", np.random.default_rng(1))
    hmr2(home / ".cache")
    tracker(home / ".cache", home / ".cache/torch")
    detectors(home / ".torch/iopath_cache")
    list_digests(home / ".torch/iopath_cache", home / ".cache/torch")
    print("random weights are ready", flush=True)


def digest(path: Path) -> str:
    made = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            made.update(block)
    return made.hexdigest()


def list_digests(*roots: Path) -> None:
    """weights.sha256 of each cache: the names of these files carry digests of the real ones."""
    for root in roots:
        lines = []
        for path in sorted(p for p in root.rglob("*") if p.suffix in (".pkl", ".pth")):
            lines.append(f"{digest(path)}  {path.relative_to(root)}\n")
        (root / "weights.sha256").write_text("".join(lines))


if __name__ == "__main__":
    sys.exit(main())
