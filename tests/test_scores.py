"""Scores by hand."""

import math

import pytest
import torch

from multimodal_cam.scores import SCORES, contrast_with, log_prob, logit, most_likely_others, refuse_mixing

LOGITS = torch.log(torch.tensor([[[1.0, 2.0, 5.0], [6.0, 1.0, 1.0]]]))  # softmax: /8
IDS = torch.tensor([[1, 0]])


def test_by_hand():
    torch.testing.assert_close(log_prob(LOGITS, IDS), torch.tensor([[math.log(2 / 8), math.log(6 / 8)]]))
    torch.testing.assert_close(logit(LOGITS, IDS), torch.tensor([[math.log(2), math.log(6)]]))
    assert most_likely_others(LOGITS, IDS).tolist() == [[2, 1]]
    torch.testing.assert_close(
        contrast_with(torch.tensor([[2, 1]]))(LOGITS, IDS), torch.tensor([[math.log(2 / 5), math.log(6 / 1)]])
    )


def test_rivals_stay_what_they_were_at_the_photo():
    score = SCORES["contrast"].resolve(LOGITS, IDS)
    elsewhere = LOGITS.flip(-1).repeat(3, 1, 1)
    expected = elsewhere[:, 0, 1] - elsewhere[:, 0, 2]
    torch.testing.assert_close(score(elsewhere, IDS.repeat(3, 1))[:, 0], expected)


def test_padding_is_finite():
    for spec in SCORES.values():
        ids = torch.tensor([[1, -1]])
        assert spec.resolve(LOGITS, ids)(LOGITS, ids).isfinite().all()


def test_scores_that_the_engine_cannot_take():
    refuse_mixing(log_prob, LOGITS, IDS)
    with pytest.raises(ValueError, match="its own position only"):
        refuse_mixing(lambda logits, ids: log_prob(logits, ids).flip(1), LOGITS, IDS)
    with pytest.raises(ValueError, match=r"one differentiable number a token, shape \(1, 2\), got shape \(1,\)"):
        refuse_mixing(lambda logits, ids: log_prob(logits, ids).sum(1), LOGITS, IDS)
    with pytest.raises(ValueError, match="differentiable"):
        refuse_mixing(lambda logits, ids: log_prob(logits, ids).detach(), LOGITS, IDS)
