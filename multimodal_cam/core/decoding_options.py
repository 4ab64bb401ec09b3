"""Options of decoders that explain() passes on: what must hold whoever decodes. A leaf."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

MOST_BEAMS = 1000


def check_decoding(options: Mapping[str, Any]) -> None:
    """Raise ValueError or TypeError, in one line, for a beam or length penalty that no search can use; None is the default."""
    for name in ("beam", "num_beams"):
        beam = options.get(name)
        if beam is None:
            continue
        if isinstance(beam, bool) or not isinstance(beam, int):
            raise TypeError(f"{name}: expected an integer from 1 to {MOST_BEAMS}, got {beam!r}")
        if not 1 <= beam <= MOST_BEAMS:
            raise ValueError(f"{name}: expected an integer from 1 (greedy) to {MOST_BEAMS}, got {beam}")
    penalty = options.get("length_penalty")
    if penalty is None:
        return
    if isinstance(penalty, bool) or not isinstance(penalty, (int, float)):
        raise TypeError(f"length_penalty: expected a number, got {penalty!r}")
    if not math.isfinite(penalty) or abs(penalty) > 100:
        raise ValueError(f"length_penalty: expected a number from -100 to 100, got {penalty}")
