"""A model of Hugging Face's that answers questions, and owes its answers to the photo, or not. `python -m demos.hf_vqa [PHOTO]`

As it stands it runs on a tiny BLIP with random weights, which explains nothing. Change one line, and it runs on the real one.
"""

from __future__ import annotations

import sys
from pathlib import Path

import multimodal_cam as mc
from multimodal_cam.render.html import save_page

if not __package__:  # run as a file, `python demos/hf_vqa.py`: its neighbours are found from the folder above
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from demos import tiny  # noqa: E402

MODEL = tiny.TINY  # the line to change: "Salesforce/blip-vqa-base", "dandelin/vilt-b32-finetuned-vqa", or a folder
QUESTIONS = ["what is the dog doing?", "where is the dog?"]


def main() -> None:
    options = tiny.options(__doc__, "out/hf_vqa")
    options.out.mkdir(parents=True, exist_ok=True)
    if MODEL == tiny.TINY:
        print(tiny.NOTE)
    model = mc.load(tiny.blip(vqa=True) if MODEL == tiny.TINY else MODEL)

    # Several questions about one photo: the tower runs once. Reliance is what the photo, not the question, made of the answer.
    answers = mc.explain(model, options.photo, question=QUESTIONS)
    for e in answers:
        print(f"\n{e.question} {e.text}: {e.whole().reliance:+.3f} nats from the photo")

    # The evidence for an answer of yours; and why that one, and not another.
    yours = mc.explain(model, options.photo, question=QUESTIONS[1], text="grass", method="evidence")
    print(f"\n'grass': log p {yours['grass'].log_prob:.2f}, {yours['grass'].reliance:+.3f} nats of it from the photo")
    rather = mc.explain(model, options.photo, question=QUESTIONS[1], text="grass", instead_of="ball")
    print(f"'grass' rather than 'ball': {rather['grass'].score:+.3f} nats")

    # What speaks against it: the same slopes with the other sign.
    against = mc.explain(model, options.photo, question=QUESTIONS[1], text="grass", counterfactual=True)

    yours.figure().savefig(options.out / "figure.png", dpi=110)
    print(f"\n{save_page([*answers, yours, rather, against], options.out / 'index.html')}")


if __name__ == "__main__":
    main()
