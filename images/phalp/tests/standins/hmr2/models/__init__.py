"""Stand-in."""

from torch import nn


class HMR2(nn.Module):
    def __init__(self, _config, init_renderer):
        super().__init__()
        assert not init_renderer, "a renderer was wanted"
        self.backbone = nn.Linear(6, 5)
        self.discriminator = nn.Linear(2, 2)
