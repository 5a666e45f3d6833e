"""Values that are read back to the host: each one makes a GPU wait, so a decode step has two at most and a scoring pass three a batch."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from rhat.directions import Direction, random_direction
from rhat.generation import Engine, Request
from rhat.generation.choosing import greedy
from rhat.guard.gate import Gate, GatedEdit
from rhat.heads.patching import PatchHeads
from rhat.interventions import Intervention
from rhat.model import cache_clean_run, last_logits
from rhat.model.conditions import last_logits_under
from rhat.model.edits import Read, merge
from rhat.model.positions import Scope
from rhat.sites import Site
from rhat.vocabulary import OPERATORS
from tiny import tiny_chat_model

N_LAYERS, A_STEP, A_BATCH = 3, 2, 3
TEXTS = ["Name a river", "why is seven odd? Say it in many more words than that", "how tall is the house"]
SCALARS = ("aten::_local_scalar_dense", "aten::is_nonzero", "aten::item", "aten::nonzero", "aten::equal")


class Reads(TorchDispatchMode):
    """Counts what is read back: scalars and shapes that depend on values, and whole tensors made into lists."""

    def __init__(self, monkeypatch):
        super().__init__()
        self.n, self.inside = 0, False
        plain = torch.Tensor.tolist

        def tolist(tensor):
            self.n += self.inside
            self.inside, was = False, self.inside
            try:
                return plain(tensor)
            finally:
                self.inside = was

        monkeypatch.setattr(torch.Tensor, "tolist", tolist)

    def __enter__(self):
        self.n, self.inside = 0, True
        return super().__enter__()

    def __exit__(self, *details):
        self.inside = False
        return super().__exit__(*details)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.n += self.inside and func._schema.name in SCALARS
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def model():
    model = tiny_chat_model("llama", N_LAYERS)
    assert model.fast  # tried before anything is counted
    return model


@pytest.fixture
def reads(monkeypatch):
    return Reads(monkeypatch)


def interventions(model):
    """Edits by name: every operator at one layer and at all, within every scope, heads, several at once, and behind a gate."""
    unit = random_direction(model.d_model, 0)
    made = {
        f"{op}, {where}": Intervention(op, unit, 1, 0.5, where=where).edits(model)
        for op, where in [
            *((op, "all layers") for op in OPERATORS),
            ("add", "own layer"),
            ("set_projection", "own layer"),
        ]
    }
    for name in ("prompt", "generated", "last_prompt_token"):
        scope = Scope(name)
        made[f"ablate, {name}"] = Intervention("ablate", unit, 1, where="all layers", scope=scope).edits(model)
    head = torch.ones(model.layout.head_dim)
    made["heads"] = PatchHeads({(1, 0): head, (2, 1): head}, Scope("all")).edits(model)
    made["two"] = merge(made["add, all layers"], made["ablate, prompt"])
    gate = Gate(Direction(unit, Site("resid_pre", 1), -1, 1.0, 1.0, -1.0), lambda values: values < 1e9)
    gate.rows.update(dict.fromkeys(range(-1, 8), True))
    made["gated"] = {site: GatedEdit(edit, gate) for site, edit in made["ablate, all layers"].items()}
    return made


def test_a_decode_step_reads_two_values_at_most(model, reads):
    seen = {}
    prompts = model.tokenize(TEXTS)
    for name, edits in interventions(model).items():
        for alone in (
            (True, False) if name in ("ablate, prompt", "gated") else (False,)
        ):  # the engine's own edits, or requests'
            engine = Engine(model, edits=edits if alone else None, n_slots=4, max_length=96, choose=greedy)
            engine.add(
                [
                    Request(tuple(p), 4, row=i, ignore_eos=True, edits=None if alone else edits)
                    for i, p in enumerate(prompts)
                ]
            )
            engine.step()
            with reads:
                engine.step()
            seen[name, alone] = reads.n
    assert len(seen) > 12
    assert all(0 < n <= A_STEP for n in seen.values()), seen


def test_conditions_that_share_a_step_read_no_more(model, reads):
    [prompt] = model.tokenize(TEXTS[:1])
    many = list(interventions(model).values())[:6]
    engine = Engine(model, n_slots=8, max_length=96, choose=greedy)
    engine.add(
        [Request(tuple(prompt), 4, row=i, ignore_eos=True, edits=edits) for i, edits in enumerate([None, *many])]
    )
    engine.step()
    with reads:
        engine.step()
    assert 0 < reads.n <= A_STEP


def test_a_scoring_pass_reads_three_values_a_batch_at_most(model, reads):
    plan = model.plan(TEXTS, max_rows=2)
    assert len(plan.batches) == 2
    made = {name: edits for name, edits in interventions(model).items() if name != "gated"}
    made["nothing"] = {}
    clean = cache_clean_run(model, plan, [1])
    seen = {}
    for name, edits in made.items():
        with reads:
            list(last_logits(model, plan, edits, clean))
        seen[name] = reads.n
    together = [edits for name, edits in made.items() if name.endswith("own layer")]
    with reads:
        list(last_logits_under(model, plan, together, clean))
    seen["together"] = reads.n / len(together)
    assert all(0 < n <= A_BATCH * len(plan.batches) for n in seen.values()), seen


def test_what_reads_at_a_site_is_counted(model, reads):
    """The counter sees what it should."""
    looking = {Site("resid_pre", layer): Read(lambda x, _context: bool((x > 0).any())) for layer in range(N_LAYERS)}
    plan = model.plan(TEXTS)
    with reads:
        list(last_logits(model, plan, looking))
    assert reads.n >= N_LAYERS
