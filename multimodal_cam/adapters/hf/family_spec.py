"""`FamilySpec`: how a family of checkpoints is listed and runs. Data, and functions for what it does otherwise than most."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL.Image import Image
from torch import Tensor, nn

from ..inputs import Inputs
from ..labels import Labels
from . import decoding, image_input
from .loaded_model import LoadedModel, no_token_kwargs
from .prompts import JointPrompt, Prompt
from .tiled_input import Tiling
from .token_views import TokenView


@dataclass(frozen=True)
class Capabilities:
    """How a model runs: what may be shared, batched or cut. The defaults are those of most families."""

    head_runs_alone: bool = True  # False: something goes around the layer, so the whole network runs, overridden there
    rows_in_one_batch: bool = True  # False: several images are packed into one row, so the network runs row by row
    head_rows_in_one_batch: bool = True  # the same of the head
    generates_from_layer: bool = True  # False: `generate` gets the images, and runs the tower once more
    tower_ignores_question: bool = True  # False: baseline activations depend on the question
    tower_shared_by_questions: bool = True  # the tower runs once for all questions about one image
    question_before_layer: bool = False  # the layer's activations depend on the question
    grid_follows_image: bool = False  # images of different sizes have grids of different sizes, and run apart
    pixels_in_one_dimension: bool = False  # the model takes the patches or tiles of all images as one dimension


def _same_spec(spec: FamilySpec, _model: Any, _processor: Any, _name: str) -> FamilySpec:
    return spec


def _no_key(_loaded: LoadedModel, _question: str | None) -> Hashable:
    return None


def _no_ids(_model: Any) -> set[int]:
    return set()


@dataclass(frozen=True)
class FamilySpec:
    """A family of checkpoints: the `architectures` of its `config.json`, its row in the listing, and how its models run.

    `memory` is the approximate size of the weights of its smallest well-known checkpoint, from its published size. Only
    `vision_tower_and_layer` has no default; `b` rows, `p` distinct images, `t` tokens of the text, `v` vocabulary below.
    """

    name: str
    architectures: tuple[str, ...]
    layer: str
    grid: str
    tokenizer: str
    memory: str
    vision_tower_and_layer: Callable[[Any], tuple[nn.Module, nn.Module]]  # of a network: the tower, its layer to explain
    task: str = "captioning, vqa"
    capabilities: Capabilities = Capabilities()
    prompt: Prompt = JointPrompt()
    tiling: Tiling | None = None  # images are cut into tiles
    labels: Callable[[Any], Labels] | None = None  # of a network that chooses from a list of answers
    grid_inputs: tuple[str, ...] | None = ()  # extra inputs that say an image's grid; None: all that are small
    provenance: Mapping[str, str] = field(default_factory=dict)  # facts to note beside the weights' name

    # of a network: its output projection (b, t, d) -> logits, and the embedding layer of the question's tokens; None: no such
    readout: Callable[[Any], nn.Module | None] = decoding.output_embeddings
    question_layer: Callable[[Any], nn.Module | None] = decoding.input_embeddings
    stop_ids: Callable[[Any], set[int]] = _no_ids  # of a network: tokens that end a text beside those of its tokenizer

    # text: teacher-forced logits (b, t, v), where position i scores ids[:, i]; generated ids (b, t) behind the prompt
    logits: Callable[[LoadedModel, Inputs, Tensor], Tensor] = decoding.prompted_logits
    generate: Callable[..., Tensor] = decoding.generate_prompted
    token_kwargs: Callable[[LoadedModel, Inputs, Tensor], dict[str, Tensor]] = no_token_kwargs  # forward's, of each token
    batch_key: Callable[[LoadedModel, str | None], Hashable] = _no_key  # what else is equal in all rows of a batch

    # images: pixels (1, ...) and extra inputs of one; its pixels (3, H, W) in 0..255; the tower on inputs; inputs of no photo
    split_output: Callable[[LoadedModel, dict[str, Any]], tuple[Tensor, dict[str, Tensor]]] = image_input.pixels_and_extra
    unnormalized_image: Callable[[LoadedModel, Image, str | None], Tensor] = image_input.unnormalized_pixels
    run_tower: Callable[[LoadedModel, Inputs], Any] = image_input.run_tower_on_pixels
    baseline_inputs: Callable[[LoadedModel, Inputs], Inputs] = image_input.mean_colour_inputs
    layer_view: Callable[[LoadedModel, Inputs, nn.Module], TokenView] = image_input.grid_behind_prefix

    # the spec of one checkpoint, of network, processor and name, where those of a family differ
    for_checkpoint: Callable[[FamilySpec, Any, Any, str], FamilySpec] = _same_spec
