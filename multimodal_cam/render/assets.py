"""Scripts, styles and templates of the pages, and what their policies allow."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

BESIDE = "'self' file:"  # what a policy allows of the files beside a page, on a server and on a disk


@cache
def asset(name: str) -> str:
    """Text of a file beside this module; of scripts and styles without indentation and lines of comment, which no page needs."""
    text = (Path(__file__).parent / name).read_text(encoding="utf-8")
    if not name.endswith((".js", ".css")):
        return text
    lines = (line.strip() for line in text.splitlines())
    return "".join(f"{line}\n" for line in lines if line and not line.startswith("//"))


def policy(style: str, script: str, *, images: str = "data:", scripts: str = "") -> str:
    """Content-Security-Policy of a page: no request, no style and no script but its own, and what `images` and `scripts` name."""
    return (
        f"default-src 'none'; img-src {images}; style-src {_hash(style)}; script-src {f'{_hash(script)} {scripts}'.strip()}; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(source: str) -> str:
    """The one inline script or style that a page allows, by its SHA-256."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"
