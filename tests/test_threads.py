"""An explanation is nobody else's business: calls in other threads, predictions and training on the same network."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from kinds import KINDS
from networks import noise_image, small_captioner, small_vqa
from threads import TIMEOUT, meanwhile, run_together
from torch import nn

import multimodal_cam as mc

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # transformers' own, with NumPy 2
SMALL = ["captioner", "vqa", "classifier resnet", "classifier untraceable", "hf ved", "hf llava", "hf vilt"]


def numbers(e: mc.Explanation) -> list[Any]:
    """All that may differ between two explanations of the same."""
    tensors = [e.token_scores, e.token_reliance, e.token_maps, *e.span_maps.values(), e.token_question]
    return [e.text, *(None if tensor is None else tensor.tolist() for tensor in tensors)]


def train_step(network: nn.Module, pixels: torch.Tensor) -> None:
    """What somebody does who trains this network: all of it must be in training mode, and differentiate as usual."""
    assert all(part.training for part in network.modules())
    loss = network(pixels).square().mean()
    assert loss.requires_grad
    torch.autograd.grad(loss, [weight for weight in network.parameters() if weight.requires_grad], allow_unused=True)


def predict(network: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        output = network(pixels)
    assert not output.requires_grad
    return output


@pytest.mark.parametrize("name", SMALL)
def test_calls_in_threads_give_what_they_give_alone(name, checkpoints):
    kind = KINDS[name](checkpoints)
    expected = [numbers(kind.explain(seed)) for seed in range(4)]
    jobs = [lambda seed=seed: [numbers(kind.explain(seed)) for _ in range(2)] for seed in range(4)]
    with meanwhile(lambda: mc.explain(small_captioner(), noise_image(), text="a dog")):  # another network, all the while
        found = run_together(*jobs)
    assert found == [[one] * 2 for one in expected]


def test_a_bystander_predicts_untouched():
    model = small_captioner()
    model.module.eval()
    pixels = model.preprocess([noise_image(3)]).pixels
    expected, alone = numbers(mc.explain(model, noise_image(), method="evidence")), predict(model.encoder, pixels)

    def bystand() -> None:
        assert torch.equal(predict(model.encoder, pixels), alone)

    with meanwhile(bystand):
        for _ in range(10):
            assert numbers(mc.explain(model, noise_image(), method="evidence")) == expected


@pytest.mark.parametrize("train", [True, False])
def test_a_bystander_trains_in_training_mode_and_nothing_else_moves_its_statistics(train):
    model = small_captioner()
    expected = numbers(mc.explain(model, noise_image(), text="a dog runs"))
    model.encoder.norm.momentum = 0.0 if train else 0.5  # running statistics stay, the number of batches counts
    model.module.train()
    norm, pixels, steps = model.encoder.norm, torch.randn(4, 3, 32, 32), []

    def step() -> None:
        train_step(model.encoder, pixels)
        steps.append(None)

    def explain() -> None:
        for _ in range(5):
            assert numbers(mc.explain(model, noise_image(), text="a dog runs")) == expected

    before = norm.running_mean.clone()
    if train:
        with meanwhile(step):
            run_together(explain, explain)
    else:
        run_together(explain, explain)
    assert int(norm.num_batches_tracked) == len(steps)
    assert torch.equal(norm.running_mean, before)
    assert all(part.training for part in model.module.modules())


def test_a_mode_that_is_switched_meanwhile_stays_switched():
    model = small_captioner()
    model.module.train()
    inside, switched = threading.Event(), threading.Event()

    def score(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        inside.set()
        assert switched.wait(TIMEOUT)
        assert not any(part.training for part in model.module.modules())
        model.encoder.train()  # this call's own business
        assert model.encoder.norm.training
        model.encoder.eval()
        return logits.gather(-1, ids.clamp(min=0)[..., None])[..., 0]

    def switch() -> None:
        assert inside.wait(TIMEOUT)
        assert model.module.training
        model.module.eval()
        model.encoder.norm.train()
        switched.set()

    run_together(lambda: mc.explain(model, noise_image(), text="a dog", score=score), switch)
    assert [name for name, part in model.module.named_modules() if part.training] == ["encoder.norm"]


def test_explain_score_in_threads():
    network = KINDS["classifier resnet"](None).model.module.train()
    pixels = torch.randn(2, 3, 64, 64)

    def maps(layer: nn.Module) -> torch.Tensor:
        return mc.explain_score(lambda x: network(x)[:, 0], layer, pixels)

    layers = [network.layer3, network.layer4, network.layer4, network.layer2]
    expected = [maps(layer) for layer in layers]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = run_together(*(lambda layer=layer: maps(layer) for layer in layers))
    assert all(map(torch.equal, found, expected))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_asyncio_hands_its_work_to_threads():
    models = [small_captioner(seed) for seed in range(2)]
    expected = [numbers(mc.explain(model, noise_image(), text="a red dog")) for model in models]

    async def several() -> list[mc.Explanation]:
        calls = [asyncio.to_thread(mc.explain, model, noise_image(), text="a red dog") for model in models * 3]
        return await asyncio.wait_for(asyncio.gather(*calls), TIMEOUT)

    assert [numbers(e) for e in asyncio.run(several())] == expected * 3


def test_models_that_share_an_encoder_wait_for_each_other():
    first = small_captioner()
    second = mc.captioner(
        encoder=first.encoder, decoder=small_captioner(1).decoder, tokenizer=first.tokenizer, eos=1, image_size=32, max_words=8
    )
    expected = [numbers(mc.explain(model, noise_image(), text="a red dog")) for model in (first, second)]
    jobs = [
        lambda model=model: [numbers(mc.explain(model, noise_image(), text="a red dog")) for _ in range(3)]
        for model in (first, second, first, second)
    ]
    assert run_together(*jobs) == [[one] * 3 for one in expected * 2]


@pytest.mark.parametrize("hand_on", [True, False])
def test_a_call_within_a_call(hand_on):
    """Also in a thread that the outer call hands its context to; whoever does not may wait for a call on another model."""
    model, other = small_captioner(), small_captioner(1)
    inner = model if hand_on else other
    expected = numbers(mc.explain(inner, noise_image(1), text="a dog"))
    found = []

    def score(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        run = contextvars.copy_context().run if hand_on else lambda call: call()
        with ThreadPoolExecutor(1) as pool:
            work = pool.submit(run, lambda: numbers(mc.explain(inner, noise_image(1), text="a dog")))
            found.append(work.result(TIMEOUT))
        return logits.gather(-1, ids.clamp(min=0)[..., None])[..., 0]

    for one in (model, other):  # in both orders: no circle of waiting calls
        run_together(*(lambda: mc.explain(one, noise_image(), text="a red dog", score=score) for _ in range(2)))
        if not hand_on:
            break
    assert found
    assert all(one == expected for one in found)


def test_calls_inside_each_other_the_other_way_round_do_not_wait_for_ever():
    models = [small_vqa(), small_vqa(1)]
    ask = {"question": "what colour is top left"}

    def explain_within(outer: int) -> None:
        def score(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
            mc.explain(models[1 - outer], noise_image(), **ask)
            return logits.gather(-1, ids.clamp(min=0)[..., None])[..., 0]

        for _ in range(3):
            mc.explain(models[outer], noise_image(), score=score, **ask)

    run_together(lambda: explain_within(0), lambda: explain_within(1))


def test_the_random_state_is_neither_moved_nor_taken_back():
    model, drawn = small_captioner(), []
    torch.manual_seed(0)
    expected = [torch.rand(3).tolist() for _ in range(20)]
    torch.manual_seed(0)

    def explain() -> None:
        for _ in range(5):
            mc.explain(model, noise_image(), method="evidence")

    def draw() -> None:
        for _ in range(20):
            drawn.append(torch.rand(3).tolist())
            mc.explain(model, noise_image(2), text="a dog")

    run_together(explain, draw)
    assert drawn == expected


@pytest.mark.parametrize("name", ["nic", "lstm-q", "efficientnet_lite0"])
def test_loading_draws_nothing(name):
    before = torch.get_rng_state()
    mc.load(name, device="cpu")
    assert torch.equal(torch.get_rng_state(), before)


def test_autocast_around_a_call_changes_nothing():
    model = small_captioner()
    expected = numbers(mc.explain(model, noise_image(), method="evidence"))
    with torch.autocast("cpu", torch.bfloat16):
        assert numbers(mc.explain(model, noise_image(), method="evidence")) == expected
        assert torch.is_autocast_enabled("cpu")
    assert numbers(mc.explain(model, noise_image(), method="evidence")) == expected


@pytest.mark.parametrize("cuts", [True, False])
@pytest.mark.parametrize("method", ["grad_cam", "evidence", "layer_cam"])
def test_anomaly_mode_loops(method, cuts):
    model = small_captioner(cuts=cuts)
    expected = mc.explain(model, noise_image(), text="a red dog", method=method)
    with pytest.warns(UserWarning, match="Anomaly Detection"), torch.autograd.detect_anomaly():
        found = mc.explain(model, noise_image(), text="a red dog", method=method)
    assert found.provenance["products"] == "looped"
    torch.testing.assert_close(found.maps, expected.maps)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("nic", {}),
        ("lstm-q", {"question": "what is the dog doing?"}),
        ("sat", {"method": "attention"}),
        ("san", {"question": "what is the dog doing?", "method": "attention"}),
    ],
)
def test_bundled_models_in_eight_threads_beside_one_that_predicts_and_one_that_trains(name, asked):
    model = mc.load(name, device="cpu")
    model.module.train()
    expected = [numbers(mc.explain(model, noise_image(seed), **asked)) for seed in range(2)]
    pixels = torch.randn(2, 3, 64, 64)
    encoder = model.network.encoder
    jobs = [lambda i=i: [numbers(mc.explain(model, noise_image(i % 2), **asked)) for _ in range(3)] for i in range(8)]
    with meanwhile(lambda: train_step(encoder, pixels), lambda: predict(model.network.project, torch.randn(1, 1280, 7, 7))):
        pass  # the network's statistics move, and so do its maps: from here on only predictions
    expected = [numbers(mc.explain(model, noise_image(seed), **asked)) for seed in range(2)]
    before = {key: value.clone() for key, value in model.network.state_dict().items()}
    with meanwhile(lambda: predict(model.network.project, torch.randn(1, 1280, 7, 7))):
        found = run_together(*jobs)
    assert found == [[expected[i % 2]] * 3 for i in range(8)]
    assert all(torch.equal(value, before[key]) for key, value in model.network.state_dict().items())
    assert all(part.training for part in model.module.modules())


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_fifty_calls_in_each_of_eight_threads(name, checkpoints):
    kind = KINDS[name](checkpoints)
    expected = [numbers(kind.explain(seed)) for seed in range(4)]
    jobs = [lambda i=i: [numbers(kind.explain(i % 4)) == expected[i % 4] for _ in range(50)] for i in range(8)]
    assert run_together(*jobs) == [[True] * 50] * 8
