"""Where a captioning or VQA model looked when it said a word: Grad-CAM for language.

    import multimodal_cam as mc
    e = mc.explain(mc.load("nic"), "photo.jpg")
    e["dog"].map

The names below load what they need when they are first used: importing the package imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .adapters import TaskAdapter, UnknownWordError
    from .adapters.classifier import classifier
    from .adapters.own import Words, captioner
    from .adapters.own_vqa import vqa
    from .anything import explain_score
    from .checking import Check, check
    from .explaining import Failure, explain
    from .explanation import Explanation, Part, QuestionWord
    from .loading import load
    from .methods import LINEAR, METHODS
    from .scores import SCORES
    from .spans import Span, WordError

__version__ = "0.1.0"
__all__ = [
    "LINEAR",
    "METHODS",
    "SCORES",
    "Check",
    "Explanation",
    "Failure",
    "Part",
    "QuestionWord",
    "Span",
    "TaskAdapter",
    "UnknownWordError",
    "WordError",
    "Words",
    "captioner",
    "check",
    "classifier",
    "explain",
    "explain_score",
    "load",
    "vqa",
]

_HOMES = {
    "adapters": ("TaskAdapter", "UnknownWordError"),
    "adapters.classifier": ("classifier",),
    "adapters.own": ("Words", "captioner"),
    "adapters.own_vqa": ("vqa",),
    "anything": ("explain_score",),
    "checking": ("Check", "check"),
    "explaining": ("Failure", "explain"),
    "explanation": ("Explanation", "Part", "QuestionWord"),
    "loading": ("load",),
    "methods": ("LINEAR", "METHODS"),
    "scores": ("SCORES",),
    "spans": ("Span", "WordError"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
