"""`gpu`: absolute times on a CUDA device, float32 and bfloat16, written-out and fused LSTMs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import torch
from captioners import FusedDecoder, forward, nic, photo, resnet50, text
from measuring import Measurement, Section

import multimodal_cam as mc

BATCHES = (1, 32, 256)


def gpu(repeat: int, model: str, **_: Any) -> Iterator[Measurement]:
    if not torch.cuda.is_available():
        print("gpu: there is no CUDA device here, nothing measured")
        return
    for name, build in (("nic", lambda: nic(model)), ("resnet50", resnet50), ("resnet50-cudnn", _fused)):
        for dtype in (torch.float32, torch.bfloat16):
            captioner = build()
            captioner.module.to("cuda", dtype)
            for batch in BATCHES:
                yield _measure(f"{name} {str(dtype).removeprefix('torch.')} batch {batch}", captioner, batch, repeat)


def _fused() -> Any:
    return resnet50(FusedDecoder)


def _measure(name: str, model: Any, batch: int, repeat: int) -> Measurement:
    images, caption = [photo(seed) for seed in range(batch)], text(model, 12)
    prepared = model.preprocess(images)
    ids = model.tokenize([caption] * batch)

    def bare() -> None:
        with torch.no_grad():
            model.logits(prepared, ids)

    def explain(method: str) -> Callable[[], None]:
        return lambda: mc.explain(model, images, text=caption, method=method, batch_size=batch) and None

    work = {
        "network": bare,
        "forward": lambda: forward(model, images, caption) is None,
        "grad_cam": explain("grad_cam"),
        "evidence": explain("evidence"),
    }
    return Measurement(name, {what: f"{_time(run, repeat) * 1000:.1f} ms" for what, run in work.items()})


def _time(run: Callable[[], object], repeat: int) -> float:
    times = []
    for _ in range(repeat + 1):
        torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return median(times[1:])


GPU_SECTION = Section(
    "On a GPU",
    "Milliseconds a batch, text of 12 words: `network` from pixels that lie on the device, `forward`, `grad_cam` and `evidence` "
    "(16 steps) from PIL photos of 500 x 375, so with preprocessing on the CPU. `resnet50-cudnn` has the fused `nn.LSTM`.",
    gpu,
)
