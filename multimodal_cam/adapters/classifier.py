"""Adapter of image classifiers: like VQA models without a question, their text is one token over the classes."""

from __future__ import annotations

import difflib
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from ..core.call_scope import evaluation_mode
from ..core.geometry import Placement
from ..core.hooks import LayerTap
from .contract import refuse_questions
from .encoder_input import CutNetworkAdapter
from .given_layouts import Layouts
from .head_extraction import is_followed_by_relu
from .image_preprocessing import ImagePreprocessing, channels_explained
from .inputs import Inputs
from .labels import LabelChooser, Labels, label_names
from .network_outputs import NetworkOutputs, Outputs, OutputsOfAnyKind, trial_photos, try_outputs
from .unwrapping import bare_name, unwrapped

log = logging.getLogger("multimodal_cam")


class Classifier(CutNetworkAdapter, OutputsOfAnyKind, LabelChooser):
    """See `classifier`."""

    task = "classification"
    head_input_layer: nn.Module | None = None

    def __init__(
        self,
        network: nn.Module,
        labels: Any,
        layer: nn.Module | str | None,
        preprocessing: ImagePreprocessing,
        *,
        outputs: Outputs | None,
        name: str,
        provenance: Mapping[str, str],
        layout: Layouts = None,
    ) -> None:
        super().__init__(network, network, preprocessing, layout)
        self.name, self.provenance, self.outputs = name, dict(provenance), NetworkOutputs(outputs, name)
        blank = self.blank_inputs()
        noise = self.noise_inputs()
        with channels_explained(self.module, blank.pixels, preprocessing.transform is not None):
            with evaluation_mode(self.module), torch.no_grad():  # first: of an output that is no tensor nothing can be said
                self._checked_scores(self.module(blank.pixels), len(blank.pixels))
            self.tap_layer(self.layers.default(noise) if layer is None else _find_layer(network, layer))
        self._read_outputs()
        with evaluation_mode(self.module), torch.no_grad():
            classes = self.logits(blank, torch.zeros(1, 1, dtype=torch.long)).shape[-1]
        self.labels = Labels(self._label_names(labels, classes))
        self.default_score = self.outputs.default_score(self.default_score)
        if layer is None:
            self._note_hidden_relu(noise)

    def _note_hidden_relu(self, inputs: Inputs) -> None:
        """Say that the default layer lies before a ReLU that is no module, and so cannot be tapped behind it."""
        view = self.layer_view(inputs, self.layer)
        with evaluation_mode(self.module), torch.no_grad():
            with LayerTap(self.layer, view=view) as tap:
                self.module(inputs.pixels)
            hidden = is_followed_by_relu(self.head, tap.activations, inputs.pixels, view)
        if hidden:
            name = next(name for name, module in self.module.named_modules() if module is self.layer)
            self.provenance["layer_note"] = "before a ReLU that is no module"
            log.warning(
                "%s: a ReLU that is a function, no module, follows the default layer %r, so that its map is that of the values "
                "before the ReLU, negative ones included; make it a module (self.relu = nn.ReLU()) to explain what follows it",
                self.name,
                name,
            )

    def _read_outputs(self) -> None:
        """Find out what the outputs are, from photos that differ; of `logits` nothing has to be found out."""
        if self.outputs.kind == "logits":
            return

        def run() -> Tensor:
            pixels = self.trial_inputs(trial_photos()).pixels.requires_grad_()
            output: Tensor = _output_tensor(self.module(pixels))
            return output

        trial = try_outputs(self.module, run)
        if isinstance(trial, Tensor) and trial.ndim == 2:
            self.outputs.check(trial)

    def _label_names(self, labels: Any, classes: int) -> Sequence[str]:
        """One label for each output. Raises ValueError if there are more or fewer."""
        if labels is None:
            labels = config_labels(self.module)
        if labels is None:
            return imagenet_labels() if classes == 1000 else [f"class {i}" for i in range(classes)]
        names = label_names(labels, "labels", "class")
        if len(names) != classes:
            raise ValueError(f"labels: {self.name} has {classes} outputs, expected a label for each, got {len(names)}")
        return names

    def preprocess(self, images: Sequence[Image.Image], questions: Sequence[str] | None = None) -> Inputs:
        refuse_questions(self.name, questions)
        return self.image_inputs(images)

    def logits(self, inputs: Inputs, ids: Tensor, activations: Tensor | None = None) -> Tensor:
        if activations is None:
            logits = inputs.to_rows(self._checked_logits(self.module(inputs.pixels), len(inputs.pixels)))
        else:
            logits = self._checked_logits(self.head_output(inputs, activations), len(activations))
        return logits[:, None].expand(-1, ids.shape[1], -1)

    def _checked_logits(self, output: Any, rows: int) -> Tensor:
        """The network's output `(rows, classes)` as logits. Raises ValueError for another shape."""
        return self.outputs.logits(self._checked_scores(output, rows))

    def _checked_scores(self, output: Any, rows: int) -> Tensor:
        """The network's output `(rows, classes)` as it is. Raises ValueError for another shape."""
        output = _output_tensor(output)
        fewest = 1 if self.outputs.kind == "sigmoid" else 2
        if isinstance(output, Tensor) and output.ndim == 2 and len(output) == rows and output.shape[1] >= fewest:
            return output
        what = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(
            f"{self.name}: expected logits ({rows}, classes) with two classes or more, got {what}; any other number is "
            "explained by explain_score"
        )


def classifier(
    module: nn.Module,
    *,
    labels: Any = None,
    layer: nn.Module | str | None = None,
    layout: Layouts = None,
    preprocess: Callable[[Image.Image], Tensor] | None = None,
    image_size: int = 224,
    placement: Callable[[int, int], Placement] | None = None,
    raw: bool = False,
    outputs: Outputs | None = None,
    name: str = "classifier",
    provenance: Mapping[str, str] | None = None,
) -> Classifier:
    """Your own image classifier, ready for `explain`: `classifier(module)`.

    `explain(model, photo)` explains the likeliest class, `text="tabby cat"` another one; `e.answers` are the likeliest five
    and `e.answer_maps` their maps, all from one pass. The network is neither changed nor copied. Its backbone runs once an image
    where torch.fx can trace what follows the layer, else once for the maps and once for `reliance`.

    Args:
        module: Network; `module(pixels)` gives logits `(b, classes)`, or an object that has them as `logits`, as transformers'
            `...ForImageClassification`.
        labels: A name for each class, or several with commas between them (`"tabby, tabby cat"`): a list, `{0: name}`,
            `{name: 0}` (`class_to_idx`), an object with `classes`. None: those of the network's `config`, else ImageNet's for
            1000 classes, else `class 0` and so on.
        layer: Tapped layer, a module or its dotted name. None: the last one that gives a grid or tokens that follow the photo,
            and that the logits depend on.
        layout: What the layer's axes are (`channels_first`, `channels_last`, `tokens`, or letters such as `bhwc`, `b1+nc`), or
            those of several layers by their names. None: they are measured, by changing parts of a photo.
        preprocess: One image -> pixels `(3, H, W)`, such as torchvision's `weights.transforms()`. None: the image is squeezed to
            `image_size`, with ImageNet's mean and deviation.
        image_size: Side of the squeezed image in pixels.
        placement: Placement of the pixels on an image of the given width and height (`geometry.squeeze`, `center_crop`,
            `letterbox`). None: measured, with photos of known patterns.
        raw: Hand `preprocess` the array as stored, `(H, W)` or `(H, W, bands)`, and no RGB image: 12 or 16 bits, floating point,
            four bands, DICOM. The photo of no content is then each photo's own mean.
        outputs: What the network gives: `logits`, `log_probs`, `probabilities`, or `sigmoid` where each label has a probability
            of its own (findings, tags, one class or none). None: noticed, and said where it is not logits.
        name: Name in records and pages.
        provenance: Source of the weights, for the record.

    Returns:
        A `TaskAdapter`.

    Raises:
        TypeError, ValueError: `module` is no network, or TorchScript; the labels cannot be read, or do not fit the outputs; no
            layer gives a grid; or `outputs` is not what the network gives.
    """
    preprocessing = ImagePreprocessing(preprocess, image_size, placement, raw)
    return Classifier(
        unwrapped(module, "module"),
        labels,
        layer,
        preprocessing,
        outputs=outputs,
        name=name,
        provenance=provenance or {},
        layout=layout,
    )


@functools.cache
def imagenet_labels() -> tuple[str, ...]:
    """ImageNet-1k's classes in their usual order, each with its synonyms: `tabby, tabby cat`."""
    from timm import data
    from torchvision.models import ResNet50_Weights

    timm_data: Any = data
    labels = timm_data.ImageNetInfo("imagenet-1k").label_descriptions()
    single = ResNet50_Weights.DEFAULT.meta["categories"]  # two classes are `crane`: here one is a `crane bird`
    return tuple(other if labels.count(label) > 1 else label for label, other in zip(labels, single, strict=True))


def config_labels(network: nn.Module) -> Any:
    """Labels of a network of transformers, `{id: label}`; None for one that has no configuration, or only `LABEL_0` and so on."""
    labels = getattr(getattr(network, "config", None), "id2label", None)
    if not isinstance(labels, Mapping) or all(str(label).startswith("LABEL_") for label in labels.values()):
        return None
    return labels


def _output_tensor(output: Any) -> Any:
    """The logits in what a network gives, where they are named; else all of it."""
    named = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    return output if named is None else named


def _find_layer(network: nn.Module, layer: nn.Module | str) -> nn.Module:
    """Module `layer`, or that of this name. Raises ValueError, with near names, if the network has none."""
    names: dict[nn.Module, str] = {module: name for name, module in network.named_modules()}
    wanted = (layer, bare_name(layer) if isinstance(layer, str) else unwrapped(layer, "layer"))
    for module, name in names.items():
        if module in wanted or name in wanted:
            return module
    if isinstance(layer, nn.Module):
        raise ValueError(f"layer: this {type(layer).__name__} is not a part of the network")
    near = difflib.get_close_matches(layer, names.values(), n=5, cutoff=0.3)
    raise ValueError(f"unknown layer {layer!r}; the network has {', '.join(near or filter(None, names.values()))}")
