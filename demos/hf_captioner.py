"""A captioner of Hugging Face's: word by word, phrases, one word against another. `python -m demos.hf_captioner [PHOTO]`

As it stands it runs on a tiny BLIP with random weights, which explains nothing. Change one line, and it runs on the real one.
"""

from __future__ import annotations

import sys
from pathlib import Path

import multimodal_cam as mc
from multimodal_cam.render.html import save_page

if not __package__:  # run as a file, `python demos/hf_captioner.py`: its neighbours are found from the folder above
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from demos import tiny  # noqa: E402

MODEL = tiny.TINY  # the line to change: "Salesforce/blip-image-captioning-base", or a folder that holds it
TEXT = "a brown dog runs on the grass"


def main() -> None:
    options = tiny.options(__doc__, "out/hf_captioner")
    options.out.mkdir(parents=True, exist_ok=True)
    if MODEL == tiny.TINY:
        print(tiny.NOTE)
    model = mc.load(tiny.blip(vqa=False) if MODEL == tiny.TINY else MODEL)

    # What does it say, and where did each word come from? Grad-CAM, one pass of the tower for all words.
    said = mc.explain(model, options.photo)
    print(f"\nit says: {said.text}")

    # A caption of yours, in nats: the cells of a word's map add up to what the photo changed about it (but for CLS, which has no
    # place: `unplaced`). A word that owes nothing to the photo has a map that means nothing.
    e = mc.explain(model, options.photo, text=TEXT, method="evidence")
    print(f"\n{'':16}  log p   from the photo   no place   gap")
    for part, unplaced, gap in zip(map(e.part, e.words), e.unplaced, e.completeness, strict=True):
        print(f"{part.text:16} {part.log_prob:6.2f} {part.reliance:+12.3f} {unplaced:+14.3f} {gap:+9.3f}")

    # Phrases are sums of their words: no further pass.
    for phrase in [*e.phrases(), e.whole()]:
        print(f"{phrase.text:30} {phrase.reliance:+.3f} nats from the photo")

    # Why a dog and not a cat? The difference of the two logits at that place; other words against their likeliest rivals.
    rather = mc.explain(model, options.photo, text=TEXT, instead_of={"dog": "cat"})
    print(f"\na dog rather than a cat: {rather['dog'].score:+.3f} nats")

    e.figure().savefig(options.out / "figure.png", dpi=110)
    print(f"\n{save_page([said, e, rather], options.out / 'index.html')}")


if __name__ == "__main__":
    main()
