"""The text of a teacher-forced decoder, which reads a whole prefix at each word: greedy, or by beam search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.decoding_options import check_decoding
from ..models.beam_search import SearchLimits, State, beam_search
from .inputs import PAD

DEFAULT_LENGTH_PENALTY = 0.7
ROWS_TOGETHER = 64  # rows of a search in one call of the decoder: each has the features of a photo
SAME = 1e-3  # by how much the logits of a row may differ alone and beside another, as a share of the largest


@dataclass(frozen=True)
class DecodingOptions:
    """What `explain` passes on to the decoder of a user's own captioner.

    Attributes:
        max_words: Longest text in tokens; None is the captioner's own limit.
        beam: Width of the search; 1 is greedy.
        length_penalty: Power of the length by which beams' log-probabilities are divided.
    """

    max_words: int | None = None
    beam: int = 1
    length_penalty: float = DEFAULT_LENGTH_PENALTY

    @classmethod
    def of(cls, options: dict[str, object]) -> DecodingOptions:
        """The options by name; None takes the default. Raises TypeError or ValueError for what there is not, or cannot be."""
        given = {name: value for name, value in options.items() if value is not None}
        unknown = [f"{name}=" for name in given if name not in cls.__dataclass_fields__]
        if unknown:
            raise ValueError(
                f"a captioner of your own has no {', '.join(unknown)}: the options of its decoder are max_words=, beam=, "
                "length_penalty="
            )
        check_decoding(given)
        longest = given.get("max_words", 1)
        if isinstance(longest, bool) or not isinstance(longest, int):
            raise TypeError(f"max_words: expected an integer of 1 or more, got {longest!r}")
        if longest < 1:
            raise ValueError(f"max_words: expected 1 or more, got {longest}")
        return cls(**given)  # type: ignore[arg-type]


@dataclass(frozen=True)
class PrefixDecoder:
    """A decoder with the features of its photos.

    Attributes:
        decode: Rows of the batch `(r,)` and ids `(r, t)` -> teacher-forced logits `(r, t, v)`.
        log_probs: Logits `(..., v)` -> log-probabilities `(..., v)`.
        unsayable: The ids below a number of logits that are never said.
        eos: Id of the end token.
        device: Where ids live.
    """

    decode: Callable[[Tensor, Tensor], Tensor]
    log_probs: Callable[[Tensor], Tensor]
    unsayable: Callable[[int], Sequence[int]]
    eos: int
    device: torch.device

    @torch.no_grad()
    def greedy(self, rows: int, longest: int) -> Tensor:
        """The likeliest token at each position, `(rows, t)`, right-padded with `PAD`, of at most `longest` tokens."""
        every = torch.arange(rows, device=self.device)
        ids = torch.full((rows, 0), PAD, dtype=torch.long, device=self.device)
        ended = torch.zeros(rows, dtype=torch.bool, device=self.device)
        while ids.shape[1] < longest and not bool(ended.all()):
            logits = self._next(every, ids.clamp(min=0))
            logits[:, [*self.unsayable(logits.shape[-1])]] = -torch.inf
            if ids.shape[1] == 0:
                logits[:, self.eos] = -torch.inf  # a caption has at least one word
            word = logits.argmax(dim=-1)
            ended = ended | (word == self.eos)
            ids = torch.cat([ids, torch.where(ended, PAD, word)[:, None]], dim=1)
        return ids[:, : int((ids >= 0).sum(dim=1).max())]

    @torch.no_grad()
    def search(self, rows: int, longest: int, beam: int, length_penalty: float) -> Tensor:
        """The best texts that a beam search finds, `(rows, t)`, right-padded with `PAD`: see `beam_search`.

        A text that has not ended after `longest` tokens is cut off there, as greedy decoding does, and competes as it stands.
        """
        every = torch.arange(rows, device=self.device)
        prefix = torch.zeros((rows, 0), dtype=torch.long, device=self.device)
        size = self._next(every[:1], prefix[:1]).shape[-1]
        never = tuple(self.unsayable(size))
        words = [i for i in range(size) if i not in {*never, self.eos}]
        together = ROWS_TOGETHER if self._takes_batches(words, longest) else 1

        def step(last: Tensor, state: State) -> tuple[Tensor, State]:
            row, said = state
            said = torch.cat([said, last[:, None]], dim=1)
            parts = zip(
                torch.split(row, together), torch.split(said[:, 1:], together), strict=True
            )  # the first column is before the text
            return self.log_probs(torch.cat([self._next(*part) for part in parts])), (row, said)

        limits = SearchLimits(longest, eos=self.eos, unsayable=never, must_end=False)
        ids, _ = beam_search(step, (every, prefix), limits, beam=beam, length_penalty=length_penalty)
        return ids

    def _next(self, rows: Tensor, said: Tensor) -> Tensor:
        """Logits `(r, v)` of the token after the ids `(r, t)`."""
        blank = torch.zeros_like(rows)[:, None]  # position to predict
        return self.decode(rows, torch.cat([said, blank], dim=1))[:, -1]

    def _takes_batches(self, words: Sequence[int], longest: int) -> bool:
        """Whether two texts of one photo get in one call of the decoder what each gets alone."""
        said = torch.tensor([[words[0]], [words[-1]]], device=self.device)[:, : longest - 1]
        same_photo = torch.zeros(2, dtype=torch.long, device=self.device)
        alone = torch.cat([self._next(same_photo[:1], one[None]) for one in said])
        try:
            both = self._next(same_photo, said)
        except Exception:  # a decoder of one row: whatever else is wrong, it says when it runs alone
            return False
        largest = float(alone.abs()[alone.isfinite()].max()) if bool(alone.isfinite().any()) else 0.0
        return bool(torch.isclose(both, alone, rtol=0, atol=SAME * largest, equal_nan=True).all())
