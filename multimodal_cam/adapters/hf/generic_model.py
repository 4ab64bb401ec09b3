"""Any other architecture that speaks transformers' common language: nothing is known of it, all is found, and checked.

While the model describes one photo of noise, it is seen where the photo goes in (the tower), which of the tower's layers are
grids, and which of these the words depend on. Then it is checked that texts are scored as they are generated, and whether the
head can run alone. What cannot be had is an error that says what was found, and what to write.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ...core.hooks import evaluation_mode, forward_hooks, forward_pre_hooks, overridden_output
from ..inputs import Inputs
from .base_model import placeholder_inputs
from .compute_device import device_of, dtype_of
from .family_spec import Capabilities, FamilySpec
from .probe import EXTRA, ModuleCall, find_grid_start, find_layer, find_tower, record_calls, weights_without_gradients
from .prompted_model import PromptedModel
from .token_views import OrderedTokenView, TokenView, first_tensor
from .tower_cut import TowerCut

log = logging.getLogger("multimodal_cam")

PAGE = "docs/add-a-family.md"
ADVICE = f"write its adapter: vision_tower_and_layer, prompt_ids, run_tower, teacher_forced_logits and generate_ids, see {PAGE}"
CUTTING = ("crop_to_patches", "do_image_splitting", "do_pan_and_scan", "image_grid_pinpoints")  # settings that make tiles
NEAR = 1e-3  # by how much logits may differ, as a share of their spread
NEAR_HALF = 0.1  # the same in half precision, with and without a cache


class GenericModel(PromptedModel):
    """A model that nobody wrote an adapter for. What the checks found says how it runs.

    Its `capabilities` are found by running it. The head cannot run alone where something goes around the layer (several layers
    are read, DeepStack): then the whole network runs, overridden there, and what goes around stays the photo's. Rows cannot be
    repeated where photos are packed into one: then they run one by one.
    """

    capabilities = Capabilities(grid_follows_image=True)

    def __init__(self, *parts: Any, **extra: Any) -> None:
        super().__init__(*parts, **extra)
        with evaluation_mode(self.model), torch.no_grad(), torch.random.fork_rng(devices=[]):
            self._check()
        names = {module: name for name, module in self.model.named_modules()}
        runs = "the head runs alone" if self.capabilities.head_runs_alone else "the whole network runs, overridden at the layer"
        runs += "" if self.capabilities.head_rows_in_one_batch else ", row by row"
        self.provenance |= {"adapter": "generic", "tower": names[self.tower], "runs": runs}
        log.warning(
            "no adapter for %s: its vision tower was found at %r, it is explained at layer %r; %s. Check with `multimodal-cam "
            "layers`; %s says how to add a family",
            type(self.model).__name__,
            names[self.tower],
            names[self.layer],
            runs,
            PAGE,
        )

    # ---- what is found -------------------------------------------------------------------------------------------------

    def vision_tower_and_layer(self) -> tuple[nn.Module, nn.Module]:
        if getattr(self.model.config, "is_encoder_decoder", False):
            raise self._refusal(
                "it has an encoder and a decoder of text, and only models whose text follows the prompt are found"
            )
        values = self._process_for_probe(noise_photo())
        device = device_of(self.model)
        self._probe_ids = values["input_ids"].to(device)
        pixels, extra = self.split_processor_output(values, noise_photo())
        pixels = pixels.to(device, dtype_of(self.model))
        inputs = Inputs(pixels, (), self._probe_ids, extra_inputs={k: v.to(device) for k, v in extra.items()})
        self._probe_size = pixels.shape[-2], pixels.shape[-1]
        with (
            evaluation_mode(self.model),
            torch.random.fork_rng(devices=[]),
            weights_without_gradients(self.model),
            torch.enable_grad(),
        ):
            logits, ran = self._record_forward(replace(inputs, pixels=inputs.pixels.detach().clone().requires_grad_()))
            try:
                tower = find_tower(ran, self.model.get_input_embeddings())
                layer, self._grid_layout = find_layer(tower, ran, logits[0, -1].float().max(), self._probe_size)
                with torch.no_grad():
                    self._grid_start = self._find_start(tower, layer, inputs) if self._grid_layout.tokens else 0
            except ValueError as error:
                raise self._refusal(str(error)) from None
        return tower, layer

    def _find_start(self, tower: nn.Module, layer: nn.Module, inputs: Inputs) -> int:
        shortcut, tokens = (
            TowerCut(tower, layer),
            self._grid_layout.shape[0] * self._grid_layout.shape[1] + self._grid_layout.extra,
        )

        def look(pixels: Tensor) -> Tensor:
            seen = first_tensor(shortcut.run_to_layer("found", 1, lambda: self.run_tower(replace(inputs, pixels=pixels))))
            assert seen is not None
            return seen.reshape(tokens, -1).float()

        return find_grid_start(look, inputs.pixels, self._grid_layout)

    def _process_for_probe(self, image: Image.Image) -> dict[str, Tensor]:
        """What the processor makes of a photo and the request. Raises ValueError when that is no prompt with a picture."""
        try:
            values = self._processed(image, self.prompt_text(None))
        except Exception as error:  # somebody's processor may fail in any way
            how = f"{type(self.processor).__name__}(images=, text=) fails ({type(error).__name__}: {error})"
            raise self._refusal(f"its prompt is not made as usual: {how}") from error
        lacking = [name for name in ("input_ids", "pixel_values") if not isinstance(values.get(name), Tensor)]
        if lacking:
            raise self._refusal(f"its processor was to give {' and '.join(lacking)}, and gives {', '.join(sorted(values))}")
        return values

    def _record_forward(self, inputs: Inputs) -> tuple[Tensor, list[ModuleCall]]:
        """The logits of the next word, and how all modules ran."""
        try:
            return record_calls(self.model, lambda: self.teacher_forced_logits(inputs, self._probe_ids[:, :1]))
        except Exception as error:  # somebody's forward may fail in any way
            gave = ", ".join(["input_ids", *self.forward_kwargs(inputs, self._probe_ids)])
            how = f"with {gave} its forward fails ({type(error).__name__}: {error})"
            raise self._refusal(f"it does not take what its processor gives: {how}") from error

    def _check(self) -> None:
        """Whether texts are scored as they are generated; how rows and the head can run. Raises ValueError for what cannot."""
        inputs = self.preprocess([noise_photo()])
        said, logits = self._generate_with_logits(inputs)
        readout, seen = self.readout, []  # the shapes that the vocabulary layer is given
        embeddings, asked = self.question_layer, []  # and those that tokens' embeddings have
        with (
            forward_hooks([] if embeddings is None else [embeddings], lambda _m, _args, out: asked.append(out.shape[:-1])),
            forward_pre_hooks(
                [] if readout is None else [readout], lambda _m, args: seen.append(args[0].shape[:-1] if args else None)
            ),
        ):
            whole = self.teacher_forced_logits(inputs, said)
        if not logits_agree(whole, logits):
            raise self._refusal(
                f"forward(input_ids=prompt and text) gives logits {tuple(whole.shape)}, and these are not what generate() chose "
                f"its {said.shape[1]} tokens by"
            )
        together = self._agrees(lambda: self.teacher_forced_logits(inputs.repeat(2), said.repeat(2, 1)), whole.repeat(2, 1, 1))
        found = self.capabilities = replace(self.capabilities, rows_in_one_batch=together)
        activations = self.layer_activations(inputs)

        def as_it_is(copies: int) -> bool:
            rows = activations.repeat(copies, 1, 1)
            return self._agrees(lambda: self.logits(inputs, said.repeat(copies, 1), rows), whole.repeat(copies, 1, 1))

        ways = (True, True), (True, False), (False, together)
        for way in ways:
            found = self.capabilities = replace(found, head_runs_alone=way[0], head_rows_in_one_batch=way[1])
            if as_it_is(1) and as_it_is(2):
                break
        else:
            raise self._refusal("its logits are others when the layer is given the activations that it has anyhow")
        other = self.layer_activations(self.preprocess([noise_photo()], ["what is there?"]))
        blind = logits_agree(other, activations)
        self.capabilities = replace(
            found,
            tower_ignores_question=blind,
            tower_shared_by_questions=found.head_runs_alone and found.head_rows_in_one_batch and blind,
            question_before_layer=not found.head_runs_alone,
        )
        once = together and found.head_rows_in_one_batch
        if not once or seen != [said.shape]:
            self.readout = None  # it is no readout of just the scored positions
        assert inputs.question_ids is not None
        if not (once and blind) or asked != [(1, inputs.question_ids.shape[1] + said.shape[1] - 1)]:
            self.question_layer = None  # it runs several times, or is not all that reads the question

    def _generate_with_logits(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """A few tokens that the model says, and the logits by which it chose them."""
        assert inputs.question_ids is not None
        options = {"do_sample": False, "num_beams": 1, "max_new_tokens": 3, "min_new_tokens": 3}
        options |= {"output_logits": True, "return_dict_in_generate": True}
        try:
            said = self.model.generate(
                input_ids=inputs.question_ids, **self.forward_kwargs(inputs, inputs.question_ids), **options
            )
        except Exception as error:  # somebody's generate may fail in any way
            raise self._refusal(f"its generate() fails ({type(error).__name__}: {error})") from error
        logits = torch.stack(said.logits, dim=1)
        return said.sequences[:, -logits.shape[1] :], logits

    @staticmethod
    def _agrees(run: Callable[[], Tensor], expected: Tensor) -> bool:
        try:
            return logits_agree(run(), expected)
        except (RuntimeError, ValueError, IndexError, TypeError, AssertionError):
            return False

    def _refusal(self, why: str) -> ValueError:
        return ValueError(f"there is no adapter for {type(self.model).__name__}, and none can be made up: {why}; {ADVICE}")

    # ---- what a family says --------------------------------------------------------------------------------------------

    def prompt_template(self, asked: str) -> str:
        return f"{getattr(self.processor, 'image_token', '')}\n{asked}\n"

    def split_processor_output(self, values: dict[str, Tensor], image: Image.Image) -> tuple[Tensor, dict[str, Tensor]]:
        pixels = values["pixel_values"]
        if pixels.ndim < 4 or pixels.shape[:-2].numel() != 3:
            settings = getattr(self.processor, "images_kwargs", {}), vars(self.image_processor)
            on = [name for name in CUTTING if any(some.get(name) for some in settings)]
            hint = f"; it is cut by {', '.join(on)}: switch that off in the processor, if you can do without" if on else ""
            raise self._refusal(f"pixel_values have the shape {tuple(pixels.shape)}, expected one picture (1, 3, H, W){hint}")
        extra = {}
        for name, value in values.items():
            if name in ("input_ids", "attention_mask", "labels", "pixel_values") or not isinstance(value, Tensor):
                continue
            if value.ndim == 0 or len(value) != 1:
                raise self._refusal(f"{name} have the shape {tuple(value.shape)}, expected one row for the one photo")
            if value.ndim > 3 and value.shape[-3] == 3 and value.is_floating_point():
                raise self._refusal(f"it sees the photo twice, as pixel_values and as {name}")
            extra[name] = value
        return pixels, extra

    def forward_kwargs(self, inputs: Inputs, ids: Tensor) -> dict[str, Tensor]:
        """All that the processor gave; what it says of each token of the prompt goes on through the text, as in `generate`."""
        assert inputs.question_ids is not None
        asked, said = inputs.question_ids.shape[1], ids.shape[1] - inputs.question_ids.shape[1]
        kwargs = {"pixel_values": inputs.pixels, "attention_mask": torch.ones_like(ids)}
        for name, value in inputs.extra_inputs.items():
            if value.ndim == 2 and value.shape[1] == asked:
                last = value[:, -1:].expand(-1, said)
                if name == "position_ids":
                    last = last + torch.arange(1, said + 1, device=value.device)
                value = torch.cat([value, last], dim=1)
            kwargs[name] = value
        return kwargs

    def run_tower(self, inputs: Inputs) -> None:
        asked = (
            self._probe_ids.to(self.device).expand(len(inputs.pixels), -1) if inputs.question_ids is None else inputs.question_ids
        )
        self.teacher_forced_logits(inputs.with_questions(asked), asked[:, :1])

    def teacher_forced_logits(self, inputs: Inputs, ids: Tensor) -> Tensor:
        assert inputs.question_ids is not None
        said, t = torch.cat([inputs.question_ids, ids[:, :-1]], dim=1), ids.shape[1]
        takes = inspect.signature(self.model.forward).parameters
        only = {"logits_to_keep": t} if "logits_to_keep" in takes else {}
        logits: Tensor = self.model(input_ids=said, use_cache=False, **only, **self.forward_kwargs(inputs, said)).logits
        return logits[:, -t:]

    def processed_image(self, values: Any) -> Tensor:
        pixels: Tensor = values["pixel_values"].float()
        return pixels.reshape(3, *pixels.shape[-2:])

    def _unnormalized_image(self, image: Image.Image) -> Tensor:
        plain = {"do_rescale": False, "do_normalize": False, "return_tensors": "pt"}
        return self.processed_image(dict(self.processor(images=image, text=self.prompt_text(None), **plain)))

    def batch_key(self, image: Image.Image, question: str | None) -> Hashable:
        return super().batch_key(image, question) if self.capabilities.rows_in_one_batch else object()

    def baseline_inputs(self, inputs: Inputs) -> Inputs:
        """Nearly 0: some take pictures that are 0 everywhere for padding."""
        blank = super().baseline_inputs(inputs)
        return replace(blank, pixels=blank.pixels.clamp(min=1e-6))

    def baseline_activations(self, inputs: Inputs) -> Tensor:
        return (
            super().baseline_activations(inputs)
            if self.capabilities.tower_ignores_question
            else self.layer_activations(self.baseline_inputs(inputs))
        )

    def layer_view(self, inputs: Inputs, layer: nn.Module) -> TokenView:
        height, width = inputs.pixels.shape[-2:]
        h, w = self._grid_layout.at_size(self._probe_size, (height, width))
        every, start = torch.arange(h * w + self._grid_layout.extra), self._grid_start
        order = torch.cat([every[:start], every[start + h * w :], every[start : start + h * w]])
        return DiscoveredView(self._grid_layout.extra, height / width, (h, w), order)

    # ---- how it runs ---------------------------------------------------------------------------------------------------

    def logits(self, inputs: Inputs, ids: Tensor, activations: Tensor | None = None) -> Tensor:
        ids = ids.clamp(min=0)
        if activations is None and inputs.image_index is None:
            return self._run_rows(self.teacher_forced_logits, self.capabilities.rows_in_one_batch, inputs, ids)
        if activations is None:
            activations = inputs.to_rows(self.layer_activations(inputs))
        run = self._run_head_alone if self.capabilities.head_runs_alone else self._run_whole_network
        return self._run_rows(run, self.capabilities.head_rows_in_one_batch, inputs, ids, activations)

    def _run_rows(self, run: Callable[..., Tensor], together: bool, inputs: Inputs, *rows: Tensor) -> Tensor:
        """`run` on all rows, or on one after the other."""
        if together:
            return run(inputs, *rows)
        inputs, count = inputs.expand_images(), len(rows[0]) if rows else len(inputs)
        each = [run(_single_row(inputs, i % len(inputs)), *(part[i : i + 1] for part in rows)) for i in range(count)]
        return torch.cat(each)

    def _run_head_alone(self, inputs: Inputs, ids: Tensor, activations: Tensor) -> Tensor:
        with self.run_head_from(inputs, activations):
            return self.teacher_forced_logits(placeholder_inputs(inputs, len(ids)), ids)

    def _run_whole_network(self, inputs: Inputs, ids: Tensor, activations: Tensor) -> Tensor:
        view = self.layer_view(inputs, self.layer)
        with overridden_output(self.layer, lambda output: view.inject(activations, output)):
            return self.teacher_forced_logits(inputs.repeat(len(ids) // len(inputs)), ids)

    def layer_activations(self, inputs: Inputs) -> Tensor:
        return self._run_rows(super().layer_activations, self.capabilities.rows_in_one_batch, inputs)

    def _generate_from_layer(self, inputs: Inputs, **options: Any) -> Tensor:
        """The model's own `generate` on whole inputs: nothing is left out."""
        if self.capabilities.rows_in_one_batch:
            return self.generate_ids(inputs, **options)
        said = [self.generate_ids(_single_row(inputs, i), **options)[0] for i in range(len(inputs))]
        return nn.utils.rnn.pad_sequence(said, batch_first=True, padding_value=min(self.stop_ids(), default=0))

    def cache_key(self, inputs: Inputs) -> Hashable:
        small = (
            (name, tuple(value[0].flatten().tolist())) for name, value in inputs.extra_inputs.items() if value[0].numel() < EXTRA
        )
        return super().cache_key(inputs), *small


@dataclass(frozen=True)
class DiscoveredView(OrderedTokenView):
    """The grid that was found: as `OrderedTokenView` for a layer of just as many tokens, else by the photo's proportions."""

    def extract(self, output: Any) -> Tensor:
        return super().extract(output) if self._is_probed_output(output) else TokenView(ratio=self.ratio).extract(output)

    def inject(self, activations: Tensor, output: Any) -> Any:
        other = TokenView(ratio=self.ratio)
        put = super().inject(activations, output) if self._is_probed_output(output) else other.inject(activations, output)
        kwargs, old = first_tensor(put), first_tensor(output)
        if kwargs is None or old is None or kwargs.shape != old.shape:
            raise ValueError(
                f"{len(activations)} rows, where this model runs row by row: look at its own layer, or use a method of one step "
                "('grad_cam')"
            )
        return put

    def _is_probed_output(self, output: Any) -> bool:
        tensor = first_tensor(output)
        return tensor is not None and tensor.ndim < 4 and tensor.shape[:-1].numel() % len(self.order) == 0

    def _layout(self, n: int) -> tuple[int, tuple[int, int]]:
        return super()._layout(n) if n == len(self.order) else TokenView(ratio=self.ratio)._layout(n)


def logits_agree(found: Tensor, expected: Tensor) -> bool:
    """Whether logits are the same, by their own spread, as well as their type can say."""
    if found.shape != expected.shape:
        return False
    real = expected.isfinite()
    difference = torch.where(real, found.double() - expected.double(), 0).norm(dim=-1)
    spread = torch.where(real, expected.double(), 0)
    spread = (spread - spread.mean(dim=-1, keepdim=True)).norm(dim=-1)
    return bool((difference <= (NEAR if expected.dtype in (torch.float32, torch.float64) else NEAR_HALF) * spread).all())


def noise_photo() -> Image.Image:
    """The photo that is looked at while all is found."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8))


def _single_row(inputs: Inputs, i: int) -> Inputs:
    part = slice(i, i + 1)
    question = None if inputs.question_ids is None else inputs.question_ids[part]
    return Inputs(
        inputs.pixels[part], inputs.placements[part], question, extra_inputs={k: v[part] for k, v in inputs.extra_inputs.items()}
    )


GENERIC = FamilySpec(
    name="anything else that is prompted with a photo",
    task="captioning, vqa",
    architectures=(),
    adapter=GenericModel,
    layer="the tower's last that the words depend on, found by a photo of noise",
    grid="what the layer has",
    tokenizer="the checkpoint's own",
    memory="2 GB a billion weights (bfloat16)",
)
