"""Ready-made decoding for a spec: teacher-forced logits, and the network's own `generate`, of decoders and encoder-decoders."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..inputs import Inputs
from .loaded_model import LoadedModel


def prompted_logits(loaded: LoadedModel, inputs: Inputs, ids: Tensor) -> Tensor:
    """Teacher-forced logits `(b, t, v)` of a decoder whose text, `ids` `(b, t)`, follows the prompt."""
    assert inputs.question_ids is not None
    read = torch.cat([inputs.question_ids, ids[:, :-1]], dim=1)
    kwargs = loaded.forward_kwargs(inputs, read)
    logits: Tensor = loaded.model(input_ids=read, use_cache=False, logits_to_keep=ids.shape[1], **kwargs).logits
    return logits


def generate_prompted(loaded: LoadedModel, inputs: Inputs, **options: Any) -> Tensor:
    """The ids `(b, t)` that a decoder's `generate` gives behind the prompt."""
    assert inputs.question_ids is not None
    kwargs = loaded.forward_kwargs(inputs, inputs.question_ids)
    generated: Tensor = loaded.model.generate(input_ids=inputs.question_ids, **kwargs, **options)
    return generated[:, inputs.question_ids.shape[1] :]


def encoder_decoder_logits(loaded: LoadedModel, inputs: Inputs, ids: Tensor) -> Tensor:
    """Teacher-forced logits `(b, t, v)` where an encoder reads the prompt, and a decoder the `ids` `(b, t)`."""
    assert inputs.question_ids is not None
    prefix = ids.new_tensor(start_and_forced_ids(loaded.model)).expand(len(ids), -1)
    logits: Tensor = loaded.model(
        input_ids=inputs.question_ids,
        decoder_input_ids=torch.cat([prefix, ids[:, :-1]], dim=1),
        use_cache=False,
        logits_to_keep=ids.shape[1],
        **loaded.forward_kwargs(inputs, inputs.question_ids),
    ).logits
    return logits[:, -ids.shape[1] :]  # T5 and others ignore logits_to_keep


def generate_with_encoder(loaded: LoadedModel, inputs: Inputs, **options: Any) -> Tensor:
    """The ids `(b, t)` that an encoder-decoder's `generate` gives behind the decoder's prefix."""
    assert inputs.question_ids is not None
    prefix = len(start_and_forced_ids(loaded.model))
    for limit in ("min_new_tokens", "max_new_tokens"):
        if limit in options:
            options[limit] += prefix - 1  # generate counts the forced token, which is no word
    kwargs = loaded.forward_kwargs(inputs, inputs.question_ids)
    generated: Tensor = loaded.model.generate(input_ids=inputs.question_ids, **kwargs, **options)
    return generated[:, prefix:]


def start_and_forced_ids(model: Any) -> list[int]:
    """A decoder's prefix: its start token, and the token that it is forced to say first."""
    generation, config = model.generation_config, model.config.get_text_config()
    start, forced = generation.decoder_start_token_id, generation.forced_bos_token_id
    start = config.decoder_start_token_id if start is None else start
    return [start] if forced is None else [start, forced]


def shift_right(start: int, ids: Tensor) -> Tensor:
    """Decoder inputs under teacher forcing of `ids` `(b, t)`: the start token, then all but the last."""
    return torch.cat([torch.full_like(ids[:, :1], start), ids[:, :-1]], dim=1)


def output_embeddings(model: Any) -> nn.Module | None:
    """Output projection by transformers' common name."""
    layer: nn.Module | None = model.get_output_embeddings()
    return layer


def input_embeddings(model: Any) -> nn.Module | None:
    """Embedding layer of the tokens by transformers' common name."""
    layer: nn.Module | None = model.get_input_embeddings()
    return layer


def no_layer(_model: Any) -> None:
    """No such layer: questions are not read as tokens, or the readout cannot be hooked."""
