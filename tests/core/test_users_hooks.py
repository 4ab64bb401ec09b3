"""Hooks that the user has put on the network: one that changes an output is respected, one that looks still sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from kinds import KINDS
from networks import noise_image
from torch import nn

import multimodal_cam as mc
from multimodal_cam.adapters.contract import tap_layer
from multimodal_cam.core.call_scope import unchanged_state

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # transformers' own, with NumPy 2
EVERY = [name for name in KINDS if not name.startswith("bundled")] + ["bundled captioner", "bundled vqa"]


def scaled(output: Any, in_place: bool) -> Any:
    if isinstance(output, tuple):
        return (scaled(output[0], in_place), *output[1:])
    return output.mul_(1.5) if in_place else output * 1.5


def changing(in_place: bool = False) -> Callable[..., Any]:
    return lambda _module, _args, output: scaled(output, in_place)


def whole_and_head(kind: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits of the whole network, those of the head from the layer's activations, and these."""
    model = kind.model
    asked = [kind.asked["question"]] if "question" in kind.asked else None
    inputs = model.preprocess([noise_image(0, (64, 64))], asked)
    with unchanged_state(model.module), torch.no_grad():
        ids = model.tokenize([kind.asked["text"]]) if "text" in kind.asked else model.generate(inputs)
        with tap_layer(model, inputs) as tap:
            whole = model.logits(inputs, ids)
        return whole, model.logits(inputs, ids, tap.activations.clone()), tap.activations


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("name", EVERY)
def test_a_hook_that_changes_the_layer_is_respected_once(name, in_place, checkpoints):
    kind = KINDS[name](checkpoints)
    before, _, activations = whole_and_head(kind)
    handle = kind.model.layer.register_forward_hook(changing(in_place))
    whole, head, changed = whole_and_head(kind)
    torch.testing.assert_close(head, whole, rtol=1e-4, atol=1e-5)
    if name != "hf llava":  # transformers' own hook was there before, and LLaVA reads what that one has collected
        torch.testing.assert_close(changed, 1.5 * activations)
        assert not torch.allclose(whole, before)
    evidence = kind.explain(method="evidence", n_steps=32)
    unplaced = 0 if evidence.token_unplaced is None else evidence.token_unplaced
    torch.testing.assert_close(evidence.token_maps.sum(dim=(1, 2)) + unplaced, evidence.token_changes, rtol=0.1, atol=0.02)
    handle.remove()
    torch.testing.assert_close(whole_and_head(kind)[0], before)


@pytest.mark.parametrize("where", ["", "layer4"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_hook_around_the_layer_of_a_classifier(where, when):
    """What contains the layer runs in the head, too, with its hooks, whenever they came and went."""
    network = KINDS["classifier resnet"](None).model.module
    expected = mc.explain(mc.classifier(network), noise_image()).maps
    layer = "layer4.0" if where else None
    model = mc.classifier(network, layer=layer)
    handle = network.get_submodule(where).register_forward_hook(changing())
    if when == "before":
        model = mc.classifier(network, layer=layer)
    inputs = model.preprocess([noise_image()])
    with unchanged_state(network), torch.no_grad():
        with tap_layer(model, inputs) as tap:
            whole = model.logits(inputs, torch.zeros(1, 1, dtype=torch.long))
        head = model.logits(inputs, torch.zeros(1, 1, dtype=torch.long), tap.activations)
    torch.testing.assert_close(head, whole)
    handle.remove()
    assert torch.equal(mc.explain(mc.classifier(network), noise_image()).maps, expected)
    assert model.head.alone


@pytest.mark.parametrize("name", EVERY)
def test_a_hook_that_records_still_records(name, checkpoints):
    kind, seen = KINDS[name](checkpoints), []
    expected = kind.explain()
    kind.model.layer.register_forward_hook(lambda _module, _args, output: seen.append(output))
    found = kind.explain()
    assert seen
    assert torch.equal(found.token_maps, expected.token_maps)
    assert torch.equal(found.token_scores, expected.token_scores)


def test_the_order_of_the_users_hooks_stays():
    layer = nn.Conv2d(3, 3, 1)
    for hook in (lambda *_: None, lambda *_: None):
        layer.register_forward_hook(hook)
    before = list(layer._forward_hooks)
    mc.explain_score(lambda pixels: layer(pixels).sum(dim=(1, 2, 3)), layer, torch.rand(1, 3, 4, 4))
    assert list(layer._forward_hooks) == before
