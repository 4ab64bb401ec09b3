"""Columns of a study's tables."""

from __future__ import annotations

RUN = ("model", "method", "score", "span")
