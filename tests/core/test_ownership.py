"""Hooks, replaced forwards, modes and claims of a call end in any order, and after any failure, with nothing left behind."""

from __future__ import annotations

import contextvars
import threading

import pytest
import torch
from threads import TIMEOUT, meanwhile, run_together
from torch import nn

from multimodal_cam.core.call_scope import evaluation_mode
from multimodal_cam.core.forward_replacement import replaced_forward
from multimodal_cam.core.hooks import LayerTap
from multimodal_cam.core.module_claims import exclusive


def other_thread(function):
    """What the function gives in a thread that knows nothing of this one."""
    return run_together(function)[0]


def test_a_tap_sees_its_own_thread_and_those_that_it_hands_its_context_to():
    layer, pixels = nn.Conv2d(3, 3, 1), torch.rand(1, 3, 4, 4)
    with LayerTap(layer) as tap:
        layer(pixels)
        other_thread(lambda: layer(2 * pixels))
        assert tap.calls == 1
        context = contextvars.copy_context()
        other_thread(lambda: context.run(layer, pixels))
        assert tap.calls == 2
    assert not layer._forward_hooks


def test_taps_that_end_in_the_order_of_their_beginning():
    layer, pixels = nn.Conv2d(3, 3, 1), torch.rand(1, 3, 4, 4)
    first, second = LayerTap(layer), LayerTap(layer)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    layer(pixels)
    second.__exit__(None, None, None)
    layer(pixels)
    assert (first.calls, second.calls) == (0, 1)


def test_a_strangers_gradient_mode_stays():
    layer = nn.Conv2d(3, 3, 1)

    def bystand():
        with torch.no_grad():
            output = layer(torch.rand(1, 3, 4, 4))
            return output.requires_grad, torch.is_grad_enabled()

    with torch.no_grad(), LayerTap(layer, leaf=True):
        assert other_thread(bystand) == (False, False)


@pytest.mark.parametrize("own", [False, True])
def test_replaced_forwards_that_end_in_the_order_of_their_beginning(own):
    module = nn.Identity()
    if own:
        module.forward = lambda x: x + 100
    before = dict(vars(module))
    first, second = replaced_forward(module, lambda x: x + 1), replaced_forward(module, lambda x: x + 2)
    plain = 100 if own else 0
    first.__enter__()
    assert (module(0), other_thread(lambda: module(0))) == (1, plain)
    second.__enter__()
    assert (module(0), other_thread(lambda: module(0))) == (2, plain)
    first.__exit__(None, None, None)
    assert (module(0), other_thread(lambda: module(0))) == (2, plain)
    second.__exit__(None, None, None)
    assert module(0) == plain
    assert vars(module) == before


def test_a_stranger_always_finds_a_forward():
    module = nn.Identity()

    def replace_often():
        for _ in range(20_000):
            with replaced_forward(module, lambda x: x + 1):
                pass

    with meanwhile(lambda: [module(0) for _ in range(1000)] == [0] * 1000 or 1 / 0):
        run_together(replace_often, replace_often)
    assert "forward" not in vars(module)


def test_a_replaced_forward_that_calls_the_one_below():
    module = nn.Identity()
    with replaced_forward(module, lambda x: x + 1):
        below = module.forward
        with replaced_forward(module, lambda x: 10 * below(x)):
            assert module(0) == 10
        assert module(0) == 1


def test_evaluation_mode_is_the_callers():
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout())
    with evaluation_mode(network):
        assert [part.training for part in network.modules()] == [False] * 3
        assert other_thread(lambda: [part.training for part in network.modules()]) == [True] * 3
        with evaluation_mode(network[1]):
            network[1].train()
            assert network[1].training
        assert not network[1].training
        assert nn.Linear(2, 2).training  # made meanwhile, and no part of the network
        context = contextvars.copy_context()
        assert not context.run(lambda: network.training)
    assert context.run(lambda: network.training)  # a context that outlives the call
    assert [part.training for part in network.modules()] == [True] * 3


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_scripted_modules_are_switched_and_switched_back():
    network = torch.jit.script(nn.Sequential(nn.BatchNorm2d(3), nn.Dropout()).train())
    with evaluation_mode(network):
        network(torch.rand(2, 3, 4, 4))
    assert int(network.state_dict()["0.num_batches_tracked"]) == 0
    network(torch.rand(2, 3, 4, 4))
    assert int(network.state_dict()["0.num_batches_tracked"]) == 1


def test_modules_compiled_before_the_first_call_are_switched_and_switched_back():
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout()).train()
    compiled = torch.compile(network, backend="eager")
    compiled(torch.rand(2, 3, 4, 4))
    for wrapped in (compiled, nn.ModuleList([compiled])):
        with evaluation_mode(wrapped):
            compiled(torch.rand(2, 3, 4, 4))
        assert int(network[0].num_batches_tracked) == 1
    compiled(torch.rand(2, 3, 4, 4))
    assert int(network[0].num_batches_tracked) == 2


def test_modules_can_still_be_copied_pickled_and_scripted():
    import copy
    import pickle

    network = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout())
    with evaluation_mode(network):
        twins = [copy.deepcopy(network), pickle.loads(pickle.dumps(network)), copy.copy(network)]
    assert all(twin.training and twin[1].training for twin in twins)
    assert not network.eval().training
    assert network.train()[0].training
    assert vars(network)["training"]


def test_calls_that_share_modules_come_one_by_one_in_their_order():
    shared, order = nn.Linear(2, 2), []
    networks = [nn.Sequential(nn.Linear(2, 2), shared) for _ in range(3)]
    started = [threading.Event() for _ in networks]

    def call(i):
        if i:
            assert started[i - 1].wait(TIMEOUT)
        with exclusive(networks[i]):
            started[i].set()
            order.append(i)
            with exclusive(networks[i - 1]):  # within a call, nothing is waited for
                order.append(i)

    run_together(*(lambda i=i: call(i) for i in range(3)))
    assert order == [0, 0, 1, 1, 2, 2]


def test_calls_that_share_nothing_run_side_by_side():
    both = threading.Barrier(2)

    def call():
        with exclusive(nn.Linear(2, 2)):
            both.wait(TIMEOUT)

    run_together(call, call)


def test_a_call_that_fails_lets_the_next_one_in():
    network = nn.Linear(2, 2)
    with pytest.raises(KeyError), exclusive(network):
        raise KeyError

    def call():
        with exclusive(network):
            return True

    assert other_thread(call)
