"""The schema of a saved explanation: what `manifest.json` and `maps.safetensors` hold, and which of it fits together."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core.errors import BrokenFile, shown
from ..core.familiarity import Familiarity
from ..core.geometry import Placement
from ..core.json_object import JSONObject
from ..core.spans import Span
from .explanation_data import ExplanationData
from .records import PixelMaps

FORMAT = 1
NAMES = ("model", "method", "score", "unit", "layer")  # strings that the manifest stores unchanged
PIXEL_TENSORS = {"token_pixels": "tchw", "span_pixels": "schw", "alternative_pixels": "tachw"}
TENSORS = {  # axes: tokens, alternatives, question's tokens, spans, rows and columns of the grid or pixels, channels
    "token_maps": "thw",
    "token_scores": "t",
    "token_log_probs": "t",
    "token_reliance": "t",
    "token_changes": "t",
    "token_unplaced": "t",
    "token_doubt": "t",
    "token_question": "tq",
    "alternative_log_probs": "ta",
    "alternative_scores": "ta",
    "alternative_maps": "tahw",
    "span_maps": "shw",
    "token_channels": "tchw",
    **PIXEL_TENSORS,
}
NEEDED = ("token_scores", "token_log_probs", "token_reliance")
ADVICE = "bring the file back as it was saved, or explain the photo again"


def manifest_of(explanation: ExplanationData) -> dict[str, Any]:
    """What `manifest.json` says of an explanation, all but the hashes of its files."""
    phrases = explanation.phrases_so_far
    return {
        "format": FORMAT,
        "text": explanation.text,
        **{name: getattr(explanation, name) for name in NAMES},
        "counterfactual": explanation.counterfactual,
        "image": [explanation.placement.width, explanation.placement.height],
        "placement": {name: value for name, value in asdict(explanation.placement).items() if value != ()},
        "tokens": explanation.tokens,
        "words": [asdict(word) for word in explanation.words],
        "phrases": None if phrases is None else [asdict(phrase) for phrase in phrases],
        "spans": list(explanation.span_maps),
        "question": explanation.question,
        "question_words": [asdict(word) for word in explanation.question_spans],
        "alternatives": explanation.alternatives,
        "instead_of": dict(explanation.instead_of),
        "channel_names": {str(channel): name for channel, name in explanation.channel_names.items()},
        "provenance": dict(explanation.provenance),
        **({} if explanation.familiarity is None else {"familiarity": asdict(explanation.familiarity)}),
    }


def tensors_of(explanation: ExplanationData) -> dict[str, Tensor]:
    """What `maps.safetensors` holds of an explanation."""
    named = {name: getattr(explanation, name) for name in TENSORS if name not in ("span_maps", *PIXEL_TENSORS)}
    if explanation.span_maps:
        named["span_maps"] = torch.stack(list(explanation.span_maps.values()))
    if (pixels := explanation.pixel_maps) is not None:
        spans = torch.stack([pixels.spans[span] for span in explanation.span_maps]) if pixels.spans else None
        named |= {"token_pixels": pixels.tokens, "span_pixels": spans, "alternative_pixels": pixels.alternatives}
    return {name: value.contiguous() for name, value in named.items() if value is not None}


def fields_of(manifest: JSONObject, tensors: dict[str, Tensor], tensor_path: Path) -> dict[str, Any]:
    """Fields of the explanation, all but its image. Raises BrokenFile where manifest and tensors do not fit."""
    manifest = _renamed(manifest)
    tokens, spans = manifest.texts("tokens"), _ranges(manifest)
    counts = {"t": len(tokens), "s": len(spans)}
    alternatives = manifest.items("alternatives", "a list of texts for each token", _are_texts, ())
    if alternatives and (len(alternatives) != len(tokens) or len(set(map(len, alternatives))) > 1):
        raise manifest.broken("alternatives", f"equally many texts for each of the {len(tokens)} tokens")
    counts["a"] = len(alternatives[0]) if alternatives else 0
    placement = _placement(manifest)
    if placement.boxes:
        counts |= {"h": len(placement.boxes), "w": 1}
    _check_tensors(tensors, counts, tensor_path)
    stacked = tensors.get("span_maps")
    question_spans = _spans(manifest, "question_words", None)
    _check_question(manifest, question_spans, tensors.get("token_question"))
    words = _spans(manifest, "words", len(tokens))
    if "token_maps" not in tensors and not {(word.start, word.stop) for word in words} <= set(spans):
        raise manifest.broken("spans", "a range for each word, where there are no maps of tokens")
    fields = {
        "text": manifest.text("text"),
        **{name: manifest.text(name) for name in NAMES},
        "counterfactual": manifest.flag("counterfactual"),
        "tokens": tokens,
        "words": words,
        "placement": placement,
        "parsed_phrases": None if manifest.values.get("phrases") is None else _spans(manifest, "phrases", len(tokens)),
        "span_maps": dict(zip(spans, () if stacked is None else stacked, strict=True)),
        "question": manifest.text_or_none("question"),
        "question_spans": question_spans,
        "alternatives": tuple(map(tuple, alternatives)),
        "instead_of": manifest.text_table("instead_of", {}),
        "channel_names": _channel_names(manifest),
        "provenance": manifest.text_table("provenance"),
        "pixel_maps": _pixel_maps(tensors, spans),
        "familiarity": _familiarity(manifest),
    }
    return fields | {name: value for name, value in tensors.items() if name not in ("span_maps", *PIXEL_TENSORS)}


def _channel_names(manifest: JSONObject) -> dict[int, str]:
    names = manifest.text_table("channel_names", {})
    if not all(channel.isdecimal() for channel in names):
        raise manifest.broken("channel_names", "an object of texts by channel number")
    return {int(channel): name for channel, name in names.items()}


def _pixel_maps(tensors: dict[str, Tensor], spans: list[tuple[int, int]]) -> PixelMaps | None:
    if not PIXEL_TENSORS.keys() & tensors.keys():
        return None
    of_spans = tensors.get("span_pixels")
    by_span = {} if of_spans is None else dict(zip(spans, of_spans, strict=True))
    return PixelMaps(tensors.get("token_pixels"), by_span, tensors.get("alternative_pixels"))


def _renamed(manifest: JSONObject) -> JSONObject:
    """The manifest in today's form. Older versions prefixed the score with the sign and called `n_steps` nodes."""
    if "counterfactual" in manifest:
        return manifest
    score, provenance = manifest.text("score"), manifest.text_table("provenance")
    if "nodes" in provenance:
        provenance["n_steps"] = provenance.pop("nodes")
    changes = {"score": score.removeprefix("-"), "counterfactual": score.startswith("-"), "provenance": provenance}
    return JSONObject({**manifest.values, **changes}, manifest.path, manifest.advice)


def _familiarity(manifest: JSONObject) -> Familiarity | None:
    if "familiarity" not in manifest:
        return None
    entry = manifest.object("familiarity")
    return Familiarity(entry.number("distance", 0), entry.number("threshold", 0))


def _placement(manifest: JSONObject) -> Placement:
    entry = manifest.object("placement")
    width, height, frame = entry.integer("width", 1), entry.integer("height", 1), entry.numbers("frame", 4)
    if not (frame[0] < frame[2] and frame[1] < frame[3]):
        raise entry.broken("frame", "x0 < x1 and y0 < y1")
    if list(manifest.numbers("image", 2)) != [width, height]:
        raise manifest.broken("image", f"the placement's size, {width} x {height}")
    boxes = tuple(map(tuple, entry.items("boxes", "boxes x0, y0, x1, y1 in fractions of the photo", _is_box, ())))
    return Placement(width, height, (frame[0], frame[1], frame[2], frame[3]), boxes)


def _is_box(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 4 or not all(type(x) in (int, float) for x in value):
        return False
    return bool(0 <= value[0] < value[2] <= 1 and 0 <= value[1] < value[3] <= 1)


def _spans(manifest: JSONObject, name: str, tokens: int | None) -> tuple[Span, ...]:
    """Spans of a list; with `tokens`, none reaches beyond them."""
    found = []
    for entry in manifest.objects(name) if name == "words" else manifest.objects(name, ()):
        start = entry.integer("start")
        stop = entry.integer("stop", start + 1)
        if tokens is not None and stop > tokens:
            raise entry.broken("stop", f"at most {tokens}, the number of tokens")
        found.append(Span(entry.text("text"), start, stop, entry.flag("known", True), entry.flag("glued", False)))
    return tuple(found)


def _ranges(manifest: JSONObject) -> list[tuple[int, int]]:
    tokens = len(manifest.texts("tokens"))

    def is_range(value: Any) -> bool:
        numbers = isinstance(value, list) and len(value) == 2 and all(type(number) is int for number in value)
        return numbers and 0 <= value[0] < value[1] <= tokens

    found = manifest.items("spans", f"pairs start, stop within the {tokens} tokens", is_range)
    return [(start, stop) for start, stop in found]


def _check_question(manifest: JSONObject, spans: tuple[Span, ...], shares: Tensor | None) -> None:
    last = max((span.stop for span in spans), default=0)
    if spans and (shares is None or shares.shape[1] < last):
        raise manifest.broken(
            "question_words", f"spans within the {0 if shares is None else shares.shape[1]} tokens of the question"
        )


def _check_tensors(tensors: dict[str, Tensor], counts: dict[str, int], path: Path) -> None:
    """Raise BrokenFile for tensors that are missing, unknown, or of another shape or type than the manifest says."""
    needed = {*NEEDED, *(["span_maps"] if counts["s"] else []), *(["token_maps"] if not counts["s"] else [])}
    if unknown := tensors.keys() - TENSORS.keys():
        raise BrokenFile(path, f"tensors from {', '.join(TENSORS)}", shown(sorted(unknown)), ADVICE)
    if missing := needed - tensors.keys():
        raise BrokenFile(path, f"tensors {', '.join(sorted(needed))}", f"none of {shown(sorted(missing))}", ADVICE)
    sizes = dict(counts)
    for name in sorted(tensors, key=lambda name: list(TENSORS).index(name)):
        tensor, axes = tensors[name], TENSORS[name]
        for axis, size in zip(axes, tensor.shape, strict=False):
            sizes.setdefault(axis, size)
        wanted = tuple(sizes.get(axis, 0) for axis in axes)
        if tensor.dtype != torch.float32 or tuple(tensor.shape) != wanted or 0 in tensor.shape[1:]:
            found = f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
            raise BrokenFile(path, f"{name} as float32 {wanted}", found, ADVICE)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)
