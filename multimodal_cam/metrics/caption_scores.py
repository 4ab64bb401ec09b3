"""BLEU (Papineni et al., ACL 2002) and CIDEr (Vedantam, Zitnick, Parikh, CVPR 2015) of captions against human
ones.

The scorers are pycocoevalcap's, so the figures compare with the literature's; its Java tokeniser is not used,
texts arrive tokenised: words separated by blanks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..extras import needed_by


def caption_scores(generated: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """`BLEU-1` to `BLEU-4` in 0..1 and `CIDEr` in 0..10 over all images; keys are image names, values
    tokenised texts.

    CIDEr weighs n-grams by how few images of `references` have them, so it depends on the set: figures of
    different splits do not compare. Raises ValueError when the two do not speak of the same images,
    MissingPackageError without pycocoevalcap.
    """
    _check(generated, references)
    bleu_scorer, cider_scorer = scorers()
    wanted = {name: list(texts) for name, texts in references.items()}
    said = {name: [generated[name]] for name in wanted}
    bleu, _ = bleu_scorer(4).compute_score(wanted, said, verbose=0)
    cider, _ = cider_scorer().compute_score(wanted, said)
    return {f"BLEU-{n}": float(value) for n, value in enumerate(bleu, start=1)} | {"CIDEr": float(cider)}


def scorers() -> tuple[Any, Any]:
    """pycocoevalcap's classes for BLEU and CIDEr. Raises MissingPackageError without it."""
    with needed_by("the quality of captions (BLEU, CIDEr)", "pycocoevalcap"):
        from pycocoevalcap.bleu.bleu import Bleu
        from pycocoevalcap.cider.cider import Cider
    return Bleu, Cider


def _check(generated: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> None:
    differ = sorted(generated.keys() ^ references.keys())
    if differ:
        raise ValueError(f"{len(differ)} images have only a caption or only references, the first: {differ[0]}")
    bare = sorted(name for name, texts in references.items() if not texts or isinstance(texts, str))
    if bare or not references:
        raise ValueError(f"expected a list of references for every image, none for {bare[0] if bare else 'any'}")
