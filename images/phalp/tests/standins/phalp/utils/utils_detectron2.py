import cv2
import numpy as np
from torch import nn


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)


def instantiate(_config):
    return Network()


class DetectionCheckpointer:
    def __init__(self, _model):
        raise RuntimeError("upstream's own checkpointer copies everything twice")


class DefaultPredictor_Lazy:
    """Finds bright rectangles."""

    def __init__(self, url):
        self.model = instantiate(None)
        DetectionCheckpointer(self.model).load(url)
        self.model.eval().cuda()

    def __call__(self, picture):
        _, mask = cv2.threshold(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), 128, 255, cv2.THRESH_BINARY)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
        found = [k for k in range(1, count) if stats[k][4] > 40]
        boxes = np.array([[x, y, x + w, y + h] for x, y, w, h, _ in stats[found]], dtype="f4").reshape(-1, 4)
        return boxes, np.array([labels == k for k in found]).reshape(-1, *mask.shape)
