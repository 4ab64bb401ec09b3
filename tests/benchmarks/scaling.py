"""`scaling`: batches of photos, and memory as texts get longer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from captioners import forward, nic, photo, random_nic, resnet50, text
from measuring import Measurement, Section, medians

import multimodal_cam as mc

BATCH = 32
AIMS = {"nic": "0.7", "resnet50": "0.85"}
LENGTHS = (4, 16, 64)
METHODS = ("grad_cam", "evidence")
RESET = Path("/proc/self/clear_refs")


def throughput(repeat: int, model: str, **_: Any) -> Iterator[Measurement]:
    images = [photo(seed) for seed in range(BATCH)]
    for name, captioner in (("nic", nic(model)), ("resnet50", resnet50())):
        caption = text(captioner, 12)
        encoder = captioner.module.encoder if name == "nic" else captioner.encoder

        def encode(captioner: Any = captioner, encoder: Any = encoder) -> None:
            with torch.no_grad():
                encoder(captioner.preprocess(images).pixels)

        def explain(method: str, captioner: Any = captioner, caption: str = caption) -> None:
            mc.explain(captioner, images, text=caption, method=method, batch_size=BATCH)

        work = {method: lambda method=method, explain=explain: explain(method) for method in METHODS}
        times = medians({"encoder": encode, **work}, repeat)
        for method in METHODS:
            yield Measurement(
                f"{name} {method} batch {BATCH} throughput",
                {"share": f"{times['encoder'] / times[method]:.2f}"},
                {
                    "photos a second": f"{BATCH / times[method]:.1f}",
                    "bare encoder": f"{BATCH / times['encoder']:.1f}",
                    "aim": f">= {AIMS[name]}" if method == "grad_cam" else "",
                },
            )


def memory(**_: Any) -> Iterator[Measurement]:
    if not RESET.exists():
        print("memory: needs Linux's /proc, nothing measured")
        return
    for name in ("nic", "resnet50"):
        for method in METHODS:
            peaks = {words: _fresh(name, method, words) for words in LENGTHS}
            yield Measurement(
                f"{name} {method} memory",
                {f"{words}-words": f"{explain:.0f}" for words, (_, explain) in peaks.items()},
                {f"plain forward, {words} words": f"{forward:.0f}" for words, (forward, _) in peaks.items()},
            )


def _fresh(name: str, method: str, words: int) -> tuple[float, float]:
    command = [sys.executable, str(Path(__file__)), name, method, str(words), str(torch.get_num_threads())]
    forward, explain = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(forward), float(explain)


def _peaks(name: str, method: str, words: int) -> tuple[float, float]:
    """MB at the peaks of a plain forward pass and of `explain`, above what the process held with the model alone."""
    model = random_nic(max_words=max(LENGTHS)) if name == "nic" else resnet50()
    image, caption = photo(), text(model, words)
    before = _status("VmRSS")
    forward(model, [image], caption)
    plain = _status("VmHWM")
    RESET.write_text("5")  # not `ru_maxrss`, which cannot be reset and which a child process inherits from its parent
    mc.explain(model, image, text=caption, method=method)
    return (plain - before) / 1024, (_status("VmHWM") - before) / 1024


def _status(entry: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(entry))  # kB


THROUGHPUT_SECTION = Section(
    f"Batches of {BATCH} photos",
    f"`explain` on {BATCH} PIL photos with a given text of 12 words, throughput as a share of the bare encoder's (both with "
    "preprocessing, one batch). Medians of interleaved repetitions.",
    throughput,
)
MEMORY_SECTION = Section(
    "Memory as texts grow",
    "MB of resident memory at the peak of `explain` with one photo, above what the process held with the model alone, beside "
    "those of a plain forward pass with the same text; random weights, a fresh process each.",
    memory,
)

if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[4]))
    print(*_peaks(sys.argv[1], sys.argv[2], int(sys.argv[3])))
