"""The spec of any other architecture that generates text from a prompt with one image: discovered, then checked.

While the network describes one image of noise, its calls show where the image goes in (the tower), which of the tower's layers
are grids, and on which of these the words depend. The checks are that texts are scored as they are generated, and whether rows
and the head can run alone. What cannot be supported is an error that says what was found, and what to write.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ...core.call_scope import unchanged_state
from ..compute_device import device_of, dtype_of
from ..inputs import Inputs
from . import generic_functions as functions
from .family_spec import Capabilities, FamilySpec
from .generic_checks import checked_spec, noise_image
from .generic_functions import DiscoveredView, refusal
from .image_input import nearly_mean_colour_inputs
from .loaded_model import LoadedModel
from .probe import GridLayout, ModuleCall, find_grid_start, find_layer, find_tower, record_calls, weights_without_gradients
from .prompts import JointPrompt
from .token_views import first_tensor
from .tower_cut import TowerCut

log = logging.getLogger("multimodal_cam")


def probed_spec(spec: FamilySpec, model: Any, processor: Any, name: str) -> FamilySpec:
    """The generic `spec` with tower, layer, view and capabilities of one network. Raises ValueError where it has none."""
    with unchanged_state(model):
        discovery = _discover(LoadedModel(model, processor, name, spec, model, model))
        spec = replace(
            spec,
            vision_tower_and_layer=discovery.tower_and_layer,
            run_tower=discovery.run_tower,
            layer_view=discovery.layer_view,
        )
        with torch.no_grad():
            spec = checked_spec(spec, model, processor, name)
    names = {module: path for path, module in model.named_modules()}
    tower, layer = names[discovery.tower], names[discovery.layer]
    runs = "the head runs alone" if spec.capabilities.head_runs_alone else "the whole network runs, overridden at the layer"
    runs += "" if spec.capabilities.head_rows_in_one_batch else ", row by row"
    log.warning(
        "no adapter for %s: its vision tower was found at %r, it is explained at layer %r; %s. Check with `multimodal-cam "
        "layers`; %s says how to add a family",
        type(model).__name__,
        tower,
        layer,
        runs,
        functions.PAGE,
    )
    return replace(spec, provenance={"adapter": "generic", "tower": tower, "runs": runs})


# ---- discovery -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Discovery:
    """Tower and layer of a network, and the layer's `layout` and first cell `start` at the `size` of the probe's pixels.

    `ids` `(1, n)` are the probe's prompt, which the tower runs with where an image comes without a question.
    """

    tower: nn.Module
    layer: nn.Module
    layout: GridLayout
    start: int
    size: tuple[int, int]
    ids: Tensor

    def tower_and_layer(self, _model: Any) -> tuple[nn.Module, nn.Module]:
        return self.tower, self.layer

    def run_tower(self, loaded: LoadedModel, inputs: Inputs) -> None:
        ids = inputs.question_ids
        if ids is None:
            ids = self.ids.to(loaded.device).expand(len(inputs.pixels), -1)
        loaded.spec.logits(loaded, inputs.with_questions(ids), ids[:, :1])

    def layer_view(self, _loaded: LoadedModel, inputs: Inputs, _layer: nn.Module) -> DiscoveredView:
        height, width = inputs.pixels.shape[-2:]
        h, w = self.layout.at_size(self.size, (height, width))
        every, start = torch.arange(h * w + self.layout.extra), self.start
        order = torch.cat([every[:start], every[start + h * w :], every[start : start + h * w]])
        return DiscoveredView(self.layout.extra, height / width, (h, w), order)


def _discover(loaded: LoadedModel) -> Discovery:
    """Tower and layer, by a run on noise. Raises ValueError for a network that has none, or takes its inputs otherwise."""
    model = loaded.model
    if getattr(model.config, "is_encoder_decoder", False):
        raise refusal(loaded, "it has an encoder and a decoder of text, and only models whose text follows the prompt are found")
    inputs = _probe_inputs(loaded)
    assert inputs.question_ids is not None
    ids, size = inputs.question_ids, (inputs.pixels.shape[-2], inputs.pixels.shape[-1])
    with weights_without_gradients(model), torch.enable_grad():
        logits, calls = _recorded_forward(
            loaded, replace(inputs, pixels=inputs.pixels.detach().clone().requires_grad_()), ids[:, :1]
        )
        try:
            tower = find_tower(calls, model.get_input_embeddings())
            layer, layout = find_layer(tower, calls, logits[0, -1].float().max(), size)
            start = 0
            if layout.tokens:
                with torch.no_grad():
                    start = find_grid_start(_tokens_of(loaded, tower, layer, layout, inputs), inputs.pixels, layout)
        except ValueError as error:
            raise refusal(loaded, str(error)) from None
    return Discovery(tower, layer, layout, start, size, ids)


def _probe_inputs(loaded: LoadedModel) -> Inputs:
    """Inputs of a noise image and the request. Raises ValueError where the processor makes no prompt with one image of them."""
    prompt = loaded.spec.prompt
    try:
        values = prompt.process(loaded, noise_image(), None)
    except Exception as error:  # an unknown processor may fail in any way
        how = f"{type(loaded.processor).__name__}(images=, text=) fails ({type(error).__name__}: {error})"
        raise refusal(loaded, f"its prompt is not made as usual: {how}") from error
    lacking = [name for name in ("input_ids", "pixel_values") if not isinstance(values.get(name), Tensor)]
    if lacking:
        raise refusal(loaded, f"its processor was to give {' and '.join(lacking)}, and gives {', '.join(sorted(values))}")
    pixels, extra = loaded.spec.split_output(loaded, values)
    device = device_of(loaded.model)
    extra = {name: value.to(device) for name, value in extra.items()}
    return Inputs(pixels.to(device, dtype_of(loaded.model)), (), values["input_ids"].to(device), extra_inputs=extra)


def _recorded_forward(loaded: LoadedModel, inputs: Inputs, ids: Tensor) -> tuple[Tensor, list[ModuleCall]]:
    """Logits of the next word, and the calls of all modules."""
    try:
        return record_calls(loaded.model, lambda: loaded.spec.logits(loaded, inputs, ids))
    except Exception as error:  # an unknown forward may fail in any way
        assert inputs.question_ids is not None
        given = ", ".join(["input_ids", *loaded.forward_kwargs(inputs, inputs.question_ids)])
        how = f"with {given} its forward fails ({type(error).__name__}: {error})"
        raise refusal(loaded, f"it does not take what its processor gives: {how}") from error


def _tokens_of(
    loaded: LoadedModel, tower: nn.Module, layer: nn.Module, layout: GridLayout, inputs: Inputs
) -> Callable[[Tensor], Tensor]:
    """A function of pixels to the layer's tokens `(n, c)`."""
    cut, n, ids = TowerCut(tower, layer), layout.shape[0] * layout.shape[1] + layout.extra, inputs.question_ids
    assert ids is not None

    def tokens(pixels: Tensor) -> Tensor:
        other = replace(inputs, pixels=pixels)
        found = first_tensor(cut.run_to_layer("probe", 1, lambda: loaded.spec.logits(loaded, other, ids[:, :1])))
        assert found is not None
        return found.reshape(n, -1).float()

    return tokens


GENERIC = FamilySpec(
    name="anything else that is prompted with a photo",
    architectures=(),
    layer="the tower's last that the words depend on, found by a photo of noise",
    grid="what the layer has",
    tokenizer="the checkpoint's own",
    memory="2 GB a billion weights (bfloat16)",
    vision_tower_and_layer=lambda model: (model, model),  # `probed_spec` finds them
    capabilities=Capabilities(grid_follows_image=True, generates_from_layer=False),
    prompt=JointPrompt(template=functions.prompt_template),
    grid_inputs=None,
    split_output=functions.pixels_and_rows,
    unnormalized_image=functions.unnormalized_image,
    baseline_inputs=nearly_mean_colour_inputs,
    token_kwargs=functions.continued_token_inputs,
    logits=functions.logits,
    for_checkpoint=probed_spec,
)
