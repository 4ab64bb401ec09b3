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

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ...core.hooks import evaluation_mode, forward_hooks, forward_pre_hooks
from ..inputs import Inputs
from . import generic_functions as functions
from .composed_adapter import HuggingFace
from .compute_device import device_of, dtype_of
from .decoding import no_layer
from .family_spec import Capabilities, FamilySpec
from .generic_functions import DiscoveredView, refusal
from .image_input import nearly_mean_colour_inputs
from .loaded_model import LoadedModel
from .probe import GridLayout, ModuleCall, find_grid_start, find_layer, find_tower, record_calls, weights_without_gradients
from .prompts import JointPrompt
from .token_views import first_tensor
from .tower_cut import TowerCut

log = logging.getLogger("multimodal_cam")

NEAR = 1e-3  # allowed difference of logits, as a share of their spread
NEAR_HALF = 0.1  # the same in half precision, with and without a cache


def probed_spec(spec: FamilySpec, model: Any, processor: Any, name: str) -> FamilySpec:
    """The generic `spec` with tower, layer, view and capabilities of one network. Raises ValueError where it has none."""
    with evaluation_mode(model), torch.random.fork_rng(devices=[]):
        discovery = _discover(LoadedModel(model, processor, name, spec, model, model))
        spec = replace(
            spec,
            vision_tower_and_layer=discovery.tower_and_layer,
            run_tower=discovery.run_tower,
            layer_view=discovery.layer_view,
        )
        with torch.no_grad():
            spec = _checked(spec, model, processor, name)
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


# ---- checks ----------------------------------------------------------------------------------------------------------------


def _checked(spec: FamilySpec, model: Any, processor: Any, name: str) -> FamilySpec:
    """The spec with capabilities that hold, and without a readout or question layer that cannot be hooked.

    Raises ValueError where texts are not scored as they are generated, or the layer cannot be overridden.
    """

    def adapter(capabilities: Capabilities) -> HuggingFace:
        return HuggingFace(model, processor, name, replace(spec, capabilities=capabilities))

    plain = adapter(spec.capabilities)
    inputs = plain.preprocess([noise_image()])
    ids, chosen_by = _generated_with_logits(plain.loaded, inputs)
    whole, read, embedded = _logits_and_shapes(plain, inputs, ids)
    if not logits_agree(whole, chosen_by):
        raise refusal(
            plain.loaded,
            f"forward(input_ids=prompt and text) gives logits {tuple(whole.shape)}, and these are not what generate() chose its "
            f"{ids.shape[1]} tokens by",
        )
    together = _agrees(lambda: plain.logits(inputs.repeat(2), ids.repeat(2, 1)), whole.repeat(2, 1, 1))
    base = replace(spec.capabilities, rows_in_one_batch=together)
    activations = adapter(base).layer_activations(inputs)

    def holds(one: HuggingFace, copies: int) -> bool:
        rows = activations.repeat(copies, 1, 1)
        return _agrees(lambda: one.logits(inputs, ids.repeat(copies, 1), rows), whole.repeat(copies, 1, 1))

    for alone, in_one_batch in ((True, True), (True, False), (False, together)):
        found = replace(base, head_runs_alone=alone, head_rows_in_one_batch=in_one_batch)
        if all(holds(adapter(found), copies) for copies in (1, 2)):
            break
    else:
        raise refusal(plain.loaded, "its logits are others when the layer is given the activations that it has anyhow")
    asked = adapter(base)
    other = asked.layer_activations(asked.preprocess([noise_image()], ["what is there?"]))
    blind, once = logits_agree(other, activations), together and found.head_rows_in_one_batch
    capabilities = replace(
        found,
        tower_ignores_question=blind,
        tower_shared_by_questions=found.head_runs_alone and found.head_rows_in_one_batch and blind,
        question_before_layer=not found.head_runs_alone,
    )
    spec = replace(spec, capabilities=capabilities)
    if not once or read != [ids.shape]:
        spec = replace(spec, readout=no_layer)  # it is no readout of just the scored positions
    assert inputs.question_ids is not None
    if not (once and blind) or embedded != [(1, inputs.question_ids.shape[1] + ids.shape[1] - 1)]:
        spec = replace(spec, question_layer=no_layer)  # it runs several times, or is not all that reads the question
    return spec


def _generated_with_logits(loaded: LoadedModel, inputs: Inputs) -> tuple[Tensor, Tensor]:
    """A few generated tokens, and the logits by which the network chose them."""
    assert inputs.question_ids is not None
    options = {"do_sample": False, "num_beams": 1, "max_new_tokens": 3, "min_new_tokens": 3}
    options |= {"output_logits": True, "return_dict_in_generate": True}
    kwargs = loaded.forward_kwargs(inputs, inputs.question_ids)
    try:
        generated = loaded.model.generate(input_ids=inputs.question_ids, **kwargs, **options)
    except Exception as error:  # an unknown generate may fail in any way
        raise refusal(loaded, f"its generate() fails ({type(error).__name__}: {error})") from error
    logits = torch.stack(generated.logits, dim=1)
    return generated.sequences[:, -logits.shape[1] :], logits


def _logits_and_shapes(adapter: HuggingFace, inputs: Inputs, ids: Tensor) -> tuple[Tensor, list[Any], list[Any]]:
    """The network's logits; the shapes of the hidden states that the readout reads, and of the embeddings of tokens."""
    read: list[Any] = []
    embedded: list[Any] = []
    embeddings = [] if adapter.question_layer is None else [adapter.question_layer]
    readout = [] if adapter.readout is None else [adapter.readout]
    with (
        forward_hooks(embeddings, lambda _m, _args, out: embedded.append(out.shape[:-1])),
        forward_pre_hooks(readout, lambda _m, args: read.append(args[0].shape[:-1] if args else None)),
    ):
        return adapter.logits(inputs, ids), read, embedded


def _agrees(run: Callable[[], Tensor], expected: Tensor) -> bool:
    try:
        return logits_agree(run(), expected)
    except (RuntimeError, ValueError, IndexError, TypeError, AssertionError):
        return False


def logits_agree(found: Tensor, expected: Tensor) -> bool:
    """Whether logits are equal, relative to their spread, within the precision of their type."""
    if found.shape != expected.shape:
        return False
    real = expected.isfinite()
    difference = torch.where(real, found.double() - expected.double(), 0).norm(dim=-1)
    spread = torch.where(real, expected.double(), 0)
    spread = (spread - spread.mean(dim=-1, keepdim=True)).norm(dim=-1)
    return bool((difference <= (NEAR if expected.dtype in (torch.float32, torch.float64) else NEAR_HALF) * spread).all())


def noise_image() -> Image.Image:
    """The image that the probe runs on."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8))


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
