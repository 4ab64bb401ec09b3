"""Tables of what there is to choose from."""

from __future__ import annotations

import multimodal_cam as mc
from multimodal_cam.adapters.catalog import method_rows


def test_every_method_has_a_row_with_its_paper() -> None:
    rows = method_rows()
    assert [row["name"] for row in rows] == sorted(mc.METHODS)
    assert all(any(year in row["paper"] for year in map(str, range(2014, 2027))) for row in rows)
    assert {row["name"] for row in rows if row["linear"]} == {name for name, spec in mc.METHODS.items() if spec.linear}
