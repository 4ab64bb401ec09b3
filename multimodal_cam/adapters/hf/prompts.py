"""Prompts: how image and question become model inputs. A family's spec holds one of these frozen records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from PIL.Image import Image

from ..contract import refuse_questions
from .template_limit import bounded_render

if TYPE_CHECKING:
    from .loaded_model import LoadedModel


class Prompt(Protocol):
    """How a family reads an image and a question."""

    @property
    def request(self) -> str | None:
        """What stands for the question where a caption is asked for; None: nothing does."""

    @property
    def joint(self) -> bool:
        """Whether image and question are processed together, once a row; else the image once, whatever is asked about it."""

    @property
    def in_pixels(self) -> bool:
        """Whether the question is written on the image, whose placement then depends on it."""

    def text(self, loaded: LoadedModel, question: str | None) -> str:
        """The prompt's text, with the question in it."""

    def process(self, loaded: LoadedModel, image: Image, question: str | None) -> dict[str, Any]:
        """All outputs of the processor for one image and, where they are `joint`, its question."""

    def ids(self, loaded: LoadedModel, values: Mapping[str, Any], question: str | None) -> list[int] | None:
        """The ids that the text follows; None for a family that starts from nothing. Raises ValueError for a wrong question."""


def image_token_first(processor: Any, request: str) -> str:
    """The processor's image token, and the request."""
    return f"{processor.image_token}{request}"


@dataclass(frozen=True)
class JointPrompt:
    """The processor takes image and prompt together, and fills in the image's tokens.

    The prompt is by the checkpoint's chat template, if it has one and `chat_template` is True, else by `template`, a function of
    processor and request.
    """

    request: str = "Describe the photo in one sentence."
    template: Callable[[Any, str], str] = image_token_first
    chat_template: bool = True
    joint: ClassVar[bool] = True
    in_pixels: ClassVar[bool] = False

    def text(self, loaded: LoadedModel, question: str | None) -> str:
        processor = loaded.processor
        asked = self.request if question is None else question
        if not self.chat_template or not getattr(processor, "chat_template", None):
            return self.template(processor, asked)
        content = [{"type": "image"}, {"type": "text", "text": asked}]
        turn = [{"role": "user", "content": content}]
        return bounded_render(lambda: processor.apply_chat_template(turn, add_generation_prompt=True), loaded.name)

    def process(self, loaded: LoadedModel, image: Image, question: str | None, **options: Any) -> dict[str, Any]:
        text = self.text(loaded, question)
        options |= loaded.text.prompt_options(text)
        return dict(loaded.processor(images=image, text=text, return_tensors="pt", **options))

    def ids(self, loaded: LoadedModel, values: Mapping[str, Any], question: str | None) -> list[int] | None:
        ids: list[int] = values["input_ids"][0].tolist()
        return ids


@dataclass(frozen=True)
class SeparatePrompt:
    """The image processor takes the image, the tokenizer the question, by `question_ids`; None: the model takes no questions."""

    question_ids: Callable[[LoadedModel, str | None], list[int]] | None = None
    request: ClassVar[None] = None
    joint: ClassVar[bool] = False
    in_pixels: ClassVar[bool] = False

    def text(self, loaded: LoadedModel, question: str | None) -> str:
        return question or ""

    def process(self, loaded: LoadedModel, image: Image, question: str | None) -> dict[str, Any]:
        return dict(loaded.image_processor([image], return_tensors="pt"))

    def ids(self, loaded: LoadedModel, values: Mapping[str, Any], question: str | None) -> list[int] | None:
        if self.question_ids is not None:
            return self.question_ids(loaded, question)
        refuse_questions(loaded.name, None if question is None else [question])
        return None


def required_question_ids(loaded: LoadedModel, question: str | None) -> list[int]:
    """The tokenizer's ids of the question, start and end included. Raises ValueError where nothing is asked."""
    if question is None:
        raise ValueError(f"{loaded.name} answers questions: pass question=")
    ids: list[int] = loaded.tokenizer(question).input_ids
    return ids
