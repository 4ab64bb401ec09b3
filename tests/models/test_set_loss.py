"""The set loss by hand, and what training by it does to cells."""

import math

import pytest
import torch
from torch.nn import functional as F

from multimodal_cam.models.training.caption_corpus import noun_phrases
from multimodal_cam.models.training.set_loss import PHRASE_WEIGHT, TEMPERATURE, PhraseWeights, phrase_scores, set_loss
from multimodal_cam.models.vocabulary import Vocabulary

WORDS = Vocabulary(("<eos>", "<bos>", "<unk>", "a", "black", "dog", "runs", "in", "snow", "two", "girls"))


def test_a_phrase_is_scored_by_the_smooth_maximum_over_cells():
    cells = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])  # one photo of two cells, along either axis
    scores = phrase_scores(cells, torch.tensor([[1.0, 0.0]]))
    assert scores.item() == pytest.approx(math.log((math.exp(1 / TEMPERATURE) + 1) / 2))


def test_the_loss_by_hand():
    torch.manual_seed(0)
    cells, table = F.normalize(torch.randn(2, 4, 1, 3), dim=1), torch.randn(11, 4)
    weights = PhraseWeights(11)
    with torch.no_grad():
        weights.gate[5] = 1.0
        weights.scale.fill_(2.0)
    captions = [[[4, 5], [8]], [[10]]]
    vectors = F.normalize(torch.stack([table[4] + table[5], table[8], table[10]]), dim=1)
    s = 2.0 * phrase_scores(cells, vectors)
    share = torch.tensor([0.5, 0.0]).softmax(dim=0)  # the mean gate of each phrase
    captions_by_photo = torch.stack([share[0] * s[0] + share[1] * s[1], s[2]])
    own = torch.arange(2)
    both = (F.cross_entropy(captions_by_photo, own) + F.cross_entropy(captions_by_photo.T, own)) / 2
    expected = both + PHRASE_WEIGHT * F.cross_entropy(s, torch.tensor([0, 0, 1]))
    torch.testing.assert_close(set_loss(cells, captions, table, weights), expected)


def test_cells_find_words_that_were_never_placed():
    """Each photo holds one thing somewhere; captions name it, nobody says where: its cell becomes the word's."""
    generator = torch.Generator().manual_seed(0)
    looks = F.normalize(torch.randn(4, 8, generator=generator), dim=1)  # how four things look
    table, project = torch.nn.Parameter(torch.randn(4, 8, generator=generator)), torch.nn.Linear(8, 8)
    weights = PhraseWeights(4)
    optimizer = torch.optim.Adam([table, *project.parameters(), *weights.parameters()], lr=0.02)

    def photos(things, places):
        features = 0.15 * torch.randn(len(things), 9, 8, generator=generator)
        features[torch.arange(len(things)), places] += looks[things]
        return F.normalize(project(features), dim=2).transpose(1, 2).unflatten(2, (3, 3))

    for _ in range(150):
        things, places = torch.randperm(4, generator=generator), torch.randint(9, (4,), generator=generator)
        optimizer.zero_grad()
        set_loss(photos(things, places), [[[int(t)]] for t in things], table, weights).backward()
        optimizer.step()
    things, places = torch.arange(4).repeat(25), torch.randint(9, (100,), generator=generator)
    with torch.no_grad():
        maps = torch.einsum("bdn,bd->bn", photos(things, places).flatten(2), F.normalize(table, dim=1)[things])
    assert (maps.argmax(dim=1) == places).float().mean() > 0.9


def test_noun_phrases_of_known_words_that_say_something():
    captions = [[["a", "black", "dog", "runs", "in", "snow"]], [["two", "girls"], ["a"]]]
    said = [[[[WORDS.words[i] for i in p] for p in caption] for caption in photo] for photo in noun_phrases(captions, WORDS)]
    assert said == [[[["black", "dog"], ["snow"]]], [[["girls"]]]]
