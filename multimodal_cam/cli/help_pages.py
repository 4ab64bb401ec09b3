"""What `--help` shows: options in groups, and examples that can be copied."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand

from multimodal_cam.methods.method_options import OPTIONS

from .usage_errors import usage_errors_of

GROUPS = {  # heading: names of options; all others come first
    "Model": ("model", "network", "encoder", "weights", "device", "dtype"),
    "Map": ("method", "score", "layer", "n_steps", "scale", "counterfactual", "instead_of", "unknown", "channels"),
    "Method": tuple(OPTIONS),
    "Run": ("batch_size", "workers", "engine", "on_error", "limit", "shard_size", "seed", "dry_run"),
    "Output": ("out", "as_json", "overwrite", "format", "figure", "boxes", "box_rule"),
}
EXAMPLES = {
    "caption": (
        "caption photo.jpg",
        "caption photos/ --out report",
        'caption photo.jpg --text "a dog on the grass" --json',
        "caption photo.jpg --model FOLDER --method grad_cam",
    ),
    "vqa": (
        'vqa photo.jpg "what is the dog holding?" "where is the dog?"',
        'vqa photo.jpg "what is it?" --instead-of ball --json',
    ),
    "classify": ('classify photo.jpg --text "tabby cat"', "classify photo.jpg --model timm:resnet50"),
    "models": ("models", "models --json"),
    "layers": ("layers nic", "layers FOLDER --json"),
    "methods": ("methods",),
    "check": ("check my_model.py:make photo.jpg", "check nic photo.jpg --thorough --json"),
    "train captioner": (
        "train captioner --images DIR --captions captions.txt --split train.txt --dev dev.txt --out DIR",
        "train captioner --images DIR --captions captions.txt --split train.txt --dev dev.txt --out DIR --network sat",
    ),
    "train vqa": ("train vqa --images DIR --questions train.jsonl --dev dev.jsonl --out DIR",),
    "train familiarity": ("train familiarity --model FOLDER --images DIR --split train.txt --dev dev.txt",),
    "eval captions": ("eval captions --images DIR --captions captions.txt --split dev.txt",),
    "eval vqa": ("eval vqa --images DIR --questions dev.jsonl --known train.jsonl",),
    "data make-questions": (
        "data make-questions --captions captions.txt --entities DIR --split train.txt --out questions.jsonl",
    ),
    "study captions": (
        "study captions --images DIR --entities DIR --captions captions.txt --split dev.txt --models nic,sat --out DIR",
    ),
    "study vqa": ("study vqa --images DIR --questions dev.jsonl --models lstm-q,san --out DIR",),
    "study sanity": ("study sanity --images DIR --entities DIR --split dev.txt --methods grad_cam,evidence --out DIR",),
    "study doubt": (
        "study doubt --images DIR --captions captions.txt --train train.txt --split dev.txt --model nic --out DIR",
        "study doubt --images DIR --captions captions.txt --train train.txt --split dev.txt --model FOLDER --out DIR --save",
    ),
    "study report": ("study report DIR",),
    "study wsol": (
        "study wsol --ilsvrc DIR --models efficientnet_lite0 --out DIR",
        "study wsol --images DIR --entities DIR --split dev.txt --models nic,sat --out DIR",
    ),
    "neurons label": ("neurons label --model nic --images DIR --entities DIR --split train.txt",),
    "neurons score": ("neurons score --model nic --images DIR --entities DIR --split dev.txt",),
    "humanstudy make": (
        "humanstudy make class maps/grad_cam maps/evidence --out study",
        "humanstudy make class --images photos/ --methods grad_cam,guided_grad_cam --out study",
        "humanstudy make reliability --images photos/ --models nic,sat --methods grad_cam --out study",
        "humanstudy make word maps/grad_cam maps/evidence --truth truth.csv --photo-alone --out study",
    ),
    "humanstudy score": ("humanstudy score answers/ --study study", "humanstudy score answers/*.json --study study --json"),
}


class HelpfulCommand(TyperCommand):
    """A command whose help has its options in `GROUPS`, and its `EXAMPLES`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        with usage_errors_of(ctx):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        with usage_errors_of(ctx):
            return super().invoke(ctx)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        group_of = {name: heading for heading, names in GROUPS.items() for name in names}
        sections: dict[str, list[Any]] = {heading: [] for heading in ("Arguments", "Options", *GROUPS)}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                is_argument = parameter.param_type_name == "argument"
                sections["Arguments" if is_argument else group_of.get(str(parameter.name), "Options")].append(record)
        for heading, records in sections.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        program, _, command = ctx.command_path.partition(" ")
        if command in EXAMPLES:
            with formatter.section("Examples"):
                for example in EXAMPLES[command]:
                    formatter.write(f"{'':{formatter.current_indent}}{program} {example}\n")


class HelpfulTyper(typer.Typer):
    """Commands with the help of `HelpfulCommand`."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[Any], Any]:
        return super().command(name, **{"cls": HelpfulCommand} | options)
