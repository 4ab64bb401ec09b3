"""What each word of a question adds, for the Hugging Face families: the right tokens of the prompt, and shares that add up."""

from __future__ import annotations

import copy

import pytest
import torch
from hf_models import CASES
from networks import noise_image
from test_cli import run

import multimodal_cam as mc
from multimodal_cam.adapters.hf import question_location
from multimodal_cam.core import call_scope
from multimodal_cam.render.html import page
from multimodal_cam.scores import log_prob

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # transformers' own, with NumPy 2
QUESTION = "What colour is the dog?"
WORDS = ["What", "colour", "is", "the", "dog", "?"]
SILENT = ("ved-vit", "ved-swin", "ved-donut", "blip-caption", "pix2struct")  # they take no question, or see it in the picture
PACKED = ("mistral3",)  # its rows run one by one
JUMPY = (
    "gemma3",
    "gemma3n",
    "qwen3.5",
)  # norms behind norms: at embeddings of 0 the score jumps, and no number of nodes is enough
EACH_KIND = ("blip-vqa", "git", "vilt", "florence-2", "llava")
QUESTIONS = [QUESTION, "two dogs", "  Is the dog brown?  ", "assistant", "no", "what's that, a 球 🙂?"]
NAMES = {case.name: case for case in CASES if case.name not in SILENT}


def parameters(*without, quick=NAMES):
    """The cases of these tests but for those `without`; those that are not `quick`, or variants of others, are slow."""
    slow = {name for name, case in NAMES.items() if case.slow or name not in quick}
    return [
        pytest.param(case, id=name, marks=[pytest.mark.slow] * (name in slow))
        for name, case in NAMES.items()
        if name not in without
    ]


def answer(case):
    return case.text if case.chooses else "a dog"


def ask(model, case, question=QUESTION, image=None, **options):
    return mc.explain(model, image or noise_image(0, (96, 48)), question=question, **{"text": answer(case)} | options)


def scaled(model, inputs, ids, factors):
    """The log-probabilities `(t,)` with the embeddings of the question's tokens times `factors`: one forward pass of it all."""
    run = model.question_view(inputs)
    hook = model.question_layer.register_forward_hook(lambda _m, _args, out: run.inject(run.extract(out) * factors, out))
    with torch.no_grad(), call_scope.evaluation_mode(model.module):
        scores = log_prob(model.logits(inputs, ids).to(torch.promote_types(torch.float32, factors.dtype)), ids)[0]
    hook.remove()
    return scores


# ---- which tokens ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", parameters(*PACKED))
def test_the_tokens_are_those_of_the_question(loaded, case):
    model = loaded(case)

    def parts(question):
        """The question's own ids, and the texts before and behind it; None where it was not found."""
        inputs = model.preprocess([noise_image(0, (96, 48))], [question])
        if inputs.question_slice is None:
            return None
        ids, (start, stop) = inputs.question_ids[0].tolist(), inputs.question_slice
        return ids[start:stop], *(model.loaded.tokenizer.decode(part).strip() for part in (ids[:start], ids[stop:]))

    _, *expected = parts("two red balls ?")  # what is left of the prompt with any question
    for question in QUESTIONS:
        found = parts(question)
        if found is None:
            assert case.name == "idefics2"  # its processor puts a space before the question: its first token may be another
            continue
        own, *around = found
        assert around == expected
        if model.loaded.text.unknown_id not in own:
            said = model.loaded.tokenizer.decode(own).replace(" ", "")
            assert said in (question.replace(" ", ""), question.replace(" ", "").lower())
        spans = model.question_spans(question)
        assert "".join(span.text for span in spans) == question.replace(" ", "")
        assert [i for span in spans for i in range(span.start, span.stop)] == list(range(len(own)))


def test_words_that_the_model_reads_as_unknown_are_marked(loaded):
    e = ask(loaded(NAMES["blip-vqa"]), NAMES["blip-vqa"], "is the 🙂 brown?")
    assert [word.text for word in e.question_words if not word.known] == ["🙂"]


def test_a_tokenizer_that_knows_no_places_finds_the_same(loaded, monkeypatch):
    case = NAMES["llava"]
    model = loaded(case)
    fast = ask(model, case)
    monkeypatch.setattr(type(model.loaded.tokenizer), "is_fast", False)
    assert ask(model, case).question_words == fast.question_words


@pytest.mark.parametrize("name", ["llava", "git", "florence-2"])
def test_without_a_question_there_are_no_words_of_one(loaded, name):
    e = ask(loaded(NAMES[name]), NAMES[name], None)
    assert e.question_words == ()
    assert e.token_question is None


def test_what_the_processor_rewrites_has_no_shares(loaded):
    case = NAMES["florence-2"]
    e = ask(loaded(case), case, "<DETAILED_CAPTION>")  # a task: its own sentence stands in the prompt
    assert e.question_words == ()
    assert "<ul" not in page([e])


@pytest.mark.parametrize("name", ["vilt", pytest.param("mistral3", marks=pytest.mark.slow), "llava"])
def test_embeddings_that_do_not_run_once_have_none(loaded, name):
    """Rather none than wrong ones."""
    model = loaded(NAMES[name])
    assert (model.question_layer is None) == (name in PACKED)


BEFORE, FILLED = "user : ", "user : dog dog ? assistant dog ?"


def word_by_word(text):
    """A tokenizer: a token a word, whose id is its length, and its place in the text."""
    placed, at = [], 0
    for word in text.split(" "):
        placed.append((at, at + len(word)))
        at += len(word) + 1
    return [len(word) for word in text.split(" ")], placed


@pytest.mark.parametrize(
    ("question", "before", "filled", "run"),
    [
        ("dog ?", BEFORE, "user : dog ? assistant", (2, 4)),
        ("dog ?", BEFORE, FILLED, None),  # three times in it, and none of them where the template puts questions
        ("dog dog ?", BEFORE, FILLED, (2, 5)),
        ("assistant", BEFORE, "user : assistant assistant", (2, 3)),  # the word that the template has, too
        (" dog ", "user :", "user : dog assistant", (2, 3)),  # a template that trims
        ("<tag> dog", "Question: ", "<tag> dog", (0, 2)),  # a template that leaves some as they are
        ("og ? assis", BEFORE, "user : dog ? assistant", (2, 5)),  # tokens that reach over its ends
        ("cat", BEFORE, "user : dog assistant", None),
    ],
)
def test_a_question_is_found_where_the_template_puts_it(question, before, filled, run):
    found = question_location.locate(question, before, filled, *word_by_word(filled))
    assert (found and (found.start, found.stop)) == run
    if found:
        assert found.text == question.strip()


@pytest.mark.parametrize(
    ("prompt", "run"),
    [
        ([0, 9, 9, 9, 1, 2, 3, 4], (4, 6)),  # the photo's tokens before it
        ([0, 1, 2, 3, 9, 9, 9, 4], (1, 3)),  # behind it
        ([0, 9, 9, 1, 2, 3, 9, 9, 4], (3, 5)),  # on both sides
        ([0, 9, 9, 1, 2, 9, 1, 2, 3, 9, 9, 4], None),  # and it comes twice
        ([0, 9, 5, 2, 3, 4, 4], None),  # the processor says it in other words
        ([1], None),
    ],
)
def test_its_tokens_are_found_among_those_of_the_photo(prompt, run):
    asked = question_location.QuestionLocation((0, 1, 2, 3, 4), 1, 3, "two words", ((0, 3), (4, 9)))
    assert asked.slice_in_prompt(prompt) == run


# ---- what they add ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", parameters(*PACKED, *JUMPY, quick=EACH_KIND))
def test_the_words_add_up_to_what_the_question_changes(loaded, case):
    """Two forward passes say by how much: one as it is, one with the question's embeddings 0."""
    model = loaded(case)
    e = ask(model, case, method="evidence", score="log_prob", n_steps=192)
    inputs, ids = model.preprocess([noise_image(0, (96, 48))], [QUESTION]), model.tokenize([answer(case)])
    one = torch.ones(1)
    change = scaled(model, inputs, ids, one) - scaled(model, inputs, ids, 0 * one)
    torch.testing.assert_close(e.token_question.sum(dim=1), change, rtol=0.02, atol=5e-3)
    assert [word.text for word in e.question_words] == WORDS
    assert sum(word.share for word in e.question_words) == pytest.approx(change.sum().item(), rel=0.02, abs=0.01)
    assert change.abs().max() > 0.01


@pytest.fixture
def default_float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", ["blip-vqa", "git", "vilt", "blip-2", "florence-2"])
def test_a_share_is_the_slope_along_its_tokens_embedding(loaded, default_float64, name):
    case, model = NAMES[name], loaded(NAMES[name])
    model = mc.load(copy.deepcopy(model.module).double(), processor=model.loaded.processor)
    e = ask(model, case, score="log_prob")
    inputs, ids = model.preprocess([noise_image(0, (96, 48))], [QUESTION]), model.tokenize([answer(case)])
    q, step = e.token_question.shape[1], 1e-5
    for i in range(q):
        nudge = step * torch.eye(q, dtype=torch.float64)[i][:, None]
        slope = (scaled(model, inputs, ids, 1 + nudge) - scaled(model, inputs, ids, 1 - nudge)) / (2 * step)
        torch.testing.assert_close(e.token_question[:, i].double(), slope, rtol=1e-4, atol=1e-6)
    assert e.token_question.abs().max() > 1e-3


@pytest.mark.parametrize("case", parameters(*PACKED, quick=EACH_KIND))
def test_questions_and_photos_together_are_as_each_alone(loaded, case):
    model = loaded(case)
    wide, other = noise_image(0, (96, 48)), noise_image(1, (96, 48))
    rows = [(wide, QUESTION), (other, "What colour is the dog ?"), (wide, "two dogs?"), (noise_image(2, (48, 96)), QUESTION)]
    rows += [(wide, "What colour is the ball?"), (other, QUESTION)]
    options = {"text": answer(case), "method": "evidence", "n_steps": 4}
    together = mc.explain(model, [image for image, _ in rows], question=[question for _, question in rows], **options)
    for (image, question), one in zip(rows, together, strict=True):
        alone = mc.explain(model, image, question=question, **options)
        assert [word.text for word in one.question_words] == [word.text for word in alone.question_words]
        size = alone.token_question.abs().max().item()
        torch.testing.assert_close(one.token_question, alone.token_question, rtol=2e-3, atol=2e-3 * size)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("llava", "model.vision_tower.embeddings.patch_embedding"),
        ("blip-vqa", "vision_model.encoder.layers.0"),
        ("vilt", "vilt.encoder.layer.0.layernorm_before"),
    ],
)
def test_the_shares_are_the_same_whatever_layer_the_map_is_of(loaded, name, layer):
    case, model = NAMES[name], loaded(NAMES[name])
    there = ask(model, case, layer=layer)
    torch.testing.assert_close(there.token_question, ask(model, case).token_question, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("method", ["grad_cam_pp", "hires_cam"])
def test_words_that_the_model_says_itself_have_shares_too(loaded, method):
    case, model = NAMES["llava"], loaded(NAMES["llava"])
    e = ask(model, case, text=None, method=method, max_new_tokens=4)
    assert e.token_question.shape == (len(e.tokens), 7)
    again = ask(model, case, text=e.text, method=method)
    if again.tokens == e.tokens:
        torch.testing.assert_close(again.token_question, e.token_question, rtol=1e-3, atol=1e-5)


def test_they_are_saved_and_shown(loaded, tmp_path):
    case, model = NAMES["llava"], loaded(NAMES["llava"])
    e = ask(model, case, method="evidence")
    again = mc.Explanation.load(e.save(tmp_path / "answer"))
    assert again.question_words == e.question_words
    html = page([e])
    assert all(f"<span>{word}</span>" in html for word in WORDS[:4])
    assert html.count("data-share=") >= len(WORDS)


def test_the_command_line_tells_them(checkpoints, tmp_path):
    noise_image(0, (96, 48)).save(tmp_path / "photo.png")
    done = run("vqa", tmp_path / "photo.png", QUESTION, "--model", checkpoints("llava"), "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert any(line.startswith("the question's words add, in nats: What ") for line in done.stdout.splitlines())
    assert 'class="words asked"' in (tmp_path / "out" / "index.html").read_text()
