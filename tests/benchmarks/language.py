"""`language`: Hugging Face models of real size with random weights: all words against a forward, and against what people do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from captioners import photo
from checkpoints import build, caption, names
from measuring import Measurement, Section, medians
from scaling import RESET, _status
from torch import Tensor

import multimodal_cam as mc
from multimodal_cam.core.hooks import LayerTap
from multimodal_cam.scores import log_prob

WORDS = 20
SAMPLE = 2  # words of which the backward passes of others are measured: one is like the other
LENGTHS = (5, 20, 50)
GIVING_BACK = {f"MALLOC_{kind}_THRESHOLD_": "262144" for kind in ("MMAP", "TRIM")}  # glibc: what is freed is gone at once
REGIONS = 16  # of the photo, that captum leaves out one by one


def cost(repeat: int, **_: Any) -> Iterator[Measurement]:
    for name in names():
        model, image = build(name), photo()
        text = caption(model, WORDS)
        inputs, ids = model.preprocess([image]), model.tokenize([text])
        work: dict[str, Callable[[], object]] = {
            "forward": lambda model=model, inputs=inputs, ids=ids: _scores(model, inputs, ids),
            "explain": lambda model=model, image=image, text=text: mc.explain(model, image, text=text),
            "hooks": lambda model=model, inputs=inputs, ids=ids: _hooks(model, inputs, ids),
            "products": lambda model=model, inputs=inputs, ids=ids: _products(model, inputs, ids),
        }
        if name.startswith("LLaVA"):
            work["captum"] = lambda model=model, image=image, ids=ids: _captum(model, image, ids)
        times = medians({what: _finished(run) for what, run in work.items()}, repeat)
        each = {other: times[other] * WORDS / SAMPLE for other in ("hooks", "products")}
        values = {
            "all words": f"{times['explain'] / times['forward']:.1f}",
            ".backward() per word": f"{each['hooks'] / times['explain']:.1f}",
            "one forward and gradient per word": f"{each['products'] / times['explain']:.1f}",
        }
        if "captum" in times:
            cells = mc.explain(model, image, text=text).token_maps[0].numel()
            values[f"captum {REGIONS} regions"] = f"{times['captum'] / times['explain']:.1f}"
            values[f"captum {cells} regions"] = f"{times['captum'] / (REGIONS + 1) * (cells + 1) / times['explain']:.1f}"
        yield Measurement(f"{name}, {WORDS} words", values, {"forward": f"{times['forward']:.1f} s", "aim": ".backward() >= 3"})


def _finished(run: Callable[[], object]) -> Callable[[], object]:
    """On a GPU, until it is done with it."""
    return lambda: (run(), torch.cuda.synchronize()) if torch.cuda.is_available() else run()


def _scores(model: Any, inputs: Any, ids: Tensor, *, graph: bool = False) -> Tensor:
    with torch.set_grad_enabled(graph):
        return log_prob(model.read(inputs, ids).float(), ids)[0]


def _hooks(model: Any, inputs: Any, ids: Tensor) -> None:
    """A forward and a `.backward()` for each word, the layer's output and gradient caught by hooks, as Grad-CAM is written."""
    for word in range(SAMPLE):
        caught: list[Tensor] = []
        handle = model.layer.register_forward_hook(lambda _m, _a, output, caught=caught: caught.append(_first(output)))
        _scores(model, inputs, ids, graph=True)[word].backward()
        handle.remove()
        model.module.zero_grad(set_to_none=True)


def _products(model: Any, inputs: Any, ids: Tensor) -> None:
    """The same by somebody who knows autograd: gradients to the layer only, nothing before it has a graph."""
    for word in range(SAMPLE):
        with torch.no_grad(), LayerTap(model.layer, leaf=True, view=model.layer_view(inputs, model.layer)) as tap:
            logits = model.read(inputs, ids)
        with torch.enable_grad():
            score = log_prob(logits.float(), ids)[0, word]
        assert tap.leaf is not None
        torch.autograd.grad(score, tap.leaf)


def _first(output: Any) -> Tensor:
    tensor: Tensor = output if isinstance(output, Tensor) else output[0]
    tensor.retain_grad()
    return tensor


def _captum(model: Any, image: Any, ids: Tensor) -> None:
    """captum's perturbation for language models: a forward pass of the whole model for each region that is left out."""
    from captum.attr import FeatureAblation, LLMAttribution
    from captum.attr._utils.interpretable_input import ImageMaskInput

    width, height = image.size
    side = int(REGIONS**0.5)
    rows, columns = torch.arange(height) * side // height, torch.arange(width) * side // width
    prompt = model.wording(None)
    regions = ImageMaskInput(
        image,
        mask=rows[:, None] * side + columns,
        processor_fn=lambda seen: dict(model.loaded.processor(images=seen, text=prompt, return_tensors="pt")),
    )
    attribution = LLMAttribution(FeatureAblation(model.module), model.loaded.tokenizer)
    with torch.no_grad():
        attribution.attribute(regions, target=ids[0], forward_in_tokens=False)


def memory(**_: Any) -> Iterator[Measurement]:
    if not RESET.exists():
        print("memory of language: needs Linux's /proc, nothing measured")
        return
    for name in names():
        plain = {words: _fresh(name, "one backward", words) for words in LENGTHS}
        peaks = {words: _fresh(name, "explain", words) for words in LENGTHS}
        values = {f"{words} words": f"{peaks[words] / plain[words]:.2f}" for words in LENGTHS}
        notes = {f"MB, {words} words": f"{peaks[words]:.0f}" for words in LENGTHS}
        yield Measurement(f"{name} memory", values, notes | {"aim": "<= 1.3"})


def _fresh(name: str, what: str, words: int) -> float:
    command = [sys.executable, str(Path(__file__)), name, what, str(words), str(torch.get_num_threads())]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | GIVING_BACK)
    return float(done.stdout.split()[-1])


def _peak(name: str, what: str, words: int) -> float:
    """MB at the peak, above what the process held with the model alone."""
    model, image = build(name), photo()
    text = caption(model, words)
    inputs, ids = model.preprocess([image]), model.tokenize([text])
    start = _held()
    if what == "explain":
        mc.explain(model, image, text=text)
    else:
        with torch.no_grad(), LayerTap(model.layer, leaf=True, view=model.layer_view(inputs, model.layer)) as tap:
            logits = model.read(inputs, ids)
        with torch.enable_grad():
            score = log_prob(logits.float(), ids)[0, -1]
        assert tap.leaf is not None
        torch.autograd.grad(score, tap.leaf)
    return (_highest() - start) / 2**20


def _held() -> int:
    """Bytes that are held now; from here on the highest counts."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    RESET.write_text("5")
    return 1024 * _status("VmRSS")


def _highest() -> int:
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 1024 * _status("VmHWM")


COST_SECTION = Section(
    "Language models: all words of a caption",
    f"Hugging Face models of real size, random weights, float32 (on a GPU bfloat16), one photo, a given text of {WORDS} words of "
    "one token. `all words` is the time of `explain` (Grad-CAM, log-probabilities, reliance) in plain forward passes. The others "
    "are times in units of `explain`: a forward and a `.backward()` for each word, with hooks, as Grad-CAM is mostly written; "
    "the same with `torch.autograd.grad` to the layer alone, and no graph before it; captum's `LLMAttribution` with "
    "`FeatureAblation`, which leaves out regions of the photo one by one and serves all words at once: measured with 16 regions, "
    "and scaled by the number of forward passes to as many as our map has cells. Others' backward passes are measured on "
    f"{SAMPLE} words and multiplied. Medians of interleaved repetitions.",
    cost,
)
MEMORY_SECTION = Section(
    "Language models: memory",
    "The peak of resident memory in `explain` above the model's own, as a multiple of that of one forward pass with a graph from "
    "the layer on, and one backward pass of one word; a fresh process each, whose allocator gives freed memory back at once.",
    memory,
)

if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[4]))
    print(_peak(sys.argv[1], sys.argv[2], int(sys.argv[3])))
