"""A bound on what a chat template may do: it is a program from elsewhere, and may never end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

MOST_LINES = 1_000_000  # of the template's code; the longest templates run a few thousand for one turn


def bounded_render(render: Callable[[], str], name: str) -> str:
    """What `render` returns. Raises ValueError if it runs more than `MOST_LINES` lines, or fails; `name` is the model's."""
    lines = 0

    def count(_: FrameType, event: str, argument: Any) -> Any:  # noqa: ARG001  a trace function's arguments
        nonlocal lines
        if event == "line":
            lines += 1
            if lines > MOST_LINES:
                raise ValueError(
                    f"{name}: the chat template does not end within {MOST_LINES:,} lines: correct chat_template.jinja"
                )
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        return render()
    except (OverflowError, MemoryError, RecursionError, TypeError) as error:
        raise ValueError(f"{name}: the chat template fails ({error}): correct chat_template.jinja") from error
    finally:
        sys.settrace(before)
