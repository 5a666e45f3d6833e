"""The type checker of the tests still bites: wrong shapes, wrong types, inner functions too."""

import inspect
import sys
from textwrap import dedent

import pytest
import torch

import typecheck

SOURCE = """
from __future__ import annotations
from dataclasses import dataclass
from typing import TYPE_CHECKING
from jaxtyping import Float
from torch import Tensor
if TYPE_CHECKING:
    from nowhere import Unknown

def dot(x: Float[Tensor, " d"], y: Float[Tensor, " d"]) -> Float[Tensor, ""]:
    return x @ y.sum() if len(x) != len(y) else x @ y

def half(n: int, other: Unknown | None = None) -> int:
    return n / 2 if n % 2 else n // 2

def adder(c: float):
    def added(x: Float[Tensor, " d"]) -> Float[Tensor, " d"]:
        return x + c
    return added

@dataclass
class Held:
    at: Float[Tensor, " d"]
    n: int

    def longer(self, by: int) -> Float[Tensor, " e"]:
        return self.at.repeat(by)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checked")
    (folder / "checked_by_hook.py").write_text(dedent(SOURCE))
    sys.path.insert(0, str(folder))
    hooks = list(sys.meta_path)
    typecheck.install(["checked_by_hook"])
    try:
        import checked_by_hook

        yield checked_by_hook
    finally:
        sys.meta_path[:] = hooks
        sys.path.remove(str(folder))


def test_right_calls_pass(made):
    assert made.dot(torch.ones(3), torch.ones(3)) == 3
    assert made.half(4) == 2
    assert made.adder(1)(torch.zeros(2)).tolist() == [1, 1]
    assert made.Held(torch.ones(2), 1).longer(2).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    "call",
    [
        lambda made: made.dot(torch.ones(3), torch.ones(4)),  # one name, two sizes
        lambda made: made.dot(torch.ones(3).int(), torch.ones(3).int()),
        lambda made: made.half("4"),
        lambda made: made.half(3),  # gives a float
        lambda made: made.adder(1)(torch.ones(2, 2)),
        lambda made: made.Held(torch.ones(2, 2), 1),
        lambda made: made.Held(torch.ones(2), "one"),
        lambda made: made.Held(torch.ones(2), 1).longer("2"),
    ],
)
def test_wrong_calls_do_not(made, call):
    with pytest.raises(Exception, match=r"(?i)type-check|violates type hint"):
        call(made)


def test_an_inner_function_is_not_decorated_for_ever(made):
    plain = [made.adder(1) for _ in range(20)]
    assert sum(hasattr(one, "__wrapped__") for one in plain) <= typecheck.OFTEN


def test_the_first_calls_of_each_test_are_checked(made):
    def wrong():
        made.half("4")

    for _ in range(typecheck.CALLS):
        with pytest.raises(Exception, match="violates type hint"):
            wrong()
    with pytest.raises(TypeError, match="not all arguments converted"):
        wrong()
    typecheck.begin()
    with pytest.raises(Exception, match="violates type hint"):
        wrong()


def test_pages_and_debuggers_see_the_function_as_it_is_written(made):
    assert str(inspect.signature(made.half)) == "(n: 'int', other: 'Unknown | None' = None) -> 'int'"
    assert inspect.unwrap(made.half).__code__.co_varnames[:2] == ("n", "other")
