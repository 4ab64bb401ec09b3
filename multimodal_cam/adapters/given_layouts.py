"""Layouts that the user says by hand: of the tapped layer, and of layers by their names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..core.layer_layout import LayerLayout, parse_layout

Layouts = str | Mapping[str, str] | None  # `layout=`: of the tapped layer, or of layers by their names
REGIONS = parse_layout("regions")


@dataclass(frozen=True)
class GivenLayouts:
    """The layout of the tapped layer, None where it is measured, and those of layers by their dotted names."""

    tapped: LayerLayout | None
    named: Mapping[str, LayerLayout]

    @classmethod
    def of(cls, layouts: Layouts, *, has_boxes: bool) -> GivenLayouts:
        """What `layout=` says; `has_boxes`: `regions=` says where regions lie, and the tapped layer has some by default.

        Raises ValueError for layouts that do not exist, or whose cells have no place on a photo.
        """
        if isinstance(layouts, str):
            tapped = _on_photo(layouts, has_boxes)
            if has_boxes and not tapped.has_regions:
                raise ValueError(f"layout={layouts!r} has no regions, and regions= gives boxes of some: leave one of them out")
            return cls(tapped, {})
        named = {name: _on_photo(layout, has_boxes) for name, layout in (layouts or {}).items()}
        return cls(REGIONS if has_boxes else None, named)


def _on_photo(layout: str, has_boxes: bool) -> LayerLayout:
    """A layout from its name or letters. Raises ValueError for one whose cells have no place on a photo."""
    parsed = parse_layout(layout)
    if "t" in parsed.axes:
        raise ValueError(
            f"layout={layout!r}: frames have no place on one photo, so that no map of them can be drawn; "
            "explain_score(..., layout=...) gives maps over frames"
        )
    if parsed.has_regions and not has_boxes:
        raise ValueError(
            f"layout={layout!r}: where the regions lie on a photo is unknown: pass regions= to captioner or vqa, a function "
            "from a photo to their boxes (r, 4) in its pixels; explain_score(..., layout=...) gives a value for each region"
        )
    return parsed
