"""ViLT (Kim et al., ICML 2021): words and patches in one transformer, an answer out of a list.

The answer reads CLS only, so behind the last block no patch counts any more: the layer is the first norm of the last block. The
whole network runs, overridden there: the residual stream passes it by. ViLT shuffles its patches; here they stand in reading
order, and none is left out. Neither the question's tokens nor CLS have a place on the map.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ....core.random_state import drawing
from ...inputs import Inputs
from ...labels import Labels
from ..decoding import no_layer
from ..family_spec import Capabilities, FamilySpec
from ..image_input import pixels_only
from ..loaded_model import LoadedModel
from ..prompts import SeparatePrompt, required_question_ids
from ..token_views import TokenView


def first_norm_of_last_block(model: Any) -> tuple[nn.Module, nn.Module]:
    """Raises ValueError for embeddings that are offloaded: `answer_logits` runs a part of them outside their forward."""
    if any(weight.device.type == "meta" for weight in model.vilt.embeddings.parameters()):
        raise ValueError("ViLT's patches are put in order outside its forward: keep its embeddings in memory, not offloaded")
    return model.vilt, model.vilt.encoder.layer[-1].layernorm_before


def answers(model: Any) -> Labels:
    names = model.config.id2label
    return Labels([names[i] for i in range(len(names))])


def patch_view(loaded: LoadedModel, inputs: Inputs, _layer: nn.Module) -> TokenView:
    side = loaded.model.config.patch_size
    question = 0 if inputs.question_ids is None else inputs.question_ids.shape[1]
    return TokenView(question + 1, shape=(inputs.pixels.shape[-2] // side, inputs.pixels.shape[-1] // side))


def answer_logits(loaded: LoadedModel, inputs: Inputs) -> Tensor:
    """The answers' logits `(b, v)`, patches in reading order."""
    assert inputs.question_ids is not None
    model, pixels = loaded.model, inputs.pixels
    mask = torch.ones(len(pixels), *pixels.shape[-2:], dtype=torch.long, device=pixels.device)
    with drawing():
        shuffled, _, (places, (_, width)) = model.vilt.embeddings.visual_embed(pixels, mask, max_image_length=-1)
    order = (places[..., 0] * width + places[..., 1]).argsort(dim=1)[..., None].expand(-1, -1, shuffled.shape[-1])
    patches = torch.cat([shuffled[:, :1], shuffled[:, 1:].gather(1, order)], dim=1)
    every = torch.ones(patches.shape[:2], dtype=torch.long, device=pixels.device)
    logits: Tensor = model(input_ids=inputs.question_ids, image_embeds=patches, pixel_mask=every).logits
    return logits


def logits(loaded: LoadedModel, inputs: Inputs, ids: Tensor) -> Tensor:
    return answer_logits(loaded, inputs)[:, None].expand(-1, ids.shape[1], -1)


def likeliest_answer(loaded: LoadedModel, inputs: Inputs) -> Tensor:
    return answer_logits(loaded, inputs)[:, None].argmax(dim=-1)


SPECS = (
    FamilySpec(
        name="ViLT",
        task="vqa",
        architectures=("ViltForQuestionAnswering",),
        layer="vilt.encoder.layer[-1].layernorm_before",
        grid="H/32 x W/32, as the photo",
        tokenizer="WordPiece; the answer is one of a list",
        memory="0.5 GB (float32)",
        vision_tower_and_layer=first_norm_of_last_block,
        capabilities=Capabilities(
            head_runs_alone=False,
            tower_ignores_question=False,
            tower_shared_by_questions=False,
            question_before_layer=True,
            grid_follows_image=True,
        ),
        prompt=SeparatePrompt(required_question_ids),
        labels=answers,
        readout=no_layer,
        split_output=pixels_only,
        run_tower=answer_logits,
        layer_view=patch_view,
        logits=logits,
        generate=likeliest_answer,
    ),
)
