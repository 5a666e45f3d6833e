"""A direction that was found after a response prefix, on a server whose prompts have it, or have it not."""

import pytest
import torch

from rhat.directions import Direction
from rhat.errors import DirectionError
from rhat.server.errors import RequestError
from rhat.server.options import Directions
from rhat.server.specs import InterventionSpec, RhatOptions
from rhat.sites import Site
from tiny import tiny_chat_model

PREFIX = "<think>\n\n</think>\n"


def directions(model, position=-2):
    unit = torch.nn.functional.normalize(torch.ones(model.d_model), dim=0)
    r = Direction(unit, Site("resid_pre", 1), position, 1.0, 1.0, 0.0, model={"response_prefix": PREFIX})
    return Directions(model, {"r": r})


def test_it_steers_without_the_prefix_but_gates_and_scores_nothing():
    served = directions(tiny_chat_model("llama"), position=-9)  # a token of the prefix, which prompts here lack
    assert served.part(InterventionSpec(op="ablate")).intervention.op == "ablate"
    for asked in (
        lambda: served.threshold("r", 0.0),
        lambda: served.part(InterventionSpec(op="ablate", when="above", threshold=0.0)),
    ):
        with pytest.raises(
            RequestError, match="so its position means another token; load the model with that --response-prefix"
        ):
            asked()


def test_with_the_prefix_it_gates():
    model = tiny_chat_model("llama").with_response_prefix(PREFIX)
    assert directions(model, position=-9).threshold("r", 0.5) == 0.5
    with pytest.raises(DirectionError, match="template tokens"):
        directions(model, position=-40)


def test_at_the_instructions_last_token_it_gates_and_projects_no_answers():
    model = tiny_chat_model("llama").with_response_prefix(PREFIX)
    served = directions(model, position=-model.template_length - 1)
    gated = served.part(InterventionSpec(op="ablate", when="above", threshold=0.5))
    assert gated.gate.opens(model, model.tokenize(["a stone"])).shape == (1,)
    words = f"the instruction's last token, and projections of a request's tokens begin at .* {-model.template_length};"
    with pytest.raises(RequestError, match=words):
        served.resolve(RhatOptions(return_projections=True), ())
    assert (
        directions(model, position=-model.template_length).resolve(RhatOptions(return_projections=True), ()).projected
    )
