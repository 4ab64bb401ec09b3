"""Arguments of `explain` as people of other libraries give them: what they mean, or a line that says what to give here."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import nn

from .adapters.contract import TaskAdapter
from .adapters.labels import LabelChooser
from .methods.method_options import OPTIONS

TARGETS = ("target", "targets", "class_idx", "class_id", "target_category", "label", "labels")  # what other libraries call them


def check_model(model: object) -> None:
    """Raises TypeError for what is no adapter, with the function that makes one."""
    if isinstance(model, nn.Module):
        raise TypeError(f"model: explain takes what load, captioner, vqa or classifier give, got {unadapted(model)}")
    if not all(hasattr(model, name) for name in ("module", "preprocess", "tokenize", "logits")):
        hint = f": explain(mc.load({model!r}), ...)" if isinstance(model, str) else ""
        raise TypeError(f"model: expected what load, captioner, vqa or classifier give, got {type(model).__name__}{hint}")


def unadapted(network: nn.Module) -> str:
    """A PyTorch network, and what makes an adapter of it."""
    name = type(network).__name__
    if any(base.__module__.startswith("transformers.") for base in type(network).__mro__):
        return f"a {name} of transformers: mc.load(model, processor=processor)"
    return (
        f"a network, {name}: mc.classifier(network, labels=names, preprocess=transform) for classes, "
        "mc.captioner(encoder=, decoder=, tokenizer=) for captions, mc.vqa(encoder=, head=, answers=) for answers"
    )


def texts_of_ids(model: TaskAdapter, text: Any) -> Any:
    """`text` with the label of each class id (`text=281`) in its place. Raises for ids of models without labels, or too large."""
    if isinstance(text, Sequence) and not isinstance(text, str):
        return [_label(model, one) for one in text]
    return _label(model, text)


def _label(model: TaskAdapter, text: Any) -> Any:
    if isinstance(text, bool) or not hasattr(text, "__index__") or isinstance(text, str):
        return text
    index = text.__index__()
    if not isinstance(model, LabelChooser):
        raise ValueError(f"text={index}: {model.name} has no numbered classes: give the words")
    if not 0 <= index < len(model.labels):
        raise ValueError(f"text={index}: expected a class from 0 to {len(model.labels) - 1}, or its name")
    return model.labels.names[index]


def split_method_options(model: TaskAdapter, options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of methods, and those of the model's decoder, which has a name that both know for itself."""
    decoder = inspect.signature(model.generate).parameters
    of_methods = {name: value for name, value in options.items() if name in OPTIONS and name not in decoder}
    return of_methods, {name: value for name, value in options.items() if name not in of_methods}


def check_generation(model: TaskAdapter, options: Mapping[str, Any], known: Collection[str]) -> None:
    """Raises TypeError for options that neither `explain` (`known`) nor the model's `generate` has."""
    taken = inspect.signature(model.generate).parameters.values()
    for name in options:
        if name in TARGETS:
            raise TypeError(
                f"explain has no {name}=: text= is what is explained, a word, an answer, a class or its id (text=281)"
            )
        if name == "target_layer" or name == "target_layers":
            raise TypeError(f"explain has no {name}=: layer= is a module of the model or its dotted name")
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
        if near and name not in known:
            raise TypeError(f"explain has no {name}=: did you mean {near[0]}=?")
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken):
        return
    unknown = [name for name in options if name not in {parameter.name for parameter in taken}]
    if unknown:
        own = ", ".join(f"{parameter.name}=" for parameter in taken if parameter.name != "inputs") or "none"
        raise TypeError(f"{model.name} has no {', '.join(f'{name}=' for name in unknown)}: the options of its decoder are {own}")
