"""`make demo`: a photo, what the bundled models say about it, and a page that shows where each word came from."""

from __future__ import annotations

import argparse
from pathlib import Path

import multimodal_cam as mc
from multimodal_cam.render.html import save_page

QUESTION = "what is the dog doing?"
SAMPLES = Path(mc.__file__).parent / "data" / "samples"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo", nargs="?", type=Path, default=SAMPLES / "dog.jpg")
    parser.add_argument("--question", default=QUESTION)
    parser.add_argument("--out", type=Path, default=Path("out/demo"))
    options = parser.parse_args()

    caption = mc.explain(mc.load("nic"), options.photo)
    answer = mc.explain(mc.load("lstm-q"), options.photo, question=options.question)
    options.out.mkdir(parents=True, exist_ok=True)
    page = save_page([caption, answer], options.out / "index.html")
    caption.figure().savefig(options.out / "figure.png", dpi=110)

    print(caption.text)
    print(f"{options.question} {answer.text}")
    print(page)


if __name__ == "__main__":
    main()
