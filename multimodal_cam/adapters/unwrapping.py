"""What people wrap networks in, to train, spread, compile or adapt them, is taken off here, and nowhere else.

The network inside is the same object with the same weights, so maps are the bare network's. Wrappers that change what a network
computes (LoRA's layers, accelerate's hooks, parametrizations) sit inside of it and stay.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

INSIDE = {  # class of a wrapper -> attribute that holds the network
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "AveragedModel": "module",
    "ModelEma": "module",
    "ModelEmaV2": "module",
    "ModelEmaV3": "module",
    "DeepSpeedEngine": "module",
    "OptimizedModule": "_orig_mod",
    "PeftMixedModel": "base_model",
    "BaseTuner": "model",  # PEFT's layers without PEFT's model around them
}
SHARDED = ("FullyShardedDataParallel",)
PREFIXES = ("_orig_mod.", "module.", "base_model.model.")  # of names within a wrapper
CHECKPOINT_KEYS = (
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "weights",
    "state_dict_ema",
    "model_ema",
    "ema",
)  # under which training scripts keep weights


def unwrapped(network: Any, what: str) -> nn.Module:
    """The network in `network` without its wrappers; `what` names the argument in errors.

    Raises:
        TypeError: It is no `nn.Module`.
        ValueError: It cannot be looked into (TorchScript, sharded weights, learned prompts), or has no `forward`.
    """
    while (inner := _inside(network, what)) is not None:
        network = inner
    if not isinstance(network, nn.Module):
        raise TypeError(f"{what}: expected a torch.nn.Module, got {type(network).__name__}")
    if not _has_forward(network):
        return unwrapped(_only_child(network, what), what)
    return network


def unwrapped_pretrained(network: Any) -> Any:
    """The Hugging Face model in `network`: also the one that a LightningModule holds, whatever its own `forward`."""
    network = network if not isinstance(network, nn.Module) else unwrapped(network, "load")
    if "LightningModule" in _class_names(network):
        network = unwrapped(_only_child(network, "load"), "load")
    return network


def refuse_torchscript(network: Any, what: str) -> None:
    """Raise ValueError for TorchScript, which takes no hooks."""
    if isinstance(network, torch.jit.ScriptModule):
        raise ValueError(
            f"{what}: this is TorchScript, into which nobody can look (no hooks): pass the nn.Module that it was made of, with "
            "network.load_state_dict(scripted.state_dict()) where only the file is left"
        )


def _refuse_exported(network: Any, what: str) -> None:
    """Raise ValueError for what `torch.export` wrote down: operations, and no layers among them."""
    if isinstance(network, torch.export.ExportedProgram) or hasattr(network, "_guards_fn"):
        raise ValueError(f"{what}: torch.export leaves no layers to look at: pass the nn.Module that it exported")


def bare_name(name: str) -> str:
    """The name of a submodule without the wrappers' part: `module.layer4` -> `layer4`."""
    for prefix in PREFIXES:
        if name.startswith(prefix):
            return bare_name(name.removeprefix(prefix))
    return name


def wrapper_prefix(names: Collection[str]) -> str:
    """What a wrapper has put in front of all `names` of weights; empty where there is nothing."""
    first = next(iter(names), "")
    prefix = first.removesuffix(bare_name(first))
    return prefix if all(name.startswith(prefix) for name in names) else ""


def bare_weights(stored: Mapping[str, Any], names: Collection[str]) -> Mapping[str, Any]:
    """The weights among what a checkpoint holds, under the network's own `names`: without the wrapper's prefix and neighbours.

    Where no prefix fits, what is stored is returned as it is.
    """
    for key in CHECKPOINT_KEYS:
        inner = stored.get(key)
        if isinstance(inner, Mapping) and any(isinstance(value, Tensor) for value in inner.values()):
            stored = inner
            break
    if not names or set(names) <= stored.keys():
        return stored
    first = next(iter(names))
    for prefix in (key.removesuffix(first) for key in stored if key.endswith(f".{first}")):
        if all(prefix + name in stored for name in names):
            return {key.removeprefix(prefix): value for key, value in stored.items() if key.startswith(prefix)}
    return stored


def _inside(network: Any, what: str) -> Any:
    """What a known wrapper holds; None for anything else. Raises ValueError for what cannot be looked into."""
    refuse_torchscript(network, what)
    _refuse_exported(network, what)
    names = _class_names(network)
    if any(name in names for name in SHARDED):
        raise ValueError(f"{what}: the weights of this {type(network).__name__} are sharded: gather them in one plain network")
    if "PeftModel" in names:
        return _base_of_peft(network, what)
    return next((getattr(network, INSIDE[name]) for name in names if name in INSIDE), None)


def _base_of_peft(network: Any, what: str) -> Any:
    """The model into which PEFT put its layers. Raises ValueError for learned prompts, which lie outside of it."""
    for name in network.active_adapters:
        config = network.peft_config[name]
        if config.is_prompt_learning:
            raise ValueError(
                f"{what}: {config.peft_type.value} puts learned tokens in front of the text, outside of the model: only adapters "
                "inside of its layers (LoRA and its kin) are supported"
            )
    return network.get_base_model()


def _class_names(network: Any) -> list[str]:
    return [kind.__name__ for kind in type(network).__mro__]


def _has_forward(network: nn.Module) -> bool:
    """Whether its class, or the module itself, says how it runs."""
    forward = getattr(network, "forward", None)
    return getattr(forward, "__qualname__", "").partition(".")[0] not in ("LightningModule", "_forward_unimplemented")


def _only_child(network: nn.Module, what: str) -> nn.Module:
    """The one child that has weights. Raises ValueError, with the children's names, for none or several."""
    children = dict(_children_with_weights(network))
    if len(children) == 1:
        return next(iter(children.values()))
    held = ", ".join(f".{name} ({type(child).__name__})" for name, child in children.items()) or "no network"
    raise ValueError(f"{what}: this {type(network).__name__} has no forward of its own: pass the network in it; it holds {held}")


def _children_with_weights(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, child in network.named_children():
        if next(child.parameters(), None) is not None:
            yield name, child
