"""Shared parts of training runs: optimiser, schedule, moving average, checkpoints, and the loop over epochs."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..vocabulary import SPECIALS, Vocabulary
from .feature_cache import Progress

CHECKPOINT = "checkpoint.pt"  # of a run that is not finished
BETAS = (0.9, 0.98)


class TrainingRun:
    """Mutable state of a training run, saved after every epoch so that the same command resumes it.

    The optimiser is AdamW with the parameter groups `groups`, half an epoch of warm-up, then a cosine schedule. `average` is the
    exponential moving average of the model's weights (Polyak and Juditsky, 1992). `helpers` are auxiliary modules, discarded
    after training. `options` is a dataclass with `epochs`, `weight_decay` and `average`.
    """

    def __init__(
        self,
        model: nn.Module,
        options: Any,
        steps: int,
        groups: Sequence[Mapping[str, Any]],
        helpers: Mapping[str, nn.Module] | None = None,
    ) -> None:
        self.model, self.options, self.helpers = model, options, dict(helpers or {})
        self.optimizer = torch.optim.AdamW([dict(g) for g in groups], weight_decay=options.weight_decay, betas=BETAS)
        warm, total = max(1, steps // 2), steps * options.epochs
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer,
            lambda step: min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / total))),
        )
        self.average = {k: v.clone() for k, v in model.state_dict().items()}
        self.history: list[dict[str, float]] = []

    def step(self, objective: Tensor) -> None:
        """Update the weights and their average."""
        self.optimizer.zero_grad()
        torch.autograd.backward(objective)
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimizer.step()
        self.schedule.step()
        count = self.schedule.last_epoch
        decay = min(self.options.average, (1 + count) / (10 + count))  # early weights decay faster
        for key, value in self.model.state_dict().items():
            if value.is_floating_point():
                self.average[key].lerp_(value, 1 - decay)

    def save(self, path: Path) -> None:
        state = {
            "options": asdict(self.options),
            "model": self.model.state_dict(),
            "helpers": {name: helper.state_dict() for name, helper in self.helpers.items()},
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "history": self.history,
        }
        partial = path.with_suffix(".partial")
        try:
            with partial.open("wb") as file:
                torch.save(state, file)
            os.replace(partial, path)
        except (OSError, RuntimeError) as error:  # torch's writer says RuntimeError for a disk that is full
            partial.unlink(missing_ok=True)
            raise OSError(
                f"cannot write {str(path)!r} ({str(error).splitlines()[0]}): free some space and repeat the command; it resumes "
                f"after epoch {len(self.history) - 1}"
            ) from error

    def restore(self, path: Path) -> None:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["options"] != asdict(self.options):
            raise ValueError(f"{path} belongs to a run with other options: choose another --out or delete it")
        self.model.load_state_dict(state["model"])
        for name, helper in self.helpers.items():
            helper.load_state_dict(state["helpers"][name])
        self.average = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.history = state["history"]

    def train(
        self,
        out: Path,
        epoch: Callable[[int], float],
        measure: Callable[[], dict[str, float]],
        progress: Progress,
    ) -> None:
        """Run the remaining epochs, each followed by `measure`, a checkpoint and a line in `out/log.jsonl`.

        `epoch` takes the number of an epoch and returns the mean loss; `measure` evaluates `average`.
        """
        checkpoint = out / CHECKPOINT
        checkpoint.with_suffix(".partial").unlink(missing_ok=True)  # of a killed run
        if checkpoint.exists():
            self.restore(checkpoint)
        while len(self.history) < self.options.epochs:
            number = len(self.history)
            torch.manual_seed(self.options.seed * 1000 + number)
            record = {"epoch": number + 1, "train": epoch(number), **measure()}
            self._refuse_divergence(record)
            self.history.append(record)
            self.save(checkpoint)
            lines = "".join(json.dumps(entry, allow_nan=False) + "\n" for entry in self.history)
            (out / "log.jsonl").write_text(lines, encoding="utf-8")
            told = " ".join(f"{name} {value:.3f}" for name, value in record.items() if name != "epoch")
            progress("dev", number + 1, self.options.epochs, told)

    def finite_loss(self, loss: Tensor) -> float:
        """A loss as a number. Raises ValueError for one that is not finite: the weights are lost from there on."""
        value = loss.item()
        if not math.isfinite(value):
            self._refuse_divergence({"epoch": len(self.history) + 1, "train": value})
        return value

    def _refuse_divergence(self, record: Mapping[str, float]) -> None:
        bad = [name for name, value in record.items() if not math.isfinite(value)]
        if bad or not all(value.isfinite().all() for value in self.average.values() if value.is_floating_point()):
            what = f"its {bad[0]} loss is {record[bad[0]]}" if bad else "its weights are no numbers any more"
            raise ValueError(
                f"training diverged in epoch {record['epoch']}, {what}: lower the learning rate, which is "
                f"{self.options.learning_rate:g}, and choose another --out or delete its {CHECKPOINT}"
            )


def is_finished(out: Path, options: Any) -> bool:
    """Whether a run with these options ended in `out`. Raises ValueError for a finished run with other options."""
    config = out / "config.json"
    if (out / CHECKPOINT).exists() or not config.exists():
        return False
    trained = json.loads(config.read_text(encoding="utf-8")).get("training", {})
    if {name: trained.get(name) for name in asdict(options)} != asdict(options):
        raise ValueError(f"{config} belongs to a run with other options: choose another --out or delete it")
    return True


def discard_checkpoint(out: Path) -> None:
    """The model is written: what a run resumes from is not needed any more."""
    (out / CHECKPOINT).unlink(missing_ok=True)


def refuse_empty(**splits: Sequence[Any]) -> None:
    """Raise ValueError for a split without anything in it."""
    for name, items in splits.items():
        if not items:
            raise ValueError(f"the {name} split is empty: expected one photo at least")


def refuse_wordless(vocabulary: Vocabulary, min_count: int) -> None:
    """Raise ValueError for a vocabulary of special tokens only."""
    if len(vocabulary) == len(SPECIALS):
        raise ValueError(f"no word of the training texts occurs {min_count} times: lower --min-count, or check the texts")


@torch.no_grad()
def round_to_half(model: nn.Module) -> None:
    """Round weights to the float16 of the saved file, so that tests see the network that users load."""
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            if not tensor.half().isfinite().all():
                raise ValueError("training diverged: weights are beyond what float16 holds: lower the learning rate")
            tensor.copy_(tensor.half())


def pad(rows: Sequence[Sequence[int]]) -> Tensor:
    """Tensor `(b, t)` of lists of ids, padded with -1."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[-1] * (longest - len(row))] for row in rows])


def mean_cell(cells: Iterable[Tensor]) -> Tensor:
    """Mean `(d,)` of the last spatial layer over photos and positions, from batches `(b, d, h, w)`."""
    sums, counts = zip(*((part.mean(dim=(2, 3)).sum(dim=0), len(part)) for part in cells), strict=True)
    mean: Tensor = torch.stack(sums).sum(dim=0) / sum(counts)
    return mean


def missing_photos(images: Path, names: Sequence[str]) -> None:
    """Raise FileNotFoundError for missing photos before any hours are spent."""
    missing = [name for name in names if not (images / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{len(missing)} photos are not in {images}, the first: {missing[0]}")
