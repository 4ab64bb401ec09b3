"""Nothing of the user's is touched, and every layer that cannot be explained is refused in words."""

import pytest
import torch
from networks import Decoder, FusedDecoder, noise_image, small_captioner
from torch import nn

import multimodal_cam as mc
from multimodal_cam.core.call_scope import evaluation_mode
from multimodal_cam.core.hooks import ReadoutTap

TEXT = "a red dog"


def state_of(model):
    modules = list(model.module.modules())
    return (
        [m.training for m in modules],
        [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in modules],
        [(p.grad is None, p.requires_grad, p.clone()) for p in model.module.parameters()],
        torch.get_rng_state(),
        torch.is_grad_enabled(),
    )


def same(first, second):
    for (a, b, p), (c, d, q) in zip(first[2], second[2], strict=True):
        assert (a, b) == (c, d)
        assert torch.equal(p, q)
    assert torch.equal(first[3], second[3])
    assert first[:2] + first[4:] == second[:2] + second[4:]


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("method", ["grad_cam", "evidence"])
def test_nothing_is_touched(method, frozen):
    model = small_captioner()
    model.module.train()
    model.encoder.norm.eval()
    model.module.requires_grad_(not frozen)
    before = state_of(model)
    mc.explain(model, noise_image(), text=TEXT, method=method)
    mc.explain(model, noise_image(), method=method)
    mc.explain(model, noise_image(), text=TEXT, method=method, layer="encoder.norm")
    same(before, state_of(model))


@pytest.mark.parametrize("where", ["score", "method", "head"])
def test_nothing_is_touched_when_it_fails(where):
    def fail(*args):
        raise RuntimeError("planted")

    model = small_captioner()
    model.module.train()
    options = {"score": {"score": fail}, "method": {"method": fail}, "head": {}}[where]
    if where == "head":
        model.decoder.cell.register_forward_hook(fail)
    before = state_of(model)
    with pytest.raises(RuntimeError, match="planted"):
        mc.explain(model, noise_image(), text=TEXT, **options)
    same(before, state_of(model))


def test_dropout_does_not_blur_a_model_in_training_mode():
    decoder = Decoder()
    decoder.embed = nn.Sequential(decoder.embed, nn.Dropout(0.5))
    model = small_captioner(decoder=decoder)
    model.module.train()
    first, second = (mc.explain(model, noise_image(), text=TEXT).maps for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_works_where_gradients_are_off(mode):
    model = small_captioner()
    expected = mc.explain(model, noise_image(), text=TEXT).maps
    with mode():
        found = mc.explain(model, noise_image(), text=TEXT).maps
    assert torch.equal(expected, found)


def test_a_head_that_writes_on_the_features_in_place():
    class Careless(Decoder):
        def forward(self, features, ids):
            return super().forward(features.mul_(2.0), ids)

    class Careful(Decoder):
        def forward(self, features, ids):
            return super().forward(features * 2.0, ids)

    images = noise_image()
    for method in ("grad_cam", "evidence"):
        maps = []
        for decoder in (Careless, Careful):
            torch.manual_seed(0)
            model = small_captioner(decoder=decoder())
            maps += [mc.explain(model, images, text=TEXT, method=method).maps for _ in range(2)]
            torch.testing.assert_close(maps[-1], maps[-2])
        maps = maps[::2]
        torch.testing.assert_close(*maps)


def test_fused_lstm_works():
    model = small_captioner(decoder=FusedDecoder(), cuts=False)
    found = mc.explain(model, noise_image(), text=TEXT, method="evidence", n_steps=64)
    assert found.completeness.abs().max() < 0.01


class Twice(Decoder):
    def __init__(self):
        super().__init__()
        self.extra = nn.Conv2d(6, 6, 1)
        self.unused = nn.Conv2d(6, 6, 1)
        self.cut = nn.Conv2d(6, 6, 1)

    def forward(self, features, ids):
        self.cut(features)
        return super().forward(self.extra(self.extra(features)), ids)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("decoder.extra", "ran 2 times"),
        ("decoder.unused", "never ran"),
        ("decoder.cut", "does not depend on layer 'decoder.cut'"),
        ("decoder.image", r"gives shape \(1, 16\), expected a grid"),
        ("decoder.cell", "gives tuple, expected a grid"),
        ("decoder.exra", "unknown layer 'decoder.exra'; choose from decoder.extra"),
    ],
)
def test_layers_that_cannot_be_explained(layer, message):
    model = small_captioner(decoder=Twice(), cuts=False)
    with pytest.raises((ValueError, RuntimeError), match=message):
        mc.explain(model, noise_image(), text=TEXT, layer=layer)


def test_a_module_of_another_model_is_refused():
    with pytest.raises(ValueError, match="not a part of the model"):
        mc.explain(small_captioner(), noise_image(), text=TEXT, layer=nn.Conv2d(3, 3, 1))


def test_a_gradient_of_zero_everywhere_is_an_error():
    class Blind(Decoder):
        def forward(self, features, ids):
            return super().forward(features * 0, ids)

    with pytest.raises(ValueError, match="zero everywhere"):
        mc.explain(small_captioner(decoder=Blind()), noise_image(), text=TEXT)


def test_weights_that_are_not_numbers_are_an_error():
    model = small_captioner()
    with torch.no_grad():
        model.decoder.image.weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        mc.explain(model, noise_image(), text=TEXT)


def test_operations_that_vmap_refuses_are_looped():
    class Item(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * float(gradient.sum().item() == gradient.sum().item())

    class Stubborn(Decoder):
        def forward(self, features, ids):
            return super().forward(Item.apply(features), ids)

    found = []
    for decoder in (Decoder, Stubborn):
        torch.manual_seed(0)
        found.append(mc.explain(small_captioner(decoder=decoder(), cuts=False), noise_image(), text=TEXT))
    assert [e.provenance["products"] for e in found] == ["batched", "looped"]
    torch.testing.assert_close(found[0].maps, found[1].maps)


@pytest.mark.slow
def test_two_hundred_calls_do_not_grow():
    import gc
    import resource

    model = small_captioner()

    def call():
        for method in ("grad_cam", "evidence"):
            mc.explain(model, noise_image(), text=TEXT, method=method)

    def tensors():
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())  # isinstance wakes lazy modules

    for _ in range(20):
        call()
    count, peak = tensors(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(200):
        call()
    assert tensors() <= count
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 50 * 1024  # KB


def test_scores_are_pulled_back_to_the_input_of_the_readout_column_by_column():
    readout, states = nn.Linear(3, 5), torch.randn(2, 4, 3, requires_grad=True)
    with ReadoutTap(readout) as tap:
        logits = readout(2 * states)
    start, columns = tap.pull_back(torch.stack([logits[..., 1], 3 * logits[..., 4]], dim=1))
    assert start is tap.hidden
    torch.testing.assert_close(columns[0], readout.weight[1].expand(2, 4, 3))
    torch.testing.assert_close(columns[1], 3 * readout.weight[4].expand(2, 4, 3))
    assert not readout._forward_pre_hooks
    assert readout.weight.grad is None


def test_without_a_readout_products_start_from_the_scores():
    scores = torch.randn(2, 3, 4)
    start, columns = ReadoutTap(None).pull_back(scores)
    assert start is scores
    assert [column.tolist() for column in columns] == [torch.ones(2, 4).tolist()] * 3


@pytest.mark.parametrize("fails", [False, True])
def test_evaluation_mode_ends_with_every_modules_own_mode(fails):
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1), nn.Dropout()).train()
    network[2].eval()
    try:
        with evaluation_mode(network):
            assert not any(module.training for module in network.modules())
            assert len(network[1]._forward_hooks) == 1  # right gradients on the CPU
            if fails:
                raise KeyError
    except KeyError:
        assert fails
    assert [module.training for module in network.modules()] == [True, True, True, False]
    assert not network[1]._forward_hooks
