"""Checks of a network that the generic spec was made for: texts are scored as they are generated; how rows and head may run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...core.hooks import forward_hooks, forward_pre_hooks
from ..inputs import Inputs
from .composed_adapter import HuggingFace
from .decoding import no_layer
from .family_spec import Capabilities, FamilySpec
from .generic_functions import refusal
from .loaded_model import LoadedModel

NEAR = 1e-3  # allowed difference of logits, as a share of their spread
NEAR_HALF = 0.1  # the same in half precision, with and without a cache


def checked_spec(spec: FamilySpec, model: Any, processor: Any, name: str) -> FamilySpec:
    """The spec with capabilities that hold, and without a readout or question layer that cannot be hooked.

    Raises ValueError where texts are not scored as they are generated, or the layer cannot be overridden.
    """

    def adapter(capabilities: Capabilities) -> HuggingFace:
        return HuggingFace(model, processor, name, replace(spec, capabilities=capabilities))

    plain = adapter(spec.capabilities)
    inputs = plain.preprocess([noise_image()])
    assert inputs.question_ids is not None
    ids, chosen_by = _generated_with_logits(plain.loaded, inputs)
    whole, read, embedded = _logits_and_shapes(plain, inputs, ids)
    if not logits_agree(whole, chosen_by):
        raise refusal(
            plain.loaded,
            f"forward(input_ids=prompt and text) gives logits {tuple(whole.shape)}, and these are not what generate() chose its "
            f"{ids.shape[1]} tokens by",
        )
    together = _agrees(lambda: plain.logits(inputs.repeat(2), ids.repeat(2, 1)), whole.repeat(2, 1, 1))
    found = _head_capabilities(adapter, replace(spec.capabilities, rows_in_one_batch=together), inputs, ids, whole)
    once = together and found.head_rows_in_one_batch
    reads_question_once = embedded == [(1, inputs.question_ids.shape[1] + ids.shape[1] - 1)]
    if not once or read != [ids.shape]:
        spec = replace(spec, readout=no_layer)  # it is no readout of just the scored positions
    if not (once and found.tower_ignores_question and reads_question_once):
        spec = replace(spec, question_layer=no_layer)  # it runs several times, or is not all that reads the question
    return replace(spec, capabilities=found)


def _head_capabilities(
    adapter: Callable[[Capabilities], HuggingFace], base: Capabilities, inputs: Inputs, ids: Tensor, whole: Tensor
) -> Capabilities:
    """How the head gives the `whole` network's logits from its own activations, and what the tower reads of the question."""
    plain = adapter(base)
    activations = plain.layer_activations(inputs)

    def holds(one: HuggingFace, copies: int) -> bool:
        rows = activations.repeat(copies, 1, 1)
        return _agrees(lambda: one.logits(inputs, ids.repeat(copies, 1), rows), whole.repeat(copies, 1, 1))

    for alone, in_one_batch in ((True, True), (True, False), (False, base.rows_in_one_batch)):
        found = replace(base, head_runs_alone=alone, head_rows_in_one_batch=in_one_batch)
        if all(holds(adapter(found), copies) for copies in (1, 2)):
            break
    else:
        raise refusal(plain.loaded, "its logits are others when the layer is given the activations that it has anyhow")
    other = plain.layer_activations(plain.preprocess([noise_image()], ["what is there?"]))
    blind = logits_agree(other, activations)
    return replace(
        found,
        tower_ignores_question=blind,
        tower_shared_by_questions=found.head_runs_alone and found.head_rows_in_one_batch and blind,
        question_before_layer=not found.head_runs_alone,
    )


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
