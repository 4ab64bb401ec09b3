"""What the numbers are that a user's own network gives: logits, or probabilities of some kind. Noticed, said, made logits."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.call_scope import unchanged_state
from ..scores import log_prob

Outputs = Literal["logits", "log_probs", "probabilities", "sigmoid"]
TOLERANCE = 1e-3  # by how much a sum of probabilities may differ from 1
TOLERANCE_HALF = 2e-2
SAID = {
    "log_probs": "log-probabilities (the exponentials of each row add up to 1)",
    "probabilities": "probabilities (each row adds up to 1)",
    "sigmoid": "probabilities of their own (they come from a sigmoid)",
}
# what changes a tensor's shape, place or type, and no number that is not at a limit
SHAPING = (
    *("view", "unsafeview", "reshape", "squeeze", "unsqueeze", "transpose", "permute", "tbackward", "cat", "stack", "expand"),
    *("slice", "select", "index", "clone", "tocopy", "alias", "unbind", "split", "clamp"),
)
PLAIN = ("addmm", "convolution")  # with a bias: logits, whatever the numbers
UNTELLING = ("div", "mul", "reciprocal", "exp", "sub", "pow", "rsub")  # may be a sigmoid, written out


class NetworkOutputs:
    """The kind of a network's outputs, and how they become logits.

    `kind` is what the user says, else what was noticed at the first outputs; None before.
    """

    def __init__(self, kind: Outputs | None, name: str) -> None:
        if kind is not None and kind not in get_args(Outputs):
            raise ValueError(f"unknown outputs {kind!r}; choose from {', '.join(get_args(Outputs))}")
        self.kind: Outputs | None = kind
        self.name = name

    @property
    def are_normalised(self) -> bool:
        """Whether the logits are not known, only the probabilities behind them."""
        return self.kind in ("log_probs", "probabilities")

    def logits(self, outputs: Tensor) -> Tensor:
        """Outputs `(..., v)` -> logits: their softmax, or of `sigmoid` their sigmoid, gives the probabilities.

        Raises ValueError for outputs that are not of the kind that they should be.
        """
        if self.kind is None:
            self.kind = self._noticed(outputs)
        if self.kind == "probabilities":
            self._require(outputs, bool((outputs >= 0).all()), "expected numbers of 0 or more that add up to 1")
            return outputs.clamp(min=torch.finfo(outputs.dtype).tiny).log()
        if self.kind == "sigmoid":
            in_range = bool(((outputs >= 0) & (outputs <= 1)).all())
            self._require(
                outputs, in_range, "expected numbers from 0 to 1; a network that gives logits needs nn.Sigmoid() behind it"
            )
            return torch.logit(outputs, eps=torch.finfo(outputs.dtype).eps / 2)
        return outputs

    def log_prob(self, logits: Tensor, ids: Tensor) -> Tensor:
        """Log-probability `(b, t)` of each of `ids`: one of a distribution, or of `sigmoid` one of its own."""
        if self.kind != "sigmoid":
            return log_prob(logits, ids)
        return F.logsigmoid(logits.gather(-1, ids.clamp(min=0)[..., None])[..., 0])

    def log_probs(self, logits: Tensor) -> Tensor:
        """Log-probabilities of all words, `(..., v)`: a distribution, or of `sigmoid` one of its own for each."""
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return F.logsigmoid(wide) if self.kind == "sigmoid" else wide.log_softmax(dim=-1)

    def default_score(self, default: str) -> str:
        """The score that is explained by default: the log-probability where there are no logits."""
        return "log_prob" if self.are_normalised else default

    def check(self, outputs: Tensor) -> None:
        """Notice the kind, or raise ValueError if the user's is not that of `outputs` `(..., v)`."""
        if self.kind is None:
            self.kind = self._noticed(outputs)
        elif self.kind == "probabilities":
            self._require(outputs, _add_up(outputs), "expected rows of 0 or more that add up to 1")
        elif self.kind == "log_probs":
            self._require(outputs, _add_up(outputs.exp()), "expected rows whose exponentials add up to 1")
        else:
            self.logits(outputs)

    def _require(self, outputs: Tensor, so: bool, expected: str) -> None:
        if so or not bool(outputs.isfinite().all()):
            return
        low, high = (float(x) for x in outputs.detach().aminmax())
        total = float(outputs.detach().flatten(0, -2)[0].sum())
        raise ValueError(
            f"outputs={self.kind!r}: {expected}; {self.name} gives {low:.3g} to {high:.3g}, the first row adds up to {total:.3g}"
        )

    def _noticed(self, outputs: Tensor) -> Outputs:
        """The kind that the numbers, and the operation behind them, tell; said where it is not `logits`."""
        if not bool(outputs.isfinite().all()):
            return "logits"
        last = _last_operation(outputs)
        if last.startswith(PLAIN):
            return "logits"
        found: Outputs = "logits"
        if outputs.shape[-1] > 1 and _add_up(outputs):
            found = "probabilities"
        elif outputs.shape[-1] > 1 and _add_up(outputs.exp()):
            found = "log_probs"
        elif 0 <= outputs.min() < outputs.max() <= 1:
            if "sigmoid" in last:
                found = "sigmoid"
            elif not last or last.startswith(UNTELLING):
                self._say(
                    "all outputs lie between 0 and 1, and are taken for logits: outputs='sigmoid' if they are probabilities"
                )
        if found != "logits":
            self._say(f"the outputs are {SAID[found]}, and taken as such: outputs={found!r} says so, outputs='logits' denies it")
        return found

    def _say(self, line: str) -> None:
        warnings.warn(f"{self.name}: {line}", UserWarning, stacklevel=2)


class OutputsOfAnyKind:
    """Part of an adapter whose network may give something else than logits."""

    outputs: NetworkOutputs

    @property
    def knows_logits(self) -> bool:
        return not self.outputs.are_normalised

    def log_prob(self, logits: Tensor, ids: Tensor) -> Tensor:
        return self.outputs.log_prob(logits, ids)


def try_outputs(module: nn.Module, run: Callable[[], Tensor]) -> Tensor | None:
    """The outputs of `run`, with the graph behind them; None where it fails, as the first photo will, or will not.

    Nothing of the network is different afterwards.
    """
    try:
        with unchanged_state(module), torch.enable_grad():
            return run()
    except Exception:  # somebody's network may want another photo, another question
        return None


def trial_photos() -> Sequence[Image.Image]:
    """Photos that differ as much as can be: a network whose outputs are alike for all of them has outputs of one kind."""
    noise = torch.randint(0, 256, (256, 256, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return [Image.fromarray(noise.numpy()), Image.new("RGB", (256, 256), "white"), Image.new("RGB", (256, 256), "black")]


def _add_up(outputs: Tensor) -> bool:
    """Whether every row is of 0 or more and adds up to 1."""
    tolerance = TOLERANCE_HALF if outputs.dtype in (torch.float16, torch.bfloat16) else TOLERANCE
    sums = outputs.detach().float().sum(dim=-1)
    return bool((outputs >= 0).all()) and bool(((sums - 1).abs() <= tolerance).all())


def _last_operation(outputs: Tensor) -> str:
    """Name, in small letters, of the last operation behind `outputs` that is no mere change of shape; empty if unknown."""
    node: Any = outputs.grad_fn
    while node is not None:
        name = str(node.name()).lower()
        if not name.startswith(SHAPING):
            return "" if name.startswith("accumulategrad") else name
        node = next((before for before, _ in node.next_functions if before is not None), None)
    return ""
