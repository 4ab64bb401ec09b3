"""The page of a study with people: one self-contained HTML file that asks questions about pictures and keeps the answers."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from html import escape
from string import Template
from typing import Any

from .assets import asset, policy


def rating_page(data: Mapping[str, Any], lead: str) -> str:
    """The whole document.

    Args:
        data: `study`, its id; `title`; `questions` by id, each with a `prompt`, `pictures` (indices) and `options`; `lists` of
            ids, of which a rater sees one, by number; `pictures`, JPEG files. All of it is readable in the page's source.
        lead: What raters have to do.
    """
    style, script = asset("page.css") + asset("rating.css"), asset("rating.js")
    shown = dict(data) | {"pictures": [base64.b64encode(picture).decode() for picture in data["pictures"]]}
    return Template(asset("rating.html")).substitute(
        title=escape(data["title"]),
        lead=escape(lead),
        policy=policy(style, script),
        style=style,
        script=script,
        data=json.dumps(shown, separators=(",", ":")).replace("<", "\\u003c"),
    )
