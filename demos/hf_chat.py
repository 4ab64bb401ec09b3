"""A vision-language model, prompted by its own chat template: a caption, a question, how much has a place on the photo.

As it stands it runs on a tiny LLaVA with random weights, which explains nothing. Change one line, and it runs on a real one.
`python -m demos.hf_chat [PHOTO]`
"""

from __future__ import annotations

import sys
from pathlib import Path

import multimodal_cam as mc
from multimodal_cam.render.html import save_page

if not __package__:  # run as a file, `python demos/hf_chat.py`: its neighbours are found from the folder above
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from demos import tiny  # noqa: E402

MODEL = tiny.TINY  # the line to change: "HuggingFaceTB/SmolVLM-256M-Instruct", "llava-hf/llava-1.5-7b-hf", or a folder
QUESTION = "What is the dog doing?"
TEXT = "The dog runs on the grass."


def main() -> None:
    options = tiny.options(__doc__, "out/hf_chat")
    options.out.mkdir(parents=True, exist_ok=True)
    if MODEL == tiny.TINY:
        print(tiny.NOTE)
    model = mc.load(tiny.llava() if MODEL == tiny.TINY else MODEL)

    # Which layer is looked at, and is the adapter right? Both before any map.
    print(*mc.check(model, options.photo, question=QUESTION), sep="\n")

    # Asked for a caption in the model's own words for that, and asked a question of yours.
    caption = mc.explain(model, options.photo, max_new_tokens=12)
    answer = mc.explain(model, options.photo, question=QUESTION, max_new_tokens=12)
    print(f"\nlayer {caption.layer}, grid {' x '.join(map(str, caption.token_maps.shape[1:]))}")
    print(f"it says: {caption.text!r}\n{QUESTION} {answer.text!r}")

    # An answer of yours, in nats. What CLS, registers, or a whole photo beside its tiles add has no place on the map: where that
    # is most of it, the map is not the explanation.
    e = mc.explain(model, options.photo, question=QUESTION, text=TEXT, method="evidence", n_steps=32)
    for part, unplaced in zip(map(e.part, e.words), e.unplaced, strict=True):
        placed = part.map.sum().item()
        print(
            f"{part.text:8} from the photo {part.reliance:+.3f} nats: {placed:+.3f} on the map, {unplaced:+.3f} without a place"
        )

    e.figure().savefig(options.out / "figure.png", dpi=110)
    print(f"\n{save_page([caption, answer, e], options.out / 'index.html')}")


if __name__ == "__main__":
    main()
