"""tests/benchmarks/measuring.py: the lines that are printed and the page that is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def measuring(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(Path(__file__).parent / "benchmarks")
    import measuring

    return measuring


def test_a_line_is_a_name_and_quantities(measuring: Any) -> None:
    measurement = measuring.Measurement("nic grad_cam", {"ratio": "1.42"}, {"aim": "<= 1.6"})
    assert measurement.line() == "nic grad_cam ratio 1.42"


def test_a_section_replaces_its_older_self_only(measuring: Any, tmp_path: Path) -> None:
    page = tmp_path / "docs" / "benchmarks.md"
    section = measuring.Section("Speed", "How.", lambda: iter(()))
    for key, value in (("a", "1"), ("b", "2"), ("a", "3")):
        measuring.write(key, section, [measuring.Measurement(f"row {key}", {"ratio": value}, {"aim": "<= 4"})], page)
    text = page.read_text()
    assert text.startswith("# Benchmarks\n")
    assert "| row a | 3 | <= 4 |" in text
    assert "| row b | 2 | <= 4 |" in text
    assert "| row a | 1" not in text


def test_work_runs_in_turns_after_a_warm_up(measuring: Any) -> None:
    order: list[str] = []
    times = measuring.medians({"x": lambda: order.append("x"), "y": lambda: order.append("y")}, repeat=2)
    assert order == ["x", "y"] * 3
    assert set(times) == {"x", "y"}
