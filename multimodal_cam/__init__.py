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
    from ._explain import explain
    from ._explain_score import explain_score
    from ._explain_stream import explain_stream
    from ._explanation import Explanation
    from .adapters.check import Check, check
    from .adapters.classifier import classifier
    from .adapters.contract import TaskAdapter, UnknownWordError
    from .adapters.custom_captioner import captioner
    from .adapters.custom_vqa import vqa
    from .adapters.load import load
    from .adapters.word_tokenizer import Words
    from .core.errors import BrokenFile
    from .core.spans import Span, WordError
    from .methods.spec import METHODS, MethodSpec
    from .results.records import Failure, QuestionWord, SpanExplanation
    from .scores import SCORES, ScoreSpec

__version__ = "0.1.0"
__all__ = [
    "METHODS",
    "SCORES",
    "BrokenFile",
    "Check",
    "Explanation",
    "Failure",
    "MethodSpec",
    "QuestionWord",
    "ScoreSpec",
    "Span",
    "SpanExplanation",
    "TaskAdapter",
    "UnknownWordError",
    "WordError",
    "Words",
    "captioner",
    "check",
    "classifier",
    "explain",
    "explain_score",
    "explain_stream",
    "load",
    "vqa",
]

_HOMES = {
    "_explain": ("explain",),
    "_explain_score": ("explain_score",),
    "_explain_stream": ("explain_stream",),
    "_explanation": ("Explanation",),
    "adapters.check": ("Check", "check"),
    "adapters.classifier": ("classifier",),
    "adapters.contract": ("TaskAdapter", "UnknownWordError"),
    "adapters.custom_captioner": ("captioner",),
    "adapters.custom_vqa": ("vqa",),
    "adapters.load": ("load",),
    "adapters.word_tokenizer": ("Words",),
    "core.errors": ("BrokenFile",),
    "core.spans": ("Span", "WordError"),
    "methods.spec": ("METHODS", "MethodSpec"),
    "results.records": ("Failure", "QuestionWord", "SpanExplanation"),
    "scores": ("SCORES", "ScoreSpec"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
