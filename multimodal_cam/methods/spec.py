"""The table of methods: what each is called, how it is computed, whether its maps add up, and its paper.

A function is named by its import path, so that listing the methods loads no torch.
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from .method_options import ABLATED, CELLS, FILL, SAMPLES, SEED, STRIDE, WHERE, WINDOW, MethodOption

if TYPE_CHECKING:
    from torch import Tensor

    from .canvas import Canvas

CamMethod = Callable[["Tensor", "Tensor"], "Tensor"]
MethodKind = Literal["gradient", "path", "noise", "activations", "attention", "pixels", "perturbation"]
ReluRule = Literal["guided", "deconvnet"]


@dataclass(frozen=True)
class PixelRule:
    """How the gradients of a score with respect to the photo's pixels become a map of them.

    Attributes:
        at: Where gradients are taken: at the photo, at noisy copies of it, or on the path from no photo to it (their mean).
        relu: What passes back through a ReLU; None: the gradient.
        times: What gradients are multiplied by: the pixels (on a path, their change from no photo), or the layer's Grad-CAM.
    """

    at: Literal["photo", "noise", "path"] = "photo"
    relu: ReluRule | None = None
    times: Literal["pixels", "grad_cam"] | None = None


@dataclass(frozen=True)
class MethodSpec:
    """A method of explanation.

    Attributes:
        name: What `explain(method=)` and `--method` take.
        kind: `gradient` (a function of activations and gradients at the photo), `path` (gradients averaged from the baseline to
            the photo), `noise` (a function of the gradients at noisy copies of the photo), `activations` (of these alone, no
            gradient: one map for all words), `attention` (the model's own, no gradient), `pixels` (gradients with respect to
            the photo's pixels) or `perturbation` (scores of perturbed photos, no gradient).
        linear: Whether the map of a phrase is the sum of its tokens' maps.
        paper: Title or name, authors, venue and equation.
        function: `(activations (m, c, h, w), gradients (m, c, h, w)) -> maps (m, h, w)` of a `gradient` method, or its import
            path `module:name` within `multimodal_cam.methods`; None for `path` and `attention`. Gradients are those of all `n`
            copies for `noise`, `(m, n c, h, w)`, and zeros for `activations`. Of a `perturbation` method it is
            `(canvas, options) -> ` maps `(s, b, h, w)`, or numbers of the channels `(s, b, c, 1, 1)` if the method has `weigh`.
        aliases: Other names that are accepted.
        pixels: Rule of a `pixels` method; None for the other kinds.
        options: Options of this method alone, which `explain`, the command line and the study take.
        weigh: Import path of what makes maps of a `perturbation` method's numbers of channels, in the place of gradients.
        by_channel: Whether words add up and a map is the sum of one for each channel, which depends on that channel alone.
    """

    name: str
    kind: MethodKind
    linear: bool
    paper: str
    function: str | CamMethod | None = None
    aliases: tuple[str, ...] = ()
    pixels: PixelRule | None = None
    options: tuple[MethodOption, ...] = ()
    weigh: str | None = None
    by_channel: bool = False

    @property
    def uses_layer(self) -> bool:
        """Whether the map depends on the tapped layer."""
        return self.pixels is None or self.pixels.times == "grad_cam"

    def read_options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Values of the method's options: those `given`, checked, and the defaults of the others.

        Raises TypeError for an option that it does not have, ValueError for a value that an option cannot have.
        """
        names = [option.name for option in self.options]
        for name in given:
            if name not in names:
                own = f"its options are {', '.join(f'{each}=' for each in names)}" if names else "it has no options"
                others = f"; {', '.join(methods_with(name))} has it" if methods_with(name) else ""
                raise TypeError(f"{self.name} has no {name}=: {own}{others}")
        return {option.name: option.value(given.get(option.name)) for option in self.options}

    def perturb(self, canvas: Canvas, options: Mapping[str, Any]) -> Tensor:
        """Maps `(s, b, h, w)` of a linear `perturbation` method, numbers of the channels `(s, b, c, 1, 1)` of another."""
        assert isinstance(self.function, str)
        found: Tensor = _imported(self.function)(canvas, options)
        return found

    @property
    def takes_steps(self) -> bool:
        """Whether gradients are averaged over several points, as many as `n_steps` says."""
        return self.kind in ("path", "noise") or (self.pixels is not None and self.pixels.at != "photo")

    def maps(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """Maps `(m, h, w)`, signed and raw, from activations and gradients `(m, c, h, w)`.

        Raises TypeError for a method that is no function of gradients, or gives no tensor, and ValueError for a function of the
        user's whose maps have another shape, or numbers that are not finite.
        """
        function = self.weigh if self.kind == "perturbation" else self.function
        if isinstance(function, str):
            function = _imported(function)
        if not callable(function):
            raise TypeError(f"{self.name} is not computed from gradients at one point: use explain(method={self.name!r})")
        maps: Tensor = function(activations, gradients)
        if callable(self.function):
            _check_maps(self.name, maps, activations)
        return maps

    def channel_maps(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """Maps `(m, c, h, w)` of a `by_channel` method of gradients, one for each channel: together they are `maps`."""
        m, c, h, w = activations.shape
        alone = (m * c, 1, h, w)
        return self.maps(activations.reshape(alone), gradients.reshape(alone)).view(m, c, h, w)


def _imported(path: str) -> Callable[..., Any]:
    module, _, name = path.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(f"multimodal_cam.methods.{module}"), name)
    return function


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


def _pixel_spec(name: str, paper: str, rule: PixelRule, *aliases: str) -> MethodSpec:
    """A method of pixels. What a ReLU rule lets pass back of a sum is not the sum of what it lets pass of each."""
    return MethodSpec(name, "pixels", rule.relu is None, paper, aliases=aliases, pixels=rule)


_SPECS = (
    MethodSpec(
        "ablation_cam",
        "perturbation",
        True,
        "Ablation-CAM, Desai and Ramaswamy, WACV 2020, eq. 3 and 4, in the unit of the score",
        "channels:ablation_cam",
        options=(ABLATED,),
    ),
    MethodSpec(
        "kernel_shap",
        "perturbation",
        True,
        "KernelSHAP, Lundberg and Lee, NeurIPS 2017, theorem 2, over a grid of cells",
        "shapley:kernel_shap",
        options=(WHERE, CELLS, SAMPLES, SEED, FILL),
    ),
    MethodSpec(
        "rise",
        "perturbation",
        True,
        "RISE, Petsiuk et al., BMVC 2018, eq. 6, less its constant",
        "random_masks:rise",
        options=(WHERE, CELLS, SAMPLES, SEED, FILL),
    ),
    MethodSpec(
        "score_cam",
        "perturbation",
        False,
        "Score-CAM, Wang et al., CVPR-W 2020, eq. 5 and 6",
        "channels:score_increases",
        options=(WHERE, FILL),
        weigh="channels:score_cam",
    ),
    MethodSpec(
        "attention",
        "attention",
        linear=True,
        paper="The model's own attention, Xu et al., ICML 2015, where it has some: no gradient, no unit",
    ),
    _pixel_spec(
        "deconvnet",
        "Deconvnet, Zeiler and Fergus, ECCV 2014, sec. 2.1, on pixels; needs ReLUs",
        PixelRule(relu="deconvnet"),
        "deconvolution",
    ),
    _pixel_spec(
        "deconvolution_grad_cam",
        "Deconvolution Grad-CAM, Selvaraju et al., IJCV 2020, sec. 3.2: `deconvnet` times Grad-CAM, on pixels",
        PixelRule(relu="deconvnet", times="grad_cam"),
    ),
    MethodSpec(
        "eigen_cam",
        "activations",
        False,
        "Eigen-CAM, Muhammad and Yeasin, IJCNN 2020, centred as in pytorch-grad-cam: no gradient, the same for every word",
        "gradient:eigen_cam",
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
        by_channel=True,
    ),
    _pixel_spec(
        "gradient",
        "Gradient of the pixels (Simonyan et al., ICLR-W 2014, sec. 3), with its sign",
        PixelRule(),
        "saliency",
        "vanilla_gradient",
    ),
    _pixel_spec(
        "gradient_x_input",
        "Gradient times input, Shrikumar et al., 2016, on pixels",
        PixelRule(times="pixels"),
        "input_x_gradient",
    ),
    MethodSpec("grad_cam", "gradient", True, "Selvaraju et al., ICCV 2017, eq. 1 and 2", "gradient:grad_cam", by_channel=True),
    MethodSpec(
        "grad_cam_pp",
        "gradient",
        False,
        "Grad-CAM++, Chattopadhay et al., WACV 2018, eq. 19 with the derivatives of `exp(score)`",
        "gradient:grad_cam_pp",
    ),
    _pixel_spec(
        "guided_backprop",
        "Guided backpropagation, Springenberg et al., ICLR-W 2015, sec. 3.4, on pixels; needs ReLUs; known to fail the "
        "randomisation test (Adebayo et al., NeurIPS 2018)",
        PixelRule(relu="guided"),
        "guided_backpropagation",
    ),
    _pixel_spec(
        "guided_grad_cam",
        "Guided Grad-CAM, Selvaraju et al., ICCV 2017, sec. 3.1: `guided_backprop` times Grad-CAM, on pixels",
        PixelRule(relu="guided", times="grad_cam"),
    ),
    MethodSpec("hires_cam", "gradient", True, "HiResCAM, Draelos and Carin, 2020, eq. 4", "gradient:hires_cam", by_channel=True),
    MethodSpec("layer_cam", "gradient", False, "LayerCAM, Jiang et al., TIP 2021, eq. 5 and 6", "gradient:layer_cam"),
    _pixel_spec(
        "pixel_integrated_gradients",
        "Integrated gradients on pixels, Sundararajan et al., ICML 2017, eq. 1, from no photo to the photo",
        PixelRule(at="path", times="pixels"),
    ),
    _pixel_spec(
        "smooth_grad",
        "SmoothGrad, Smilkov et al., 2017: mean gradient of the pixels of noisy copies of the photo",
        PixelRule(at="noise"),
    ),
    MethodSpec(
        "smooth_grad_cam_pp",
        "noise",
        False,
        "Smooth Grad-CAM++, Omeiza et al., 2019: Grad-CAM++ over noisy copies of the photo",
        "gradient:smooth_grad_cam_pp",
    ),
    MethodSpec(
        "occlusion",
        "perturbation",
        True,
        "Occlusion sensitivity, Zeiler and Fergus, ECCV 2014, section 4.2",
        "occlusion:occlusion",
        ("occlusion_sensitivity",),
        options=(WHERE, WINDOW, STRIDE, FILL),
    ),
    MethodSpec("xgrad_cam", "gradient", True, "XGrad-CAM, Fu et al., BMVC 2020, eq. 8", "gradient:xgrad_cam", by_channel=True),
)

METHODS: Mapping[str, MethodSpec] = {spec.name: spec for spec in sorted(_SPECS, key=lambda spec: spec.name)}

_ALIASES = {alias: spec.name for spec in _SPECS for alias in spec.aliases}

_SPELLINGS = {  # as other libraries write them, without capitals and marks
    name.replace("_", ""): own.name for own in _SPECS for name in (own.name, *own.aliases)
} | {
    "smoothgradcam++": "smooth_grad_cam_pp",
    "gradcam++": "grad_cam_pp",
    "gradcamplusplus": "grad_cam_pp",
    "ig": "evidence",
    "integratedgradients": "evidence",
}

METHOD_NAMES = (*METHODS, *_ALIASES)  # all that `find_method` takes by name


def methods_with(option: str) -> list[str]:
    """Names of the methods that have this option."""
    return [spec.name for spec in METHODS.values() if option in (own.name for own in spec.options)]


def find_method(method: str | CamMethod, kinds: Collection[MethodKind] = get_args(MethodKind)) -> MethodSpec:
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
