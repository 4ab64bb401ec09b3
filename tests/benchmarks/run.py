"""`python tests/benchmarks/run.py [SELECTION...]`: measures, prints plain lines, keeps them in
docs/benchmarks.md.

Selections: speed, scaling, batch, soak, vqa, classifiers, language, perturbing, captions, localisation, familiarity, answers,
study, gpu; none means all. A line is a name, then pairs of quantity and value: `nic grad_cam ratio 1.42`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from answering import ANSWERS_SECTION, COST_SECTION, POINTING_SECTION, QUESTIONS_SECTION
from batching import BATCH_SECTION, ENDED_SECTION
from classifiers import CLASSES_FORWARD_SECTION, CLASSES_SECTION
from gpu import GPU_SECTION
from language import COST_SECTION as LANGUAGE_SECTION
from language import MEMORY_SECTION as LANGUAGE_MEMORY_SECTION
from measuring import Section, write
from perturbing import OCCLUSION_SECTION
from quality import CAPTIONS_SECTION, LOCALISATION_SECTION
from scaling import MEMORY_SECTION, THROUGHPUT_SECTION
from soaking import SOAK_SECTION
from speed import FORWARD_SECTION, RIVALS_SECTION
from studying import PERTURBING_SECTION, RAY_SECTION, STUDY_SECTION
from worlds import FAMILIARITY_SECTION

SELECTIONS: dict[str, dict[str, Section]] = {
    "speed": {"rivals": RIVALS_SECTION, "forward": FORWARD_SECTION},
    "scaling": {"throughput": THROUGHPUT_SECTION, "memory": MEMORY_SECTION},
    "batch": {"batch": BATCH_SECTION, "batch-ended": ENDED_SECTION},
    "soak": {"soak": SOAK_SECTION},
    "vqa": {"five-answers": COST_SECTION, "many-questions": QUESTIONS_SECTION},
    "classifiers": {"classes": CLASSES_SECTION, "classes-forward": CLASSES_FORWARD_SECTION},
    "language": {"language": LANGUAGE_SECTION, "language-memory": LANGUAGE_MEMORY_SECTION},
    "perturbing": {"occlusion": OCCLUSION_SECTION},
    "captions": {"captions": CAPTIONS_SECTION},
    "localisation": {"localisation": LOCALISATION_SECTION},
    "familiarity": {"familiarity": FAMILIARITY_SECTION},
    "answers": {"answers": ANSWERS_SECTION, "answer-pointing": POINTING_SECTION},
    "study": {"study": STUDY_SECTION, "perturbing": PERTURBING_SECTION, "ray": RAY_SECTION},
    "gpu": {"gpu": GPU_SECTION},
}
DATA = Path(__file__).parents[3] / "shared" / "data" / "flickr8k"


def main() -> None:
    options = _options()
    if options.threads:
        torch.set_num_threads(options.threads)
    for selection in options.selections or SELECTIONS:
        for key, section in SELECTIONS[selection].items():
            measurements = []
            for measurement in section.measure(**vars(options)):
                print(measurement.line(), flush=True)
                measurements.append(measurement)
            if measurements and not options.dry:
                write(key, section, measurements)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("selections", nargs="*", metavar="SELECTION", help=f"of {', '.join(SELECTIONS)}")
    parser.add_argument("--repeat", type=int, default=5, help="repetitions of which the median is taken (default 5)")
    parser.add_argument("--threads", type=int, help="PyTorch's threads on the CPU (default: its own choice)")
    parser.add_argument("--model", default="nic", help="our captioner: a bundled name or a folder")
    parser.add_argument("--vqa-model", default="lstm-q", help="our VQA model: a bundled name or a folder")
    parser.add_argument("--data", type=Path, default=DATA, help="Flickr8k with Flickr30k Entities, see data/README.md")
    parser.add_argument("--photos", type=int, help="only the first so many dev photos")
    parser.add_argument("--dry", action="store_true", help="do not write docs/benchmarks.md")
    options = parser.parse_args()
    for selection in options.selections:
        if selection not in SELECTIONS:
            parser.error(f"unknown selection {selection!r}; choose from {', '.join(SELECTIONS)}")
    return options


if __name__ == "__main__":
    main()
