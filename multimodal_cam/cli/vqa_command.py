"""The command `vqa`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from . import options as o
from .explanation_output import OutputOptions, print_answers, write_explanations

if TYPE_CHECKING:
    from multimodal_cam import Explanation


def vqa(
    photo: Annotated[str, typer.Argument(metavar="PHOTO", help="The photo.")],
    questions: Annotated[list[str], typer.Argument(metavar="QUESTION...", help="One or more questions, each in quotes.")],
    answer: Annotated[str | None, typer.Option(help="Explain this answer instead of the model's own.")] = None,
    instead_of: Annotated[str | None, typer.Option(help="Explain why the answer and not this one.")] = None,
    counterfactual: Annotated[bool, typer.Option("--counterfactual", help="Show what speaks against the answer.")] = False,
    model: o.Model = "lstm-q",
    method: o.Method = None,
    score: o.Score = None,
    layer: o.Layer = None,
    out: o.Out = None,
    as_json: o.JsonOnly = False,
    n_steps: o.Steps = 16,
    scale: o.MapScale = o.Scale.caption,
    overwrite: o.Overwrite = False,
    device: o.Device = "auto",
    dtype: o.ModelDType = None,
) -> None:
    """Ask questions about a photo, and show the evidence for the answers and for their alternatives.

    Prints the answers; writes index.html and, for every question, figure.png and its maps. Several questions
    share one pass of the backbone.
    """
    import multimodal_cam as mc

    options = o.attribution_options(method, score, layer, n_steps)
    options |= o.drop_none(text=answer, instead_of=instead_of, counterfactual=counterfactual)

    def explain() -> Iterator[tuple[str, Explanation]]:
        adapter = o.load_model(model, device, dtype=dtype)
        for explanation in mc.explain(adapter, photo, question=list(questions), **options):
            yield photo, explanation

    write_explanations(explain, len(questions), print_answers, OutputOptions(out, as_json, overwrite, scale))
