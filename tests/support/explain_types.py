"""What a type checker must say of `explain`: mypy reads this file, nothing runs it (see `tests/test_types.py`)."""

from typing import Any, assert_type

import multimodal_cam as mc
from multimodal_cam import Explanation, Failure


def kinds(model: mc.TaskAdapter, photos: list[Any]) -> None:
    assert_type(mc.explain(model, "a.jpg"), Explanation)
    assert_type(mc.explain(model, "a.jpg", beam=3, length_penalty=0.7, on_error="raise"), Explanation)
    assert_type(mc.explain(model, photos), list[Explanation])
    assert_type(mc.explain(model, "a.jpg", question=["what?", "where?"]), list[Explanation])
    assert_type(mc.explain(model, "a.jpg", text=["a dog", "a cat"]), list[Explanation])
    assert_type(mc.explain(model, photos, on_error="skip"), list[Explanation | Failure])
    assert_type(mc.explain(model, ("a.jpg", "b.jpg"), method="grad_cam", on_error="skip"), list[Explanation | Failure])
    assert_type(mc.explain(model, "a.jpg", question=["what?"], on_error="skip"), list[Explanation | Failure])
    assert_type(mc.explain(model, "a.jpg", text=["a dog"], on_error="skip"), list[Explanation | Failure])
    assert_type(mc.explain(model, "a.jpg", on_error="skip"), Explanation | Failure)
    for one in mc.explain(model, photos, on_error="skip"):
        if isinstance(one, Failure):
            assert_type(one.error, Exception)
        else:
            assert_type(one.text, str)
