"""`HuggingFace`: the adapter of all families, composed of image input, prompt, text and head as the family's spec says."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from PIL.Image import Image
from torch import Tensor, nn

from ...core.random_state import drawing
from ...core.spans import Span
from ..contract import Unknown
from ..embedding_limits import embedding_limits
from ..followed_part import FollowedPart
from ..inputs import Inputs
from .family_spec import FamilySpec
from .generation import cut_at_stop, generation_options, samples
from .image_input import ImageInput
from .loaded_model import LoadedModel
from .model_head import ModelHead
from .output_text import GeneratedText, LabelText, OutputText
from .prompt_questions import PromptQuestions
from .question_location import QuestionView
from .tiled_input import TiledInput
from .token_views import TokenView


class HuggingFace:
    """A network and its processor, as a `TaskAdapter`. `spec` is that of the checkpoint: `FamilySpec.for_checkpoint` gives it."""

    default_method: str = "grad_cam"
    head_input_layer: nn.Module | None = None
    readout = FollowedPart()
    question_layer = FollowedPart()

    def __init__(
        self, model: Any, processor: Any, name: str, spec: FamilySpec, provenance: Mapping[str, str] | None = None
    ) -> None:
        self.name, self.task, self.spec = name, spec.task, spec
        self.provenance = dict(provenance or {}) | dict(spec.provenance)
        self.loaded = loaded = LoadedModel(model, processor, name, spec, *spec.vision_tower_and_layer(model))
        self.module: nn.Module = model
        self.tower, self.layer = loaded.tower, loaded.layer
        self.readout = spec.readout(model)
        self.question_layer = spec.question_layer(model)
        self.question_before_layer: bool = spec.capabilities.question_before_layer
        self.questions = PromptQuestions(loaded)
        self.images = (ImageInput if spec.tiling is None else TiledInput)(loaded, self.questions)
        self.head = ModelHead(loaded, self.images)
        labels = None if spec.labels is None else spec.labels(model)
        self.text: OutputText = GeneratedText(loaded, self.questions) if labels is None else LabelText(loaded, labels)
        self.default_score = "log_prob" if labels is None else "logit"  # before the softmax, as the papers do
        self.n_alternatives = 0 if labels is None else 5

    # ---- images and questions ----------------------------------------------------------------------------------------------

    def preprocess(self, images: Sequence[Image], questions: Sequence[str] | None = None) -> Inputs:
        return self.images.preprocess(images, questions)

    def batch_key(self, image: Image, question: str | None) -> Hashable:
        """Rows of one batch have this in common: the prompt's form and, where the grid follows it, the image's size."""
        capabilities = self.spec.capabilities
        if not capabilities.rows_in_one_batch:
            return object()
        size = image.size if capabilities.grid_follows_image else None
        return size, self.questions.batch_key(question), self.spec.batch_key(self.loaded, question)

    def question_spans(self, question: str) -> list[Span]:
        return self.questions.spans(question)

    def question_view(self, inputs: Inputs) -> QuestionView | None:
        return None if inputs.question_slice is None else QuestionView(*inputs.question_slice)

    # ---- the layer and the head --------------------------------------------------------------------------------------------

    def layer_view(self, inputs: Inputs, layer: nn.Module) -> TokenView:
        return self.images.layer_view(inputs, layer)

    def layer_activations(self, inputs: Inputs) -> Tensor:
        """The layer's activations, one row a distinct image."""
        with self._limits(inputs):
            return self.head.layer_activations(inputs)

    def baseline_activations(self, inputs: Inputs) -> Tensor:
        with self._limits(inputs):
            return self.head.baseline_activations(inputs)

    def baseline_inputs(self, inputs: Inputs) -> Inputs:
        return self.images.baseline_inputs(inputs)

    def logits(self, inputs: Inputs, ids: Tensor, activations: Tensor | None = None) -> Tensor:
        with self._limits(inputs, ids):
            return self.head.logits(inputs, ids, activations)

    def _limits(self, inputs: Inputs, ids: Tensor | None = None) -> AbstractContextManager[None]:
        """Context for passes that read question and text: where they are too long for the network, an error says so."""
        if self.spec.labels is not None:
            return embedding_limits(self.name, self.module, question=inputs.question_ids)
        return embedding_limits(self.name, self.module, "max_new_tokens=", question=inputs.question_ids, text=ids)

    # ---- text --------------------------------------------------------------------------------------------------------------

    def generate(self, inputs: Inputs, **options: Any) -> Tensor:
        """The network's own `generate`, `options` included; without options the likeliest label `(b, 1)` of a chooser.

        Raises ValueError where nothing is said, TypeError for options of a model that chooses.
        """
        if self.spec.labels is None:
            options = generation_options(self.loaded, options)
            with self._limits(inputs), drawing(self.module) if samples(self.loaded, options) else nullcontext():
                return cut_at_stop(self.loaded, self.head.generate(inputs, **options))
        if options:
            raise TypeError(f"{self.name} chooses a label, it does not decode: {', '.join(options)} has no meaning here")
        with self._limits(inputs):
            return self.spec.generate(self.loaded, inputs)

    def tokenize(self, texts: Sequence[str], unknown: Unknown = "error") -> Tensor:
        return self.text.encode(texts, unknown)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        return self.text.tokens(ids)

    def spans(self, ids: Sequence[int], text: str | None = None) -> list[Span]:
        return self.text.spans(ids, text)

    def replace_word(self, ids: Sequence[int], word: Span, other: str) -> list[int]:
        """The ids with `other` in the place of `word`, what comes before it unchanged."""
        return self.text.replace_word(ids, word, other)
