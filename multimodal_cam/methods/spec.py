"""The table of methods: what each is called, how it is computed, whether its maps add up, and its paper.

A function is named by its import path, so that listing the methods loads no torch.
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

CamMethod = Callable[["Tensor", "Tensor"], "Tensor"]
MethodKind = Literal["gradient", "path", "attention"]


@dataclass(frozen=True)
class MethodSpec:
    """A method of explanation.

    Attributes:
        name: What `explain(method=)` and `--method` take.
        kind: `gradient` (a function of activations and gradients at the photo), `path` (gradients averaged from the baseline to
            the photo) or `attention` (the model's own, no gradient).
        linear: Whether the map of a phrase is the sum of its tokens' maps.
        paper: Title or name, authors, venue and equation.
        function: `(activations (m, c, h, w), gradients (m, c, h, w)) -> maps (m, h, w)` of a `gradient` method, or its import
            path `module:name` within `multimodal_cam.methods`; None for the other kinds.
        aliases: Other names that are accepted.
    """

    name: str
    kind: MethodKind
    linear: bool
    paper: str
    function: str | CamMethod | None = None
    aliases: tuple[str, ...] = ()

    def maps(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """Maps `(m, h, w)`, signed and raw, from activations and gradients `(m, c, h, w)`.

        Raises TypeError for a method that is no function of gradients, or gives no tensor, and ValueError for a function of the
        user's whose maps have another shape, or numbers that are not finite.
        """
        function = self.function
        if isinstance(function, str):
            module, _, name = function.partition(":")
            function = getattr(importlib.import_module(f"multimodal_cam.methods.{module}"), name)
        if not callable(function):
            raise TypeError(f"{self.name} is not computed from gradients at one point: use explain(method={self.name!r})")
        maps = function(activations, gradients)
        if callable(self.function):
            _check_maps(self.name, maps, activations)
        return maps


def _check_maps(name: str, maps: Tensor, activations: Tensor) -> None:
    m, _, h, w = activations.shape
    if not hasattr(maps, "isfinite"):
        raise TypeError(f"method {name}: expected a tensor of maps {(m, h, w)}, got {type(maps).__name__}")
    if tuple(maps.shape) != (m, h, w):
        raise ValueError(
            f"method {name}: expected maps (m, h, w), here {(m, h, w)}, got {tuple(maps.shape)}: sum over the channels"
        )
    if not bool(maps.isfinite().all()):
        raise ValueError(f"method {name}: expected finite numbers, got NaN or infinity: guard what you divide by")


_SPECS = (
    MethodSpec(
        "attention",
        "attention",
        linear=True,
        paper="The model's own attention, Xu et al., ICML 2015, where it has some: no gradient, no unit",
    ),
    MethodSpec(
        "eigen_grad_cam",
        "gradient",
        False,
        "Eigen-Grad-CAM (pytorch-grad-cam, after Muhammad and Yeasin, IJCNN 2020)",
        "gradient:eigen_grad_cam",
    ),
    MethodSpec(
        "evidence",
        "path",
        linear=True,
        paper="Integrated gradients at the layer, Sundararajan et al., ICML 2017, eq. 1",
        aliases=("integrated_gradients",),
    ),
    MethodSpec("grad_cam", "gradient", True, "Selvaraju et al., ICCV 2017, eq. 1 and 2", "gradient:grad_cam"),
    MethodSpec(
        "grad_cam_pp",
        "gradient",
        False,
        "Grad-CAM++, Chattopadhay et al., WACV 2018, eq. 19 with the derivatives of `exp(score)`",
        "gradient:grad_cam_pp",
    ),
    MethodSpec("hires_cam", "gradient", True, "HiResCAM, Draelos and Carin, 2020, eq. 4", "gradient:hires_cam"),
    MethodSpec("layer_cam", "gradient", False, "LayerCAM, Jiang et al., TIP 2021, eq. 5 and 6", "gradient:layer_cam"),
    MethodSpec("xgrad_cam", "gradient", True, "XGrad-CAM, Fu et al., BMVC 2020, eq. 8", "gradient:xgrad_cam"),
)

METHODS: Mapping[str, MethodSpec] = {spec.name: spec for spec in _SPECS}

_ALIASES = {alias: spec.name for spec in _SPECS for alias in spec.aliases}

_SPELLINGS = {  # as other libraries write them, without capitals and marks
    name.replace("_", ""): name for name in METHODS
} | {"gradcam++": "grad_cam_pp", "gradcamplusplus": "grad_cam_pp", "ig": "evidence", "integratedgradients": "evidence"}

METHOD_NAMES = (*METHODS, *_ALIASES)  # all that `find_method` takes by name


def find_method(method: str | CamMethod, kinds: Collection[MethodKind] = ("gradient", "path", "attention")) -> MethodSpec:
    """The method's entry, by its name in any spelling (`GradCAM`, `gradcam++`) or by a class of that name.

    A function of the user's gets an entry of its own, which is not taken to be linear.

    Raises ValueError, with the choices, for a name that is not in the table, or is of none of `kinds`.
    """
    if isinstance(method, type):
        method = method.__name__  # pytorch-grad-cam's and torch-cam's classes
    if not isinstance(method, str):
        name = getattr(method, "__name__", type(method).__name__)
        return MethodSpec(name, "gradient", linear=False, paper="a function of the user's", function=method)
    name = _ALIASES.get(method, method)
    if name not in METHODS:
        name = _SPELLINGS.get(re.sub(r"[\s_-]", "", name).lower(), name)
    choices = [spec.name for spec in METHODS.values() if spec.kind in kinds]
    if name not in choices:
        near = difflib.get_close_matches(str(method).lower(), choices, n=1)
        hint = f": did you mean {near[0]}?" if near else ""
        raise ValueError(f"unknown method {method!r}{hint or ';'} choose from {', '.join(choices)}")
    return METHODS[name]
