"""Wrapped networks give the bare network's maps: training, spreading, compiling and adapting change nothing."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable

import pytest
import torch
from classifiers import small_classifier
from networks import COLOURS, QUESTION_WORDS, SIDE, WORDS, Reader, noise_image, small_captioner, small_vqa
from safetensors.torch import save_file
from torch import nn

import multimodal_cam as mc
from multimodal_cam.adapters.unwrapping import bare_name, bare_weights, unwrapped
from multimodal_cam.core.eager_mode import eager_mode

PHOTO = noise_image(0, (64, 64))
METHODS = ("evidence", "layer_cam")


def compiled(network: nn.Module) -> nn.Module:
    return torch.compile(network, backend="eager")


def compiled_and_run(network: nn.Module) -> nn.Module:
    wrapper = compiled(network.eval())
    with torch.no_grad():
        wrapper(torch.randn(1, 3, 64, 64))
    return wrapper


def compiled_in_place(network: nn.Module) -> nn.Module:
    network.compile(backend="eager")
    return network


def compiled_in_place_and_run(network: nn.Module) -> nn.Module:
    compiled_in_place(network).eval()(torch.randn(1, 3, 64, 64))
    return network


def compiled_part(network: nn.Module) -> nn.Module:
    """One stage of it, as regional compilation does."""
    name, part = next((name, part) for name, part in network.named_children() if next(part.parameters(), None) is not None)
    setattr(network, name, torch.compile(part, backend="eager"))
    network.eval()(torch.randn(1, 3, 64, 64))
    return network


def nested(network: nn.Module) -> nn.Module:
    return nn.DataParallel(compiled(nn.DataParallel(network)))


def averaged(network: nn.Module) -> nn.Module:
    return torch.optim.swa_utils.AveragedModel(network)


def without_parameters(network: nn.Module) -> nn.Module:
    for module in network.modules():
        for name, weight in list(module._parameters.items()):
            del module._parameters[name]
            module.register_buffer(name, None if weight is None else weight.detach())
    return network


def lightning(network: nn.Module) -> nn.Module:
    pl = pytest.importorskip("pytorch_lightning")

    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = network

        def forward(self, pixels):
            return self.model(pixels)

    return Module()


def lightning_without_forward(network: nn.Module) -> nn.Module:
    pl = pytest.importorskip("pytorch_lightning")

    class Silent(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.model, self.loss = network, nn.CrossEntropyLoss()

    return Silent()


def lora(network: nn.Module) -> nn.Module:
    """A fresh adapter is zero: the map is the bare one's."""
    peft = pytest.importorskip("peft")
    convolutions = [name for name, part in network.named_modules() if isinstance(part, nn.Conv2d)]
    return peft.get_peft_model(network, peft.LoraConfig(target_modules=convolutions[:1], r=2))


def lora_without_model(network: nn.Module) -> nn.Module:
    peft = pytest.importorskip("peft")
    convolutions = [name for name, part in network.named_modules() if isinstance(part, nn.Conv2d)]
    return peft.LoraModel(network, peft.LoraConfig(target_modules=convolutions[:1], r=2), "default")


def lora_mixed(network: nn.Module) -> nn.Module:
    peft = pytest.importorskip("peft")
    convolutions = [name for name, part in network.named_modules() if isinstance(part, nn.Conv2d)]
    return peft.get_peft_model(network, peft.LoraConfig(target_modules=convolutions[:1], r=2), mixed=True)


def prepared(network: nn.Module) -> nn.Module:
    """Another forward on the object, as `Accelerator.prepare` writes it."""
    own = network.forward
    network.forward = lambda *args: own(*args)
    return network


def aligned(network: nn.Module) -> nn.Module:
    hooks = pytest.importorskip("accelerate.hooks")
    for module in network.modules():
        hooks.add_hook_to_module(module, hooks.AlignDevicesHook(execution_device="cpu", io_same_device=True))
    return network


def offloaded(network: nn.Module) -> nn.Module:
    return pytest.importorskip("accelerate").cpu_offload(network, execution_device=torch.device("cpu"))


def dispatched(network: nn.Module) -> nn.Module:
    accelerate = pytest.importorskip("accelerate")
    map = {name: "cpu" for name, _ in network.named_children()}
    return accelerate.dispatch_model(network, map, main_device="cpu", force_hooks=True)


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    f.__name__: f
    for f in (
        nn.DataParallel,
        compiled,
        compiled_and_run,
        compiled_in_place,
        compiled_in_place_and_run,
        compiled_part,
        nested,
        averaged,
        without_parameters,
        lightning,
        lightning_without_forward,
        lora,
        lora_without_model,
        lora_mixed,
        prepared,
        aligned,
        offloaded,
        dispatched,
    )
}


def captioner(wrap):
    bare = small_captioner()
    encoder, decoder = wrap(bare.encoder), bare.decoder
    options = {"head_input_layer": decoder.pool, "readout": decoder.readout, "image_size": SIDE}
    return mc.captioner(encoder=encoder, decoder=decoder, tokenizer=WORDS, bos=0, eos=1, unk=2, max_words=8, **options)


def vqa(wrap):
    bare = small_vqa()
    head: Reader = bare.head
    options = {"head_input_layer": head.pool, "question_layer": head.embedding, "image_size": SIDE}
    return mc.vqa(encoder=wrap(bare.encoder), head=head, answers=list(COLOURS), tokenizer=QUESTION_WORDS, unk=0, **options)


def classifier(wrap, name="resnet"):
    return mc.classifier(wrap(small_classifier(name).module), image_size=64)


TASKS: dict[str, tuple[Callable, dict[str, str]]] = {
    "captioner": (captioner, {"text": "a dog runs"}),
    "vqa": (vqa, {"question": "what colour is top left"}),
    "classifier": (classifier, {"text": "class 2"}),
    "untraceable": (lambda wrap: classifier(wrap, "untraceable"), {"text": "class 2"}),
}


@pytest.fixture(autouse=True)
def _new_compiler():
    yield
    torch.compiler.reset()


@pytest.mark.filterwarnings("ignore")  # the wrappers' own
@pytest.mark.parametrize(
    ("task", "wrapper"),
    [
        pytest.param(
            task, wrapper, marks=[] if task in ("captioner", "classifier") or wrapper == "nested" else [pytest.mark.slow]
        )
        for task in TASKS
        for wrapper in WRAPPERS
    ],
)
def test_the_map_is_the_bare_networks(task, wrapper):
    make, asked = TASKS[task]
    bare, wrapped = make(lambda network: network), make(WRAPPERS[wrapper])
    for method in METHODS:
        expected, found = (mc.explain(model, PHOTO, method=method, n_steps=2, **asked) for model in (bare, wrapped))
        torch.testing.assert_close(found.maps, expected.maps, rtol=0, atol=1e-6)
        torch.testing.assert_close(found.reliance, expected.reliance, rtol=0, atol=1e-6)
        assert found.text == expected.text
    assert all(one.passed for one in mc.check(wrapped, PHOTO, question=asked.get("question")) if "words" not in one.name)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("wrapper", [name for name in WRAPPERS if name not in ("lightning_without_forward",)])
def test_scores(wrapper):
    bare = small_classifier("resnet").module.eval()
    wrapped = WRAPPERS[wrapper](copy.deepcopy(bare))
    layer = next(part for name, part in wrapped.named_modules() if bare_name(name.replace("_orig_mod.", "")).endswith("layer4"))
    pixels = torch.randn(2, 3, 64, 64)
    for options in ({"method": "grad_cam"}, {"method": "evidence", "baseline": torch.zeros(2, 3, 64, 64), "n_steps": 2}):
        expected = mc.explain_score(bare, bare.layer4, pixels, **options)
        torch.testing.assert_close(mc.explain_score(wrapped, layer, pixels, **options), expected, rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_a_decoder_and_a_head_may_be_wrapped():
    bare = small_captioner()
    decoder = compiled(bare.decoder)
    wrapped = mc.captioner(
        encoder=compiled(bare.encoder), decoder=decoder, tokenizer=WORDS, readout=decoder.readout, image_size=SIDE, max_words=8
    )
    expected, found = (mc.explain(model, PHOTO, text="a dog", method="evidence") for model in (bare, wrapped))
    torch.testing.assert_close(found.maps, expected.maps, rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_network_stays_compiled():
    """It is not compiled anew afterwards, and not before."""
    calls = []

    def backend(graph, _inputs):
        calls.append(graph)
        return graph.forward

    wrapper = torch.compile(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 5)), backend=backend)
    pixels = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        before = wrapper(pixels)
        count = len(calls)
        assert count > 0
        mc.explain(mc.classifier(wrapper, layer="0", image_size=8), PHOTO)
        assert torch.equal(wrapper(pixels), before)
    assert len(calls) == count


def test_eager_mode_of_several_threads_ends_with_the_last():
    inside, leave = threading.Event(), threading.Event()

    def other():
        with eager_mode():
            inside.set()
            leave.wait(5)

    runs = []

    def backend(graph, _inputs):
        runs.append(graph)
        return graph.forward

    network = torch.compile(nn.Tanh(), backend=backend)
    thread = threading.Thread(target=other)
    with eager_mode():
        thread.start()
        inside.wait(5)
    network(torch.randn(2))
    assert not runs  # the other thread is still inside
    leave.set()
    thread.join()
    network(torch.randn(2))
    assert runs


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["layer4", "module.layer4", "_orig_mod.layer4", "module._orig_mod.layer4"])
def test_layers_by_their_name_in_the_wrapper(name):
    network = small_classifier("resnet").module
    for model in (mc.classifier(nested(network), layer=name, image_size=64), mc.classifier(nested(network), image_size=64)):
        assert mc.explain(model, PHOTO, text="class 2", layer=name).layer == "layer4"
    wrapper = nn.DataParallel(network)
    assert mc.explain(mc.classifier(wrapper, image_size=64), PHOTO, layer=wrapper.module.layer3).layer == "layer3"
    assert mc.classifier(wrapper, layer=nn.DataParallel(network.layer3), image_size=64).layer is network.layer3


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("script", [torch.jit.script, lambda network: torch.jit.trace(network, torch.randn(1, 3, 64, 64))])
def test_torchscript_is_refused(script):
    network = script(small_classifier("resnet").module.eval())
    decoder = small_captioner().decoder
    for make in (
        lambda: mc.classifier(network),
        lambda: mc.classifier(nn.DataParallel(network)),
        lambda: mc.captioner(encoder=network, decoder=decoder, tokenizer=WORDS),
        lambda: mc.vqa(encoder=network, head=Reader(), answers=["a"], tokenizer=WORDS),
        lambda: mc.explain_score(network, network.layer4, torch.randn(1, 3, 64, 64)),
    ):
        with pytest.raises(ValueError, match="this is TorchScript"):
            make()


def test_what_was_exported_is_refused():
    pixels = torch.randn(2, 3, 64, 64)
    program = torch.export.export(small_classifier("untraceable").module.body.eval(), (pixels,))
    for exported in (program, program.module()):
        with pytest.raises(ValueError, match="torch.export leaves no layers"):
            mc.classifier(exported)


@pytest.mark.parametrize("name", ["resnet", "sequential"])
def test_a_forward_put_on_the_network_itself(name):
    """torch.fx reads that of the class."""
    network = small_classifier(name).module
    model = mc.classifier(network, image_size=64)
    before = mc.explain(model, PHOTO, text="class 2", method="evidence")
    own = network.forward
    network.forward = lambda pixels: 3 * own(pixels)
    for each in (model, mc.classifier(network, image_size=64)):
        found = mc.explain(each, PHOTO, text="class 2", method="evidence")
        torch.testing.assert_close(found.maps, 3 * before.maps, rtol=1e-4, atol=1e-5)
    network.forward = torch.autocast("cpu", torch.bfloat16)(own)
    found = mc.explain(mc.classifier(network, image_size=64), PHOTO, text="class 2", method="evidence")
    torch.testing.assert_close(found.maps, before.maps, rtol=0, atol=0.05 * before.maps.abs().max().item())


def test_what_is_no_network():
    with pytest.raises(TypeError, match="encoder: expected a torch.nn.Module, got function"):
        mc.captioner(encoder=lambda pixels: pixels, decoder=nn.Identity(), tokenizer=WORDS)
    with pytest.raises(TypeError, match="module: expected a torch.nn.Module, got dict"):
        mc.classifier({})

    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.cnn, self.rnn, self.loss = nn.Conv2d(3, 3, 3), nn.LSTM(3, 3), nn.MSELoss()

    with pytest.raises(ValueError, match=r"no forward of its own.*\.cnn \(Conv2d\), \.rnn \(LSTM\)"):
        mc.classifier(Pair())


@pytest.mark.filterwarnings("ignore")
def test_learned_prompts_are_refused():
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(n_embd=8, n_layer=1, n_head=1, vocab_size=20, n_positions=16)
    model = peft.get_peft_model(
        transformers.GPT2LMHeadModel(config), peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    )
    with pytest.raises(ValueError, match="PROMPT_TUNING puts learned tokens in front"):
        unwrapped(model, "module")


# ---- checkpoints ---------------------------------------------------------------------------------------------------------------


def stored(network: nn.Module) -> dict[str, dict]:
    state = network.state_dict()
    return {
        "plain": state,
        "compiled": {f"_orig_mod.{name}": value for name, value in state.items()},
        "parallel": {f"module.{name}": value for name, value in state.items()},
        "both": {f"module._orig_mod.{name}": value for name, value in state.items()},
        "averaged": {"n_averaged": torch.tensor(3)} | {f"module.{name}": value for name, value in state.items()},
        "lightning": {
            "state_dict": {f"model.{name}": value for name, value in state.items()} | {"loss.weight": torch.ones(2)},
            "epoch": 3,
        },
        "average beside it": {"model_ema": state, "step": 3},
        "training script": {"model_state_dict": state, "optimizer_state_dict": {"state": {}}, "epoch": 3},
    }


@pytest.mark.parametrize("kind", list(stored(nn.Linear(1, 1))))
def test_weights_of_a_wrapper(kind, tmp_path):
    from torchvision import models

    torch.manual_seed(0)
    network = models.squeezenet1_1(num_classes=1000)
    torch.save(stored(network)[kind], tmp_path / "weights.pt")
    model = mc.load("torchvision:squeezenet1_1", weights=tmp_path / "weights.pt", device="cpu")
    assert all(torch.equal(value, model.module.state_dict()[name]) for name, value in network.state_dict().items())


def test_weights_of_a_wrapper_in_safetensors(tmp_path):
    import timm

    network = timm.create_model("test_resnet")
    save_file({f"_orig_mod.{name}": value for name, value in network.state_dict().items()}, tmp_path / "weights.safetensors")
    model = mc.load("timm:test_resnet", weights=tmp_path / "weights.safetensors", device="cpu")
    assert all(torch.equal(value, model.module.state_dict()[name]) for name, value in network.state_dict().items())


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save({f"module.{name}": value for name, value in nn.Linear(2, 2).state_dict().items()}, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="does not hold the weights of timm:test_resnet: .* Missing key.*[.][.][.]$"):
        mc.load("timm:test_resnet", weights=tmp_path / "weights.pt", device="cpu")
    assert bare_weights({"a": torch.ones(1)}, ["b"]).keys() == {"a"}
