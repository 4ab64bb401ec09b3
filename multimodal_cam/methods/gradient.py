"""Gradient methods: functions `(activations (m, c, h, w), gradients (m, c, h, w)) -> maps (m, h, w)`, signed.

`spec.METHODS` lists them. The papers' final ReLU is applied where a map is drawn: a sign is information. Letters: `A` activations
of the layer, `G = d score / d A`, `w` channel weights, sums over space written `sum_ij`.
"""

from __future__ import annotations

import torch
from torch import Tensor


def grad_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Selvaraju et al., ICCV 2017, eq. 1 and 2: `sum_c w_c A_c` with `w_c = mean_ij G_c`."""
    return torch.einsum("mc,mchw->mhw", gradients.mean(dim=(2, 3)), activations)


def grad_cam_pp(activations: Tensor, gradients: Tensor) -> Tensor:
    """Grad-CAM++, Chattopadhay et al., WACV 2018, eq. 19 with the derivatives of `exp(score)`:

    `alpha = G^2 / (2 G^2 + sum_ij A G^3)` where the denominator is not 0, `w_c = sum_ij alpha relu(G)`.
    """
    square = gradients**2
    denominator = 2 * square + (activations.sum(dim=(2, 3), keepdim=True) * gradients**3)
    alpha = torch.where(denominator != 0, square / torch.where(denominator != 0, denominator, 1), 0)
    return torch.einsum("mc,mchw->mhw", (alpha * gradients.relu()).sum(dim=(2, 3)), activations)


def smooth_grad_cam_pp(activations: Tensor, gradients: Tensor) -> Tensor:
    """Smooth Grad-CAM++, Omeiza et al., 2019: Grad-CAM++ with means of `G`, `G^2`, `G^3` over `n` noisy copies of the photo.

    `gradients` `(m, n c, h, w)` holds those of all copies, one after the other; the activations are the photo's own. `G^2` stands
    in the numerator of `alpha`, as in Grad-CAM++; the paper's `G` there is a slip.
    """
    copies = gradients.reshape(len(activations), -1, *activations.shape[1:])
    first, square, cube = ((copies**power).mean(dim=1) for power in (1, 2, 3))
    denominator = 2 * square + activations.sum(dim=(2, 3), keepdim=True) * cube
    alpha = torch.where(denominator != 0, square / torch.where(denominator != 0, denominator, 1), 0)
    return torch.einsum("mc,mchw->mhw", (alpha * first.relu()).sum(dim=(2, 3)), activations)


def xgrad_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """XGrad-CAM, Fu et al., BMVC 2020, eq. 8: `w_c = sum_ij G_c A_c / sum_ij A_c`, 0 for a channel that sums to 0."""
    total = activations.sum(dim=(2, 3))
    weights = (gradients * activations).sum(dim=(2, 3)) / torch.where(total != 0, total, 1)
    return torch.einsum("mc,mchw->mhw", torch.where(total != 0, weights, 0), activations)


def hires_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """HiResCAM, Draelos and Carin, 2020, eq. 4: `sum_c G_c A_c`, cell by cell."""
    return (activations * gradients).sum(dim=1)


def layer_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """LayerCAM, Jiang et al., TIP 2021, eq. 5 and 6: `sum_c relu(G_c) A_c`, cell by cell."""
    return (activations * gradients.relu()).sum(dim=1)


def eigen_grad_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Eigen-Grad-CAM (pytorch-grad-cam, after Muhammad and Yeasin, IJCNN 2020): `A G` on its first principal component."""
    return _principal_maps(activations * gradients)


def eigen_cam(activations: Tensor, gradients: Tensor) -> Tensor:  # noqa: ARG001
    """Eigen-CAM, Muhammad and Yeasin, IJCNN 2020: `A` on its first principal component, the same map for every score.

    The cells' `A` vectors are centred, as in pytorch-grad-cam; the paper's eq. 3 leaves them where they are.
    """
    return _principal_maps(activations)


def _principal_maps(values: Tensor) -> Tensor:
    """Maps `(m, h, w)`: the cells' vectors `(m, c, h, w)`, centred, on their first principal component.

    The component's sign, arbitrary in an SVD, is the one that correlates positively with the sum over the channels.
    """
    cells = values.flatten(2).transpose(1, 2).float()  # (m, h w, c)
    scale = cells.abs().amax(dim=(1, 2), keepdim=True)
    cells = cells / torch.where(scale > 0, scale, 1)  # gradients of confident words are tiny: the SVD needs a scale
    cells = cells - cells.mean(dim=1, keepdim=True)
    principal: Tensor = torch.linalg.svd(cells, full_matrices=False).Vh[:, :1]  # (m, 1, c)
    projected = (cells * principal).sum(dim=2)
    sign = torch.where((projected * cells.sum(dim=2)).sum(dim=1, keepdim=True) < 0, -1, 1)
    maps = projected * sign * scale[..., 0]
    return maps.view_as(values[:, 0]).to(values.dtype)
