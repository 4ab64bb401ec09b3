"""Greedy decoding and beam search of captioners of one's own: against all texts there are, alone and in batches."""

from __future__ import annotations

import itertools

import pytest
import torch
from networks import WORDS, Decoder, Encoder, FusedDecoder, noise_image, planted_captioner, small_captioner
from torch import nn

import multimodal_cam as mc

PHOTO = noise_image()
BOS, EOS, UNK = 0, 1, 2
SAYABLE = range(3, len(WORDS))


def best_text(model, photo, longest, penalty, rows=1000):
    """The best of all texts: those that end within `longest` tokens, and those that are cut off there."""
    model.module.eval()
    best, inputs = (-torch.inf, []), model.preprocess([photo])
    for count in range(1, longest + 1):
        texts = torch.tensor([*itertools.product(SAYABLE, repeat=count)])
        end = torch.full((len(texts), 1), EOS)
        ids = texts if count == longest else torch.cat([texts, end], dim=1)  # one that is cut off has no end token
        with torch.no_grad():
            logits = torch.cat([model.logits(inputs.repeat(len(part)), part) for part in ids.split(rows)])
        scores = model.outputs.log_probs(logits).gather(-1, ids[..., None]).sum(dim=(1, 2)) / ids.shape[1] ** penalty
        best = max(best, (float(scores.max()), texts[scores.argmax()].tolist()))
    return best[1]


def said(model, photos=PHOTO, **options):
    model.module.eval()
    photos = photos if isinstance(photos, list) else [photos]
    return model.generate(model.preprocess(photos), **options).tolist()


@pytest.mark.parametrize("decoder", [Decoder, FusedDecoder])
@pytest.mark.parametrize("penalty", [0.0, 0.7, -1.0])
def test_a_wide_beam_finds_the_best_of_all_texts(decoder, penalty):
    for seed in range(2):
        model = small_captioner(seed, decoder=decoder(), cuts=False)
        (found,) = said(model, beam=60, length_penalty=penalty, max_words=3)
        assert found == best_text(model, PHOTO, 3, penalty), seed


class Narrow(nn.Module):
    """A decoder whose tokens depend on the photo and the tokens before in a table, so that a search by hand can follow."""

    def __init__(self, table):
        super().__init__()
        self.table = nn.Parameter(table)  # (v + 1, v): the row is the token before, the last one is the start

    def forward(self, features, ids):
        start = torch.full_like(ids[:, :1], len(self.table) - 1)
        before = torch.cat([start, ids[:, :-1]], dim=1)
        return self.table[before] + 0 * features.mean(dim=(1, 2, 3))[:, None, None]


def searched_by_hand(table, beam, penalty, longest):
    """A search in plain lists: each prefix with its log-probability; what ends leaves, what does not is cut off."""
    logs = table.log_softmax(-1).tolist()
    live, finished = [(0.0, ())], []
    for count in range(longest):
        grown = []
        for score, words in live:
            row = logs[words[-1] if words else len(table) - 1]
            if words:
                finished.append(((score + row[EOS]) / (count + 1) ** penalty, words))
            grown += [(score + row[word], (*words, word)) for word in SAYABLE]
        live = sorted(grown, reverse=True)[:beam]
    return list(max(finished + [(score / longest**penalty, words) for score, words in live])[1])


@pytest.mark.parametrize("beam", [2, 3, 5])
def test_the_search_is_that_of_the_books(beam):
    for seed in range(4):
        table = 3 * torch.randn(len(WORDS) + 1, len(WORDS), generator=torch.Generator().manual_seed(seed))
        model = mc.captioner(
            encoder=Encoder(), decoder=Narrow(table), tokenizer=WORDS, bos=BOS, eos=EOS, unk=UNK, image_size=32, max_words=6
        )
        for penalty in (0.0, 0.7, 1.5):
            assert said(model, beam=beam, length_penalty=penalty) == [searched_by_hand(table, beam, penalty, 6)]


def test_a_beam_of_one_is_greedy():
    model = small_captioner(3)
    with torch.no_grad():
        words = []
        while len(words) < 8:
            logits = model.logits(model.preprocess([PHOTO]), torch.tensor([[*words, 0]]))[0, -1]
            logits[[BOS, UNK, *([EOS] if not words else [])]] = -torch.inf
            if int(logits.argmax()) == EOS:
                break
            words.append(int(logits.argmax()))
    assert said(model) == said(model, beam=1) == said(model, beam=None) == [words]


def test_photos_together_and_alone():
    model, photos = small_captioner(1), [noise_image(i) for i in range(4)]
    photos.append(photos[0])  # the same image twice shares its pass through the encoder
    together = said(model, photos, beam=3)
    for photo, row in zip(photos, together, strict=True):
        assert said(model, photo, beam=3) == [[i for i in row if i >= 0]]
    assert together == said(model, photos, beam=3)


class OneRow(Decoder):
    """A decoder that was written for one photo."""

    def forward(self, features, ids):
        if len(features) > 1:
            raise RuntimeError("one photo, please")
        return super().forward(features, ids)


class Mixing(Decoder):
    """A decoder whose rows act on each other."""

    def forward(self, features, ids):
        logits = super().forward(features, ids)
        return logits + logits.mean(dim=0, keepdim=True)


@pytest.mark.parametrize("kind", [OneRow, Mixing])
def test_decoders_that_take_no_batches_run_row_by_row(kind):
    model = small_captioner(decoder=kind())
    (found,) = said(model, beam=60, max_words=2)
    assert found == best_text(model, PHOTO, 2, 0.7, rows=1)


class Several(Encoder):
    """Cells beside a vector, in a dict."""

    def forward(self, pixels):
        grid = super().forward(pixels)
        return {"grid": grid, "mean": grid.mean(dim=(2, 3))}


class ReadsSeveral(Decoder):
    def forward(self, features, ids):
        return super().forward(features["grid"] + features["mean"][..., None, None], ids)


class VectorEncoder(nn.Module):
    """`(b, 3, 32, 32)` -> `(b, 6)`, without cells."""

    def __init__(self):
        super().__init__()
        self.cnn = Encoder()

    def forward(self, pixels):
        return self.cnn(pixels).mean(dim=(2, 3))


class ReadsVector(Decoder):
    def __init__(self):
        super().__init__()
        self.pool = nn.Identity()


@pytest.mark.parametrize(
    ("encoder", "decoder", "options"),
    [(Several, ReadsSeveral, {"layer": "encoder.last"}), (VectorEncoder, ReadsVector, {"layer": "encoder.cnn"})],
)
def test_features_of_any_kind(encoder, decoder, options):
    torch.manual_seed(0)
    parts = {"encoder": encoder(), "decoder": decoder(), "tokenizer": WORDS, "bos": BOS, "eos": EOS, "unk": UNK}
    model = mc.captioner(image_size=32, max_words=4, **parts)
    other = noise_image(1)
    found = mc.explain(model, [PHOTO, other, PHOTO], beam=3, **options)
    assert [one.text for one in found] == [mc.explain(model, photo, beam=3, **options).text for photo in (PHOTO, other, PHOTO)]


@pytest.mark.parametrize("outputs", ["log_probs", "probabilities", "sigmoid"])
def test_outputs_of_any_kind(outputs):
    last = {"log_probs": nn.LogSoftmax(-1), "probabilities": nn.Softmax(-1), "sigmoid": nn.Sigmoid()}[outputs]
    inner = Decoder()

    class Ending(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.last = inner, last

        def forward(self, features, ids):
            return self.last(self.inner(features, ids))

    model = small_captioner(decoder=Ending(), cuts=False, outputs=outputs)
    (found,) = said(model, beam=60, max_words=2)
    assert found == best_text(model, PHOTO, 2, 0.7)


@pytest.mark.parametrize("beam", [2, 5, 50])
def test_limits(beam):
    model = small_captioner()
    for longest in (1, 2, 20):
        (row,) = said(model, beam=beam, max_words=longest)
        assert 1 <= len(row) <= min(longest, 8)
        assert not {BOS, EOS, UNK} & set(row)


def test_a_search_explains_as_a_text_does():
    model = small_captioner(1)
    found = mc.explain(model, PHOTO, beam=3, length_penalty=0.7)
    again = mc.explain(model, PHOTO, text=found.text)
    torch.testing.assert_close(found.token_maps, again.token_maps)
    assert found.text == mc.explain(model, PHOTO, beam=3, length_penalty=0.7).text


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"beam": 0}, ValueError, r"beam: expected an integer from 1 \(greedy\) to 1000, got 0"),
        ({"beam": 2.0}, TypeError, "beam: expected an integer"),
        ({"beam": 3, "length_penalty": float("nan")}, ValueError, "length_penalty: expected a number from -100 to 100, got nan"),
        ({"max_words": 0}, ValueError, "max_words: expected 1 or more, got 0"),
        ({"max_words": 2.5}, TypeError, "max_words: expected an integer of 1 or more, got 2.5"),
        ({"top_k": 3}, ValueError, "has no top_k=: the options of its decoder are max_words=, beam=, length_penalty="),
    ],
)
def test_what_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        mc.explain(small_captioner(), PHOTO, **options)


def test_a_captioner_without_an_end_token():
    with pytest.raises(ValueError, match="has no end token: pass text="):
        mc.explain(planted_captioner(), PHOTO, beam=3)
