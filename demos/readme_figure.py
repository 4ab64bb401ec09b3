"""`python -m demos.readme_figure`: makes docs/figure.png, the picture at the top of the README."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import multimodal_cam as mc

from .demo import SAMPLES

TARGET = Path(__file__).parents[1] / "docs" / "figure.png"
WORDS = {"brown", "dog", "running", "grass"}  # whichever the caption lacks, its most reliant words stand in for


def main() -> None:
    explanation = mc.explain(mc.load("nic"), SAMPLES / "dog.jpg")
    words = sorted(explanation.words, key=lambda word: (word.text in WORDS, explanation.part(word).reliance))
    shown = replace(explanation, words=tuple(sorted(words[-len(WORDS) :], key=lambda word: word.start)))
    TARGET.parent.mkdir(exist_ok=True)
    shown.figure(scale="word").savefig(TARGET, dpi=92, pil_kwargs={"optimize": True})
    print(f"{TARGET}: {explanation.text} ({TARGET.stat().st_size // 1024} KB)")


if __name__ == "__main__":
    main()
