"""`make demo`: a photo, what the bundled model says about it, and a page that shows where each word came from."""

from __future__ import annotations

import argparse
from pathlib import Path

import multimodal_cam as mc

SAMPLES = Path(mc.__file__).parent / "data" / "samples"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo", nargs="?", type=Path, default=SAMPLES / "dog.jpg")
    parser.add_argument("--out", type=Path, default=Path("out/demo"))
    options = parser.parse_args()

    explanation = mc.explain(mc.load("nic"), options.photo)
    options.out.mkdir(parents=True, exist_ok=True)
    page = options.out / "index.html"
    explanation.to_html(page)
    explanation.figure().savefig(options.out / "figure.png", dpi=110)

    print(explanation.text)
    print(page)


if __name__ == "__main__":
    main()
