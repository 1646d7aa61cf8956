import os
import sys

import numpy as np
from torch import Tensor, nn


def resnet(**_named):
    raise RuntimeError("the unused backbone wants ImageNet's weights")


class SMPL(nn.Module):
    faces = np.zeros((4, 3), dtype="u4")

    def __init__(self):
        super().__init__()
        if os.environ.get("STANDIN_FAULT", "").startswith("stdout"):  # what upstream does while it loads SMPL
            sys.stdout = open(os.devnull, "w")
        if os.environ.get("STANDIN_FAULT") == "stdout_error":
            raise ValueError("a wrong body model")
        rng = np.random.default_rng(3)
        self.register_buffer("v_template", Tensor(rng.normal(size=(30, 3))))
        self.register_buffer("shapedirs", Tensor(rng.normal(size=(30, 3, 10), scale=0.01)))
        self.register_buffer("J_regressor", Tensor(np.full((24, 30), 1 / 30)))


class HMAR(nn.Module):
    def __init__(self, _config):
        super().__init__()
        self.backbone = resnet(pretrained=True)
        self.texture_head, self.smpl_head = nn.Linear(9, 9), nn.Linear(9, 9)
        self.encoding_head = nn.Linear(3, 2)
        self.smpl = SMPL()
