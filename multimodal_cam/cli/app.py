"""The program `multimodal-cam`: its commands, its options, and how errors are shown. Heavy imports are deferred."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from .caption_command import caption
from .check_command import check
from .classify_command import classify
from .data_commands import data
from .evaluation_commands import evaluate
from .help_pages import HelpfulTyper
from .humanstudy_commands import humanstudy
from .listing_commands import layers, methods, models
from .neuron_commands import neurons
from .output import print_diagnostic
from .process import tidy_process
from .study_commands import study
from .training_commands import train
from .usage_errors import usage_errors_in_a_line, usage_errors_of
from .vqa_command import vqa
from .wsol_command import wsol


class Commands(TyperGroup):
    """Command group that prints expected errors as one line; with --debug they keep their traceback."""

    def make_context(self, *args: Any, **options: Any) -> Any:
        with usage_errors_in_a_line():
            return super().make_context(*args, **options)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        with usage_errors_of(ctx):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            with usage_errors_in_a_line():
                return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except (ValueError, OSError, LookupError, ImportError, MemoryError) as error:
            if ctx.params.get("debug"):
                raise
            from multimodal_cam.core.errors import message

            print_diagnostic(f"error: {message(error)}")
            raise typer.Exit(1) from error


app = HelpfulTyper(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (caption, vqa, classify, models, layers, methods, check):
    app.command()(command)
study.command("wsol")(wsol)
app.add_typer(train, name="train")
app.add_typer(evaluate, name="eval")
app.add_typer(data, name="data")
app.add_typer(study, name="study")
app.add_typer(neurons, name="neurons")
app.add_typer(humanstudy, name="humanstudy")


def main() -> None:
    """The entry point `multimodal-cam`."""
    with tidy_process():
        app(prog_name="multimodal-cam")


def _print_version(wanted: bool) -> None:
    if wanted:
        from multimodal_cam import __version__

        print(f"multimodal-cam {__version__}")
        raise typer.Exit


@app.callback()
def multimodal_cam(
    version: Annotated[
        bool, typer.Option("--version", "-v", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option(envvar="MULTIMODAL_CAM_DEBUG", help="Show the traceback of errors.")] = False,
) -> None:
    """Show where a captioning or VQA model looked when it said a word: one heatmap for each word of a photo's caption."""
