"""A text that is longer than a network has positions, or ids that its embedding lacks: said in words, not as an IndexError."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

OUT_OF_RANGE = "index out of range in self"  # what torch's embedding says
MISMATCHES = (  # of positions that were cut to what there are, and added
    re.compile(r"size of tensor a \((\d+)\) must match the size of tensor b \((\d+)\)"),
    re.compile(r"expanded size of the tensor \((\d+)\) must match the existing size \((\d+)\)"),
)
MARKS = 3  # tokens that a network may put around a text by itself
POSITIONS = re.compile(r"pos|wpe", re.IGNORECASE)  # in the names of position tables


@contextmanager
def embedding_limits(name: str, network: nn.Module, stop: str = "", **texts: Tensor | None) -> Iterator[None]:
    """Context for a forward pass that reads `texts`, ids `(b, t)` each by its name; `stop` is the option that ends generating.

    Raises ValueError, with the sizes that are exceeded, for an index that an embedding of `network` lacks, and for a text that
    is longer than its positions.
    """
    given = {what: ids for what, ids in texts.items() if ids is not None and ids.numel()}
    advice = f"shorten the {' or the '.join(given) or 'text'}" + (f" ({stop} stops what is generated)" if stop else "")
    try:
        yield
    except IndexError as error:
        if OUT_OF_RANGE not in str(error):
            raise
        raise ValueError(f"{name}: {_out_of_range(error, network, given, advice)}") from error
    except RuntimeError as error:
        sizes = _mismatch(error, given)
        if sizes is None:
            raise
        positions, tokens = sizes
        part = _table(_failed(error) or network, positions) or _table(network, positions)
        raise ValueError(f"{name}: {_beyond(given, tokens, positions, part)}: {advice}") from error


def _out_of_range(error: IndexError, network: nn.Module, given: dict[str, Tensor], advice: str) -> str:
    """The line for an index beyond an embedding: a position, or an id of another vocabulary."""
    looked_up = _looked_up(error)
    if looked_up is None:
        return f"{_lengths(given)}, and an index lies outside of an embedding: {advice}"
    index, table = looked_up
    rows = len(table)
    part = f" ({_name(network, table)} has {rows})"
    if _counts(index) and not any(_holds(ids, index) for ids in given.values()):
        first, last = int(index.min()), int(index.max())
        unused = first if index.numel() > 1 else 0  # rows that no token has, in front of the positions (OPT: 2)
        return f"{_beyond(given, last + 1 - unused, rows - unused, part)}: {advice}"
    ids = f"ids up to {int(index.max())}, and the embedding holds those below {rows}{part}"
    return f"{_lengths(given)} with {ids}: use the vocabulary that the network was made for"


def _looked_up(error: IndexError) -> tuple[Tensor, Tensor] | None:
    """Index and table of the embedding that failed, from the frame in which it did."""
    frames = [frame for frame in _frames(error) if frame.f_code is F.embedding.__code__]
    index, table = (frames[-1].f_locals.get(name) if frames else None for name in ("input", "weight"))
    return (index, table) if isinstance(index, Tensor) and isinstance(table, Tensor) else None


def _counts(index: Tensor) -> bool:
    """Whether the indices count tokens: each row rises by one, or all are the one position that is generated."""
    rows = index.reshape(-1, index.shape[-1]) if index.ndim else index.reshape(1, 1)
    if rows.shape[1] == 1:
        return bool((rows == rows[0, 0]).all())
    return bool(torch.all(rows.diff(dim=1) == 1)) and int(rows.min()) <= MARKS


def _holds(ids: Tensor, index: Tensor) -> bool:
    """Whether the indices are a run of a text's ids."""
    run = index.reshape(-1, index.shape[-1])[0] if index.ndim else index.reshape(1)
    return len(run) <= ids.shape[1] and bool((ids.unfold(1, len(run), 1) == run).all(dim=-1).any())


def _mismatch(error: RuntimeError, given: dict[str, Tensor]) -> tuple[int, int] | None:
    """Positions and tokens, where two sizes do not match: the larger is a text's, or the smaller a position table's.

    The table is the failed module's, which may read more than the texts: a photo's tokens, other tokens of a question.
    """
    found = next(filter(None, (pattern.search(str(error)) for pattern in MISMATCHES)), None)
    if found is None:
        return None
    fewer, more = sorted(map(int, found.groups()))
    lengths = [ids.shape[1] for ids in given.values()]
    is_text = any(length - 1 <= more <= length + MARKS for length in [*lengths, sum(lengths)])
    failed = _failed(error)
    is_position = failed is not None and bool(_table(failed, fewer))
    return (fewer, more) if 1 < fewer < more and (is_text or is_position) else None


def _failed(error: Exception) -> nn.Module | None:
    """The innermost module in which the error was raised."""
    owners = [frame.f_locals.get("self") for frame in _frames(error)]
    return next((owner for owner in reversed(owners) if isinstance(owner, nn.Module)), None)


def _frames(error: Exception) -> Iterator[FrameType]:
    """The frames that the error came through, the one in which it was raised last."""
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame
        trace = trace.tb_next


def _table(network: nn.Module, positions: int) -> str:
    """The position table of that size, in brackets; empty where there is none, or several."""
    tensors = [*network.named_parameters(), *network.named_buffers()]
    names = [name for name, x in tensors if POSITIONS.search(name) and x.ndim and positions in x.shape[:2]]
    tables = list(dict.fromkeys(name.removesuffix(".weight") for name in names if not name.endswith("position_ids")))
    return f" ({tables[0]} has {positions})" if len(tables) == 1 else ""


def _name(network: nn.Module, table: Tensor) -> str:
    own = (name for name, x in network.named_parameters() if x is table or x.data_ptr() == table.data_ptr())
    return next(own, "its table").removesuffix(".weight")


def _beyond(given: dict[str, Tensor], tokens: int, positions: int, part: str) -> str:
    """What came and what the model holds; `tokens` in all, where that is not the length of the one text."""
    lengths = [ids.shape[1] for ids in given.values()]
    in_all = "" if lengths == [tokens] else f" ({tokens} with all that is read)"
    return f"{_lengths(given)}{in_all} and the model holds {positions}{part}"


def _lengths(given: dict[str, Tensor]) -> str:
    return " and ".join(f"the {what} has {ids.shape[1]} tokens" for what, ids in given.items()) or "the text is long"
