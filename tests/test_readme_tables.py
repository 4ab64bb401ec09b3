"""The README's tables of methods and scores are those of the code; `python tests/test_readme_tables.py` writes them again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from multimodal_cam.adapters.catalog import method_rows, score_rows

README = Path(__file__).parent.parent / "README.md"
BLOCK = re.compile(r"(<!-- generated: methods and scores -->\n).*?(<!-- end -->)", re.DOTALL)


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [head, ["---"] * len(head), *rows])


def tables() -> str:
    """What stands between the two marks."""
    methods = [[f"`{row['name']}`", "yes" if row["linear"] else "no", row["paper"]] for row in method_rows()]
    scores = [[f"`{row['name']}`", row["unit"], row["description"]] for row in score_rows()]
    return (
        markdown_table(["method", "words add up", "paper"], methods)
        + "\n"
        + markdown_table(["score", "unit", "what is explained"], scores)
    )


def with_tables(readme: str) -> str:
    return BLOCK.sub(lambda marks: f"{marks[1]}{tables()}{marks[2]}", readme)


def test_the_tables_are_those_of_the_code() -> None:
    readme = README.read_text(encoding="utf-8")
    assert len(BLOCK.findall(readme)) == 1
    assert with_tables(readme) == readme, "run python tests/test_readme_tables.py"


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")
