"""Draws are taken back, those of other threads where nothing of ours drew are not, and a call's own go on from batch to batch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from threads import run_together

import multimodal_cam as mc
from multimodal_cam.core.random_state import drawing, undrawn_state

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # transformers' own, with NumPy 2


def test_draws_are_taken_back():
    before = torch.get_rng_state()
    with drawing():
        first = torch.rand(3)
    with pytest.raises(ZeroDivisionError), drawing():
        assert torch.rand(3).max() < 1 // 0
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, torch.rand(3))


def test_the_draws_of_a_call_go_on():
    before = torch.get_rng_state()
    with undrawn_state():
        parts = []
        for _ in range(2):
            with drawing():
                parts.append(torch.rand(3))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(torch.cat(parts), torch.cat([torch.rand(3), torch.rand(3)]))


def test_what_another_thread_draws_meanwhile_stays_drawn():
    torch.manual_seed(0)
    first, second = torch.rand(3), torch.rand(3)
    torch.manual_seed(0)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        with undrawn_state():
            assert torch.equal(pool.submit(torch.rand, 3).result(), first)
    assert torch.equal(torch.rand(3), second)


def test_sampled_texts_in_threads_are_those_of_one(loaded):
    from hf_models import CASES
    from networks import noise_image

    model = loaded(next(case for case in CASES if case.name == "ved-vit"))
    options = {"do_sample": True, "max_new_tokens": 5}
    torch.manual_seed(3)
    before = torch.get_rng_state()
    expected = [mc.explain(model, noise_image(seed, (64, 64)), **options).text for seed in range(3)]
    several = mc.explain(model, [noise_image(0, (64, 64))] * 3, batch_size=1, **options)
    assert several[0].text == expected[0]
    assert len({e.text for e in several}) > 1  # each batch draws anew
    jobs = [lambda seed=seed: mc.explain(model, noise_image(seed, (64, 64)), **options).text for seed in range(3)]
    assert run_together(*jobs) == expected
    assert torch.equal(torch.get_rng_state(), before)
