"""What is computed without a photo is kept only as long as nothing changes: for every kind of model, every kind of change."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from kinds import KINDS, Kind
from networks import noise_image, small_captioner
from torch import nn
from torch.nn.utils import parametrizations, prune

import multimodal_cam as mc
from multimodal_cam.adapters.image_preprocessing import ImagePreprocessing
from multimodal_cam.adapters.network_state import checksums, network_state, network_structure
from multimodal_cam.core import geometry

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # transformers' own, with NumPy 2


@pytest.fixture(scope="module")
def kinds(checkpoints):
    built: dict[str, Kind] = {}

    def kind(name: str) -> Kind:
        if name not in built:
            built[name] = KINDS[name](checkpoints)
        fresh = copy.copy(built[name])
        fresh.model, fresh.backbone = copy.deepcopy((built[name].model, built[name].backbone))
        return fresh

    return kind


def weight_of(backbone: nn.Module) -> nn.Parameter:
    """The first convolution's weight, which everything depends on."""
    return next(part for part in backbone.modules() if isinstance(part, nn.Conv2d)).weight


def convolution(backbone: nn.Module) -> tuple[nn.Module, str, nn.Conv2d]:
    for parent in backbone.modules():
        for name, child in parent.named_children():
            if isinstance(child, nn.Conv2d):
                return parent, name, child
    raise AssertionError("no convolution")


def optimizer_step(kind: Kind) -> None:
    weights = [weight for weight in kind.backbone.parameters() if weight.requires_grad]
    for weight in weights:
        weight.grad = torch.full_like(weight, 0.05)
    torch.optim.Adam(weights, lr=0.05).step()


def other_state_dict(kind: Kind) -> None:
    kind.backbone.load_state_dict({k: v * 1.25 if v.is_floating_point() else v for k, v in kind.backbone.state_dict().items()})


def assigned_state_dict(kind: Kind) -> None:
    state = {k: v * 1.25 if v.is_floating_point() else v for k, v in kind.backbone.state_dict().items()}
    kind.backbone.load_state_dict(state, assign=True)


def data_scaled(kind: Kind) -> None:
    weight_of(kind.backbone).data.mul_(1.5)


def data_replaced(kind: Kind) -> None:
    weight = weight_of(kind.backbone)
    weight.data = weight.data * 1.5


def data_flipped(kind: Kind) -> None:
    """The sum, the norm and the largest number stay."""
    weight = weight_of(kind.backbone)
    weight.data.copy_(weight.data.flip(-1).clone())


def one_number(kind: Kind) -> None:
    weight_of(kind.backbone).data.view(-1)[-1] += 1


def set_to_other(kind: Kind) -> None:
    weight = weight_of(kind.backbone)
    with torch.no_grad():
        weight.set_((weight * 1.5).detach())


def copied_in_inference_mode(kind: Kind) -> None:
    weight = weight_of(kind.backbone)
    with torch.inference_mode():
        weight.copy_(weight * 1.5)


def through_numpy(kind: Kind) -> None:
    array = weight_of(kind.backbone).detach().numpy()
    array *= 1.5


def swapped_module(kind: Kind) -> None:
    parent, name, old = convolution(kind.backbone)
    torch.manual_seed(1)
    new = nn.Conv2d(old.in_channels, old.out_channels, old.kernel_size, old.stride, old.padding, bias=old.bias is not None)
    setattr(parent, name, new.to(old.weight))


def half_precision(kind: Kind) -> None:
    kind.model.module.to(torch.bfloat16)


def hook_that_steers(kind: Kind) -> None:
    convolution(kind.backbone)[2].register_forward_hook(lambda _module, _args, output: output * 1.5)


def pruned(kind: Kind) -> None:
    with torch.no_grad():
        prune.l1_unstructured(convolution(kind.backbone)[2], "weight", amount=0.5)


def weight_norm(kind: Kind) -> None:
    norm = parametrizations.weight_norm(convolution(kind.backbone)[2])
    norm.parametrizations.weight.original0.data.mul_(1.5)


def patched_forward(kind: Kind) -> None:
    layer = convolution(kind.backbone)[2]
    own = layer.forward
    layer.forward = lambda pixels: own(pixels) * 1.5


CHANGES: dict[str, Callable[[Kind], None]] = {
    f.__name__: f
    for f in (
        optimizer_step,
        other_state_dict,
        assigned_state_dict,
        data_scaled,
        data_replaced,
        data_flipped,
        one_number,
        set_to_other,
        copied_in_inference_mode,
        through_numpy,
        swapped_module,
        half_precision,
        hook_that_steers,
        pruned,
        weight_norm,
        patched_forward,
    )
}


def same(found: mc.Explanation, expected: mc.Explanation) -> bool:
    parts = ("token_maps", "token_reliance", "token_scores")
    return all(torch.equal(getattr(found, part), getattr(expected, part)) for part in parts)


def numbers(kind: Kind) -> mc.Explanation:
    return kind.explain(method="evidence", n_steps=1)


def assert_as_new(kind: Kind, before: mc.Explanation, *, differs: bool = True) -> None:
    """The model says what a model says that was never asked before."""
    found = numbers(kind)
    new = copy.copy(kind)
    new.model = copy.deepcopy(kind.model)
    assert same(found, numbers(new))
    assert same(found, before) != differs
    assert same(found, numbers(kind))


OWN = ("captioner", "vqa", "classifier resnet", "classifier untraceable")
NOTHING_KEPT = ("bundled captioner", "bundled vqa", "hf vilt")  # a buffer, or computed anew for each question
EVERY = [pytest.param(name, marks=[] if name in OWN else [pytest.mark.slow]) for name in KINDS]


def cases() -> list:
    """Every kind with every change; where nothing is kept, with a few."""
    quick = [(name, "data_flipped") for name in ("clip resnet", "hf llava", "hf ved")]
    return [
        pytest.param(name, change, marks=[] if name in OWN or (name, change) in quick else [pytest.mark.slow])
        for name in KINDS
        for change in CHANGES
        if name not in NOTHING_KEPT or change in ("data_flipped", "half_precision")
    ]


@pytest.mark.parametrize(("name", "change"), cases())
def test_nothing_is_kept_beyond_a_change(name, change, kinds):
    kind = kinds(name)
    before = numbers(kind)
    CHANGES[change](kind)
    assert_as_new(kind, before)


@pytest.mark.parametrize("name", ["captioner", "vqa", "classifier resnet", pytest.param("clip resnet", marks=pytest.mark.slow)])
def test_running_statistics(name, kinds):
    kind = kinds(name)
    before = numbers(kind)
    kind.model.module.train()
    with torch.no_grad():
        kind.backbone(kind.model.preprocess([noise_image(4)], *([[kind.asked["question"]]] if name == "vqa" else [])).pixels)
    kind.model.module.eval()
    assert_as_new(kind, before)


@pytest.mark.parametrize("name", EVERY)
def test_what_changes_nothing_changes_nothing(name, kinds):
    kind = kinds(name)
    before = numbers(kind)
    kind.model.module.requires_grad_(False)
    assert_as_new(kind, before, differs=False)
    kind.model.module.train()
    assert_as_new(kind, before, differs=False)


@pytest.mark.parametrize("name", ["captioner", "vqa", "classifier resnet", "hf ved"])
def test_a_call_under_autocast_changes_no_later_call(name, kinds):
    kind = kinds(name)
    inputs = kind.model.preprocess([noise_image(4)], *([[kind.asked["question"]]] if name == "vqa" else []))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        kind.model.baseline_activations(inputs)  # in bfloat16, and kept as such
        under = numbers(kind)  # explain steps out of autocast
    assert same(under, numbers(kind))
    assert_as_new(kind, under, differs=False)


class Brighter:
    """Preprocessing with a setting."""

    def __init__(self) -> None:
        self.gain = 1.0

    def __call__(self, image):
        from networks import to_tensor

        return to_tensor(image) * self.gain


@pytest.mark.parametrize("name", ["captioner", "vqa", "classifier untraceable"])
def test_preprocessing(name, kinds):
    kind = kinds(name)
    before, transform = numbers(kind), Brighter()
    kind.model.preprocessing = ImagePreprocessing(transform)
    assert_as_new(kind, before)
    before = numbers(kind)
    transform.gain = 2.0
    assert_as_new(kind, before)


def test_placements_follow_the_image_processor(kinds):
    kind = kinds("hf ved")
    photo = noise_image(0, (96, 48))

    def frame():
        return kind.model.preprocess([photo]).placements[0].frame

    assert frame() == (0, 0, 1, 1)
    kind.model.loaded.image_processor.do_center_crop = True
    kind.model.loaded.image_processor.crop_size = {"height": 16, "width": 16}
    assert frame() != (0, 0, 1, 1)


def test_a_text_tower_counts_too(kinds):
    kind = kinds("clip resnet")
    before = numbers(kind)
    kind.model.network.token_embedding.weight.data.mul_(-1)
    assert_as_new(kind, before)


@pytest.mark.parametrize("name", ["classifier resnet", pytest.param("clip resnet", marks=pytest.mark.slow)])
def test_a_layer_that_is_gone(name, kinds):
    kind = kinds(name)
    before = numbers(kind)
    kind.backbone.layer4 = nn.Sequential(nn.Tanh(), kind.backbone.layer4)  # another module of that name
    assert_as_new(kind, before)
    del kind.backbone.layer4
    with pytest.raises(ValueError, match="no longer has the layer 'layer4"):
        numbers(kind)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_a_part_that_is_torchscript_counts_too():
    """Nobody looks into it, but it may be a part of what is explained."""
    torch.manual_seed(0)
    scripted = torch.jit.trace(nn.Sequential(nn.Conv2d(3, 6, 8, stride=8), nn.BatchNorm2d(6)).eval(), torch.zeros(1, 3, 64, 64))
    network = nn.Sequential(scripted, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)).eval()
    model = mc.classifier(network, image_size=64, layer="1")
    before = mc.explain(model, noise_image(), text="class 1", method="evidence")
    with torch.no_grad():
        next(scripted.parameters()).mul_(2)
    after = mc.explain(model, noise_image(), text="class 1", method="evidence")
    anew = mc.explain(mc.classifier(network, image_size=64, layer="1"), noise_image(), text="class 1", method="evidence")
    assert not torch.equal(after.maps, before.maps)
    torch.testing.assert_close(after.maps, anew.maps)


def test_a_setting_that_was_traced(kinds):
    """What torch.fx saw once is no longer so."""

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.out, self.scale = nn.Conv2d(3, 6, 3, stride=8), nn.Linear(6, 7), 1.0
            self.shift = torch.zeros(7)  # no buffer

        def forward(self, pixels):
            return self.out(self.body(pixels).tanh().mean(dim=(2, 3))) * self.scale + self.shift

    torch.manual_seed(0)
    kind = Kind(mc.classifier(Scaled(), image_size=64), nn.Identity(), {"text": "class 2"})
    before = numbers(kind)
    kind.model.module.scale = 3.0
    assert_as_new(kind, before)
    before = numbers(kind)
    kind.model.module.shift += torch.arange(7.0)
    assert_as_new(kind, before)


def test_rows_are_blank_each_in_its_own_shape():
    """Padding belongs to a photo's shape: a batch is each photo alone."""

    def letterbox(image):
        from PIL import ImageOps
        from torchvision.transforms.functional import to_tensor

        return to_tensor(ImageOps.pad(image, (32, 32), color=(255, 0, 255)))

    model = small_captioner(preprocess=letterbox, placement=geometry.letterbox)
    photos = [noise_image(0, (64, 32)), noise_image(1, (32, 64)), noise_image(2, (64, 32))]
    together = mc.explain(model, photos, text="a dog", method="evidence")
    for photo, found in zip(photos, together, strict=True):
        alone = mc.explain(model, photo, text="a dog", method="evidence")
        torch.testing.assert_close(found.token_maps, alone.token_maps, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(found.token_reliance, alone.token_reliance, rtol=1e-4, atol=1e-6)


# ---- training loops ------------------------------------------------------------------------------------------------------------


def train(explain: bool, autocast: bool = False) -> tuple[list[mc.Explanation], dict[str, torch.Tensor]]:
    model, found = small_captioner(), []
    module, ids = model.module, torch.tensor([[3, 4, 5]])
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    pixels = model.preprocess([noise_image(3, (64, 64))]).pixels
    for _ in range(3):
        module.train()
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            if explain:
                found.append(mc.explain(model, noise_image(), text="a dog", method="evidence", n_steps=2))
                assert same(
                    found[-1], mc.explain(copy.deepcopy(model), noise_image(), text="a dog", method="evidence", n_steps=2)
                )
            loss = nn.functional.cross_entropy(module.decoder(module.encoder(pixels), ids)[0].float(), ids[0])
        loss.backward()
        assert all(weight.grad is not None for weight in module.encoder.parameters())
        optimizer.step()
    return found, module.state_dict()


@pytest.mark.parametrize("autocast", [False, True])
def test_a_training_loop_with_our_call_inside(autocast):
    found, weights = train(explain=True, autocast=autocast)
    assert not any(same(one, other) for one, other in zip(found, found[1:], strict=False))
    _, expected = train(explain=False, autocast=autocast)
    assert all(torch.equal(weights[name], value) for name, value in expected.items())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_validation_step_of_lightning():
    lightning = pytest.importorskip("pytorch_lightning")

    class Captioning(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.captioner = small_captioner()
            self.network = self.captioner.module
            self.found = []

        def training_step(self, batch, index):
            ids = torch.tensor([[3, 4, 5]])
            return self.network.decoder(self.network.encoder(batch), ids).logsumexp(-1).mean()

        def validation_step(self, batch, index):
            self.found.append(mc.explain(self.captioner, noise_image(), text="a dog", method="evidence", n_steps=2))
            new = copy.deepcopy(self.captioner)
            assert same(self.found[-1], mc.explain(new, noise_image(), text="a dog", method="evidence", n_steps=2))

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    module, data = Captioning(), torch.utils.data.DataLoader(torch.randn(2, 3, 32, 32))
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    lightning.Trainer(max_epochs=3, accelerator="cpu", **quiet).fit(module, data, data)
    assert len(module.found) > 3
    assert not same(module.found[-1], module.found[0])


# ---- the key itself ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool])
@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 5), (300, 301), (0,)])
def test_checksums_see_every_byte(dtype, shape):
    torch.manual_seed(0)
    tensor = (torch.randn(shape) * 9).to(dtype)
    known = checksums([tensor])
    assert checksums([tensor.clone()]) == known
    for place in {0, tensor.numel() // 2, tensor.numel() - 1} if tensor.numel() else ():
        other = tensor.clone()
        other.view(-1)[place] = ~other.view(-1)[place] if dtype == torch.bool else other.view(-1)[place] + 1
        assert checksums([other]) != known
    if tensor.numel() > 1 and dtype != torch.bool:
        assert checksums([tensor.flatten().flip(0).view(shape)]) != known


def test_checksums_of_views_and_layouts():
    base = torch.randn(4097)
    assert checksums([base[1:]]) == checksums([base[1:].clone()])  # bytes that do not start at a multiple of 8
    image = torch.randn(2, 3, 5, 7)
    there, back = image.to(memory_format=torch.channels_last), image.clone()
    assert checksums([there]) == checksums([there.clone()])
    assert checksums([back]) != checksums([there])
    assert checksums([image.transpose(1, 2)]) == checksums([image.transpose(1, 2).contiguous()])
    assert checksums([torch.empty(3, device="meta")]) is None
    assert checksums([torch.eye(3).to_sparse()]) is None


def test_what_a_network_holds_outside_its_registers():
    class Loose(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden, self.sizes = [nn.Linear(2, 2)], {"a": [1, 2]}
            self.mean, self.options = torch.zeros(2), geometry.squeeze(3, 4)
            self.itself = [self]

    network = Loose()
    states = [network_state(network)]
    for change in (
        lambda: network.hidden[0].weight.data.add_(1),
        lambda: network.sizes["a"].append(3),
        lambda: network.mean.add_(1),
        lambda: setattr(network, "options", geometry.squeeze(3, 5)),
        lambda: network.eval(),
        lambda: network.register_forward_hook(lambda *_: None),
    ):
        change()
        states.append(network_state(network))
    assert len(set(states)) == len(states)
    assert network_state(network) == states[-1]
    structure = network_structure(network)
    network.hidden[0].weight.data.add_(1)
    assert network_structure(network) == structure
    network.half()
    network.mean = network.mean.half()
    assert network_structure(network) != structure
