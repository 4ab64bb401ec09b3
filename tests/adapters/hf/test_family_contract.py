"""The contract's finer points: what is drawn at random, words of all tokenizers, every cell of a map, evidence in its place."""

from __future__ import annotations

import re

import pytest
import torch
from hf_models import CASES, forced_tokens, parameters
from networks import noise_image
from PIL import Image

import multimodal_cam as mc
from multimodal_cam.core import call_scope
from multimodal_cam.core.geometry import place
from multimodal_cam.scores import log_prob

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # transformers' own, with NumPy 2
SHAPES = {"wide": (96, 48), "tall": (48, 96), "square": (64, 64)}


@pytest.fixture(params=parameters())
def case(request):
    return request.param


@pytest.fixture
def model(case, loaded):
    return loaded(case)


# ---- what the model says ---------------------------------------------------------------------------------------------------

SAMPLED = {"do_sample": True, "top_k": 5, "temperature": 0.7}
WAYS = {"sampled": SAMPLED, "beams": {"num_beams": 3}}


def spoken(model, case, image, **options):
    """What people get of `generate`: the text's ids `(t,)`, and the logits `(t, v)` they were chosen by, before processors."""
    if case.ask is not None:
        asked = case.ask(model.loaded.processor, image, case.question)
    else:
        asked = {"pixel_values": model.loaded.image_processor([image], return_tensors="pt").pixel_values}
    forced = forced_tokens(model)
    length = {"max_new_tokens": 6 + forced, "min_new_tokens": 1 + forced}
    said = model.module.generate(**asked, **length, **options, output_logits=True, return_dict_in_generate=True)
    beams = getattr(said, "beam_indices", None)
    rows = [0] * len(said.logits) if beams is None else beams[0, : len(said.logits)].tolist()
    count = next((i for i, row in enumerate(rows) if row < 0), len(rows))
    prompt = said.sequences.shape[1] - (len(said.logits) if beams is None else beams.shape[1])
    ids = said.sequences[0, prompt:][forced:count]
    return ids, torch.stack([said.logits[i][rows[i]] for i in range(forced, count)])


@pytest.mark.parametrize("way", WAYS)
def test_it_is_scored_as_the_generator_scores_it(model, case, way):
    """Sampled captions and beams: no temperature, `top_k` or penalty shows; what is drawn comes from the state that was set."""
    if case.chooses:
        pytest.skip("an answer out of a list is not decoded")
    image, options = noise_image(3, SHAPES["tall"]), WAYS[way]
    ours = {"beam": 3} if way == "beams" else options
    if way == "beams" and not case.beams:
        with pytest.raises(ValueError, match="beam: "):
            mc.explain(model, image, question=case.question, **ours)
        return
    torch.manual_seed(5)
    ids, logits = spoken(model, case, image, **options)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    e = mc.explain(model, image, question=case.question, max_new_tokens=6, **ours)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert model.tokens(ids.tolist())[: len(e.tokens)] == list(e.tokens)
    own = log_prob(logits[None].float(), ids[None])[0, : len(e.tokens)]
    torch.testing.assert_close(e.token_log_probs, own, rtol=1e-3, atol=1e-4)


# ---- words -----------------------------------------------------------------------------------------------------------------

TOKENIZERS = {"byte-level BPE": "ved-vit", "SentencePiece with bytes": "llava", "WordPiece": "blip-caption"}
WORDS = {
    "two dogs don't play , a dog's ball": ["two", "dogs", "don't", "play", ",", "a", "dog's", "ball"],
    "一只狗 and 一只猫 run": ["一", "只", "狗", "and", "一", "只", "猫", "run"],
    "a 🐶 and a 👍🏽 👨‍👩‍👧 .": ["a", "🐶", "and", "a", "👍🏽", "👨‍👩‍👧", "."],
    "dog, dog. dog": ["dog", ",", "dog", ".", "dog"],
    "…“dog” — it’s (red)": ["…", "“", "dog", "”", "—", "it’s", "(", "red", ")"],
    "T-shirt 3.5 1,000 naïve café": ["T-shirt", "3.5", "1,000", "naïve", "café"],
}


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("text", WORDS)
def test_words_of_a_users_text(loaded, tokenizer, text):
    case = next(case for case in CASES if case.name == TOKENIZERS[tokenizer])
    model, options = loaded(case), {"text": text, "question": case.question}
    e = mc.explain(model, noise_image(), **options, unknown="unk")
    assert [word.text for word in e.words] == WORDS[text]
    assert e.text == text
    assert [i for word in e.words for i in range(word.start, word.stop)] == list(range(len(e.tokens)))
    for i, word in enumerate(e.words):
        expected = e.token_maps[word.start : word.stop].sum(dim=0) * (1 if word.known else torch.nan)
        torch.testing.assert_close(e[i].map, expected, equal_nan=True)
        places = [j for j, other in enumerate(e.words) if other.text.lower() == word.text.lower()]
        if len(places) == 1:
            assert e.find(word.text) == word
        else:
            with pytest.raises(mc.WordError, match=f"one of {', '.join(map(str, places))}$"):
                e[word.text]
    unknown = [word.text for word in e.words if not word.known]
    assert not unknown or tokenizer == "WordPiece"
    if unknown:
        with pytest.raises(mc.UnknownWordError, match=re.escape(", ".join(map(repr, unknown)))):
            mc.explain(model, noise_image(), **options)


# ---- every cell of a map ---------------------------------------------------------------------------------------------------


def ranks(values):
    return values.flatten().argsort().argsort().double()


def test_a_cells_number_is_what_its_activations_do(model, case):
    """Evidence with one node is the slope of the score, half way to the photo, as one cell alone goes on: sign, size and rank.

    Not HiResCAM, the slope as a cell's activations grow: it is 0 everywhere where a norm follows the layer, as in most families.
    """
    photo, step = noise_image(1, SHAPES["wide"]), 1e-2
    e = mc.explain(model, photo, text=case.text, question=case.question, method="evidence", score="log_prob", n_steps=1)
    inputs = model.preprocess([photo], [case.question] if case.question else None)
    ids = model.tokenize([case.text])
    with torch.no_grad(), call_scope.evaluation_mode(model.module):
        baseline = model.baseline_activations(inputs)
        way = model.layer_activations(inputs) - baseline
        view = model.layer_view(inputs, model.layer)
        h, w = view.cells(way).shape[-2:]
        cells = range(way.shape[1] - h * w, way.shape[1])
        sides = []
        for sign in (1, -1):
            points = (baseline + way / 2).repeat(h * w, 1, 1)
            points[range(h * w), cells] += sign * step * way[0, cells]
            logits = model.logits(inputs, ids.repeat(h * w, 1), points)
            sides.append(log_prob(logits.double(), ids.repeat(h * w, 1)).sum(dim=1))
    slopes = view.to_image(((sides[0] - sides[1]) / (2 * step)).view(1, h, w))[0]
    found = e.whole().map.double()
    assert torch.corrcoef(torch.stack([ranks(found), ranks(slopes)]))[0, 1] > 0.99
    assert (found - slopes).norm() < 0.1 * slopes.norm()
    large = slopes.abs() > 0.1 * slopes.abs().max()
    assert torch.equal(found[large].sign(), slopes[large].sign())


# ---- evidence in its place -------------------------------------------------------------------------------------------------


def planted(size, quadrant, colour):
    """A photo of one colour, but for a coarse texture in one quadrant, as far as no cell of another one sees its edge."""
    photo, (width, height) = Image.new("RGB", size, colour), size
    texture = noise_image(4, (6, 6)).resize((width * 3 // 8, height * 3 // 8), Image.Resampling.NEAREST)
    photo.paste(texture, (quadrant % 2 * (width - texture.width), quadrant // 2 * (height - texture.height)))
    return photo


@pytest.mark.parametrize("shape", SHAPES)
def test_evidence_lies_where_something_was_planted(model, case, shape):
    if not case.grey:
        pytest.skip("its tower sees what little a grey photo has as it sees any photo")
    size = SHAPES[shape]
    processor = model.loaded.image_processor
    mean = getattr(processor, "image_mean", None) if getattr(processor, "do_normalize", True) else None
    colour = tuple(round(255 * m) for m in mean or (0.5, 0.5, 0.5))
    texts = [case.text if case.chooses else "a dog"] * 2
    photos = [planted(size, quadrant, colour) for quadrant in (0, 1)]  # two tell all turns and mirrorings apart
    found = mc.explain(model, photos, text=texts, question=case.question, method="evidence", score="log_prob", n_steps=2)
    for quadrant, e in enumerate(found):
        drawn = place(e.maps.abs().sum(dim=0)[None], e.placement, mode="nearest")[0]
        masses = [half.sum().item() for row in drawn.chunk(2, dim=0) for half in row.chunk(2, dim=1)]
        assert masses.index(max(masses)) == quadrant
