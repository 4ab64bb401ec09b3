"""CLIP and its kin by open_clip: how similar a text is to the photo, word by word.

CLIP compares whole texts and says none. Here a text is read from the front, like a caption. With `s(text)` the similarity that
the model was trained with (its scale times the cosine: nats, by whose difference one of two texts is the likelier one),

    score(token i) = s(the text up to token i) - s(the text before it)

So a word's score is what it adds to the words before it; tokens add up to words, and words to `s(text) - s("")`. Every `s` is a
function of the photo's features alone, so maps add up likewise, for all linear methods; those of leaving each word out would not.
Beside the token stands one rival, the text's end, whose logit is 0: `log_prob` says how likely the longer of the two texts is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.spans import Span
from .contract import Unknown, refuse_questions
from .encoder_input import CutNetworkAdapter
from .hf import detokenization
from .hf.token_views import TokenView
from .image_preprocessing import ImagePreprocessing
from .inputs import Inputs, pad_ids
from .network_state import pass_state
from .state_cache import StateCache

TEXT_BATCH = 64  # texts in one pass of the text tower


class CLIP(CutNetworkAdapter):
    """An open_clip model `network` with its tokenizer. The image tower's last grid is the layer."""

    task = "similarity"
    default_score: str = "logit"
    default_method: str = "grad_cam"
    n_alternatives: int = 0
    head_input_layer: nn.Module | None = None
    readout: nn.Module | None = None

    def __init__(
        self,
        network: Any,
        tokenizer: Any,
        preprocessing: ImagePreprocessing,
        name: str,
        provenance: Mapping[str, str],
    ) -> None:
        super().__init__(network, network.visual, preprocessing)
        self.network, self.tokenizer, self.name, self.provenance = network, tokenizer, name, dict(provenance)
        self.tap_layer(self.default_layer())
        self._text_features = StateCache[Tensor]()

    def default_layer(self) -> nn.Module:
        """Layer that is tapped: the last grid of the image tower."""
        return self.layers.default(self.noise_inputs())

    def preprocess(self, images: Sequence[Image.Image], questions: Sequence[str] | None = None) -> Inputs:
        refuse_questions(self.name, questions)
        return self.image_inputs(images)

    def logits(self, inputs: Inputs, ids: Tensor, activations: Tensor | None = None) -> Tensor:
        """Logits `(b, t, v)`: the token's gain where it stands, 0 for the end of the text, minus infinity for all others."""
        photos = inputs.to_rows(self.encoder(inputs.pixels)) if activations is None else self.head_output(inputs, activations)
        cosines = (F.normalize(photos, dim=-1)[:, None] * self._prefix_features(ids)).sum(dim=-1)
        similar: Tensor = self.network.logit_scale.exp() * cosines
        logits = similar.new_full((*ids.shape, self.tokenizer.vocab_size), -torch.inf)
        logits[..., self.tokenizer.eot_token_id] = 0
        gains: Tensor = similar.diff(dim=1)
        return logits.scatter(-1, ids.clamp(min=0)[..., None], gains[..., None])

    def _prefix_features(self, ids: Tensor) -> Tensor:
        """Text features of every prefix, from no token to all `t`: `(b, t + 1, d)`; kept for the next pass."""
        texts, which = torch.unique(ids, dim=0, return_inverse=True)
        state = pass_state(self.network, texts, without=frozenset({self.encoder}))
        return self._text_features.value(state, partial(self._read_prefixes, texts))[which]

    def _read_prefixes(self, texts: Tensor) -> Tensor:
        start, end = self.tokenizer.sot_token_id, self.tokenizer.eot_token_id
        read = texts.new_zeros(len(texts), texts.shape[1] + 1, self.network.context_length)
        for row, text in zip(read, texts.tolist(), strict=True):
            for i, tokens in enumerate(row):
                said = [start, *(token for token in text[:i] if token >= 0), end]
                tokens[: len(said)] = tokens.new_tensor(said)
        parts = [self.network.encode_text(part, normalize=True) for part in torch.split(read.flatten(0, 1), TEXT_BATCH)]
        return torch.cat(parts).view(*read.shape[:2], -1)

    # ---- words ---------------------------------------------------------------------------------------------------------

    def generate(self, inputs: Inputs, **options: Any) -> Tensor:
        raise ValueError(f"{self.name} compares texts with photos and says none: pass text=")

    def tokenize(self, texts: Sequence[str], unknown: Unknown = "error") -> Tensor:
        """Ids of any texts. Raises ValueError for one without words, or longer than the model's context."""
        rows, room = [self._encode(text) for text in texts], self.network.context_length - 2
        for text, row in zip(texts, rows, strict=True):
            if not 0 < len(row) <= room:
                raise ValueError(f"expected a text of 1 to {room} tokens, got {len(row)}: {text!r}")
        return pad_ids(rows, self.device)

    def _encode(self, text: str) -> list[int]:
        return [token for token in self.tokenizer.encode(text) if token not in self.tokenizer.all_special_ids]

    def tokens(self, ids: Sequence[int]) -> list[str]:
        return [self.tokenizer.decoder[i] for i in ids]

    def spans(self, ids: Sequence[int], text: str | None = None) -> list[Span]:
        read = [
            (token, word) for word in detokenization.split_words(text or "") for token in self._encode((text or "")[slice(*word)])
        ]
        if text is not None and [token for token, _ in read] == list(ids):
            return detokenization.word_spans(text, [word for _, word in read])
        return detokenization.word_spans(*detokenization.token_ranges(ids, self.tokenizer.decode, special=()))

    def replace_word(self, ids: Sequence[int], word: Span, other: str) -> list[int]:
        raise ValueError(f"instead_of: {self.name} says no words that others could replace: explain both texts, and subtract")


class CLIPViT(CLIP):
    """The same with open_clip's own ViT. Where CLS alone is read at the end, behind the last block no patch counts any more.

    The layer is then the first norm of the last block: the whole tower runs, overridden there, and the residual stream passes it
    by. Else it is the last block. CLS has no place on the map.
    """

    def default_layer(self) -> nn.Module:
        tower: Any = self.encoder
        last: Any = tower.transformer.resblocks[-1]
        layer: nn.Module = last.ln_1 if tower.attn_pool is None and tower.pool_type == "tok" else last
        return layer

    def layer_view(self, inputs: Inputs, layer: nn.Module) -> TokenView:
        return TokenView(prefix=1, ratio=inputs.pixels.shape[-2] / inputs.pixels.shape[-1])
