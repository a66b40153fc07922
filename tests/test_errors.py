"""The error tree: whole in its drawing, and whole after crossing a process."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator

import pytest

from deployments import errors
from deployments.errors import RagserveError
from serve_app.problems import STATUSES, problem_of


def tree(root: type[RagserveError]) -> Iterator[type[RagserveError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child)


CLASSES = list(tree(RagserveError))


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_survives_the_way_to_another_process(cls: type[RagserveError]) -> None:
    sent = cls("what went wrong", retry_after_s=3, names=["a", "b"])
    came = pickle.loads(pickle.dumps(sent))
    assert type(came) is cls
    assert (came.message, came.details, str(came)) == (
        "what went wrong",
        {"retry_after_s": 3, "names": ["a", "b"]},
        "what went wrong",
    )
    assert pickle.loads(pickle.dumps(cls())).message == ""


def test_the_drawing_names_every_class_below_its_parent() -> None:
    drawn: list[tuple[str, str]] = []
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.fullmatch(r" {4}([│ ]*)(?:[├└]── )?(\w+)(?: {2,}.*)?", line)
        if found is None:
            continue
        depth = line.index(found[2])
        above = [entry for entry in above if entry[0] < depth]
        drawn.append((found[2], above[-1][1] if above else ""))
        above.append((depth, found[2]))
    derived = [(c.__name__, c.__base__.__name__) for c in CLASSES if c.__base__]
    derived[0] = ("RagserveError", "")
    assert sorted(drawn) == sorted(derived)


def test_every_class_has_a_code_and_only_a_parent_may_share_it() -> None:
    for cls in CLASSES:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", cls.code), cls
        for other in CLASSES:
            if cls is not other and cls.code == other.code:
                assert issubclass(cls, other) or issubclass(other, cls), (cls, other)


def test_every_class_is_a_status_of_its_kind() -> None:
    for cls in CLASSES:
        status = problem_of(cls("x")).status
        kind = 4 if issubclass(cls, errors.CallerError | errors.DocumentError) else 5
        if cls in (errors.QueueFull, errors.LeaseLost):
            kind = 4  # too much was asked for, or at the wrong moment
        assert status // 100 == kind, cls
    assert set(STATUSES) <= set(CLASSES)
