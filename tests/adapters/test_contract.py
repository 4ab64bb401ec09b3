"""What the engine asks of an adapter that may, or may not, have more than the minimum."""

import pytest
from networks import noise_image, small_captioner

from multimodal_cam.adapters.contract import group_by_batch_key


@pytest.mark.parametrize(("count", "groups"), [(0, []), (1, [[0]]), (3, [[0, 1, 2]])])
def test_rows_of_an_adapter_without_batch_keys_run_together(count, groups):
    assert group_by_batch_key(small_captioner(), [(noise_image(i), None) for i in range(count)]) == groups


def test_rows_with_equal_batch_keys_run_together_in_the_order_of_their_first():
    model = small_captioner()
    model.batch_key = lambda image, question: (image.width, question and len(question))
    wide, narrow = noise_image(0).resize((8, 6)), noise_image(1).resize((4, 6))
    rows = [(wide, "who?"), (narrow, "who?"), (wide, "what?"), (wide, "how?"), (narrow, None), (wide, "who?")]
    assert group_by_batch_key(model, rows) == [[0, 3, 5], [1], [2], [4]]
