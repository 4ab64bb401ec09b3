"""A text that is longer than a network has positions, or ids that its embedding lacks: said in words, not as an IndexError."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

OUT_OF_RANGE = "index out of range in self"  # what torch's embedding says
MISMATCH = re.compile(r"size of tensor a \((\d+)\) must match the size of tensor b \((\d+)\)")
MARKS = 3  # tokens that a network may put around a text by itself
ADVICE = "shorten the text (max_words= stops what is generated), or use the vocabulary that the network was made for"


@contextmanager
def embedding_limits(name: str, network: nn.Module, **texts: Tensor | None) -> Iterator[None]:
    """Context for a forward pass that reads `texts`, ids `(b, t)` each by its name.

    Raises ValueError, with the sizes that are exceeded, for an index that an embedding of `network` lacks, and for a text that
    is longer than its positions.
    """
    given = {what: ids for what, ids in texts.items() if ids is not None and ids.numel()}
    try:
        yield
    except IndexError as error:
        if OUT_OF_RANGE not in str(error):
            raise
        embeddings = {part: module for part, module in network.named_modules() if isinstance(module, nn.Embedding)}
        sizes = ", ".join(f"{part} has {module.num_embeddings}" for part, module in embeddings.items())
        line = f"an embedding has fewer rows ({sizes or 'none is a module'})"
        raise ValueError(f"{name}: {_listed(given)}, and {line}: {ADVICE}") from error
    except RuntimeError as error:
        positions = _positions(str(error), sum(ids.shape[1] for ids in given.values()))
        if positions is None:
            raise
        raise ValueError(f"{name}: {_listed(given)}, and the network has {positions} positions: {ADVICE}") from error


def _positions(message: str, tokens: int) -> int | None:
    """The smaller of two sizes that do not match, if the larger is that of a text of `tokens`."""
    found = MISMATCH.search(message)
    if found is None:
        return None
    fewer, more = sorted(map(int, found.groups()))
    return fewer if 1 < fewer < more and tokens <= more <= tokens + MARKS else None


def _listed(texts: dict[str, Tensor]) -> str:
    lines = (f"the {what} has {ids.shape[1]} tokens with ids up to {int(ids.max())}" for what, ids in texts.items())
    return " and ".join(lines) or "the text is long"
