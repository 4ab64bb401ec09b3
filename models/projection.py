"""The last spatial layer of the bundled networks: the encoder's channels, projected cell by cell."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class UnitLength(nn.Module):
    """Cells `(b, d, h, w)` of any length -> the same of length 1: a unit vector times a cell is their cosine."""

    def forward(self, cells: Tensor) -> Tensor:
        return F.normalize(cells, dim=1)


class NeighbourMean(nn.Module):
    """Cells `(b, d, h, w)` -> the mean of each one and its neighbours, 3 x 3 cells, `times` over; nothing is padded."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def forward(self, cells: Tensor) -> Tensor:
        for _ in range(self.times):
            cells = F.avg_pool2d(cells, 3, stride=1, padding=1, count_include_pad=False)
        return cells


def projection(channels: int, width: int, *, unit_cells: bool, smoothing: int) -> nn.Sequential:
    """Encoder's features `(b, channels, h, w)` -> cells `(b, width, h, w)`: a 1 x 1 convolution and a ReLU.

    With `unit_cells`, one more convolution, and cells of length 1. `smoothing`: how often cells take the mean of their
    neighbourhood, after all else.
    """
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 1), nn.ReLU()]
    if unit_cells:
        layers += [nn.Conv2d(width, width, 1), UnitLength()]
    if smoothing:
        layers.append(NeighbourMean(smoothing))
    return nn.Sequential(*layers)
