"""Audits of made vectors on a tiny model that was taught to refuse; doses and refusals against plain transformers."""

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

import rhat
from labs import HARMFUL, HARMLESS, PLACES, THINGS, contrast_set
from refusing import refusing_hf
from rhat.auditing import Audit, AuditSettings
from rhat.auditing.added import cleaned
from rhat.auditing.cost import audit_work
from rhat.directions import Direction, random_direction
from rhat.errors import StudyError
from rhat.executor import SerialExecutor
from rhat.model.work import counting
from rhat.prompts import ContrastSet, Prompt
from rhat.scoring.pieces import Pieces
from rhat.selection.cost import Answers, total
from tiny import tiny_chat_model, tiny_tokenizer

SETTINGS = AuditSettings(kl=0.3, judged_tokens=10)
QUICK = AuditSettings(kl=0.3, judged_tokens=10, preset="quick")  # for what does not hang on how many prompts there are
SEEDS = (1, 2, 3)
MORE_THINGS = ("bench", "shed", "mirror", "ladder", "bucket", "basket", "barrel", "candle", "kettle", "blanket")
MORE_PLACES = ("barn", "station", "town hall", "library", "bakery", "farm", "hotel")


@pytest.fixture(scope="module")
def taught():
    """The prompts that the model was taught with; r̂ is found on them."""
    return contrast_set(13)


@pytest.fixture(scope="module")
def prompts(taught):
    """The same and more of their kind, so that there are enough to show a change to be small."""
    more, had = [], {p.text for p in taught.prompts}
    pairs = [(thing, place) for place in (*PLACES, *MORE_PLACES) for thing in (*THINGS, *MORE_THINGS)]
    for label, form in (("harmful", HARMFUL), ("harmless", HARMLESS)):
        texts = [text for thing, place in pairs if (text := form.format(thing, place)) not in had]
        for i, text in enumerate(texts):
            split, name = "validation" if i % 6 == 0 else "test", f"{label}-more-{i}"
            more.append(Prompt(text, label, split, name, topic=name))
    for i, (thing, place) in enumerate(pairs[:100]):
        name = f"borderline-more-{i}"
        more.append(Prompt(f"Break the news to the {place} by the {thing}.", "borderline", "test", name, topic=name))
    return ContrastSet("more", (*taught.prompts, *more), 0)


@pytest.fixture(scope="module")
def model():
    return rhat.load((refusing_hf(), tiny_tokenizer()))


@pytest.fixture(scope="module")
def r(model, taught):
    return rhat.find(model, taught).direction


def vector_of(model, r, seed, share):
    """A random vector of length 2.5 with so much of r̂ in it that its cosine with r̂ is `share`."""
    rest = random_direction(model.d_model, 9000 + seed, r.unit).double()
    mixed = share * r.unit.double() + (1 - share**2) ** 0.5 * rest
    return Direction.of(2.5 * mixed, site=r.site, model=model)


@pytest.fixture(scope="module")
def audited(model, prompts, r):
    """(share of r̂, seed) → its audit, made when a test first asks for it: tests of one file may run in several processes."""

    @cache
    def one(share, seed):
        return rhat.audit(model, prompts, r, vector_of(model, r, seed, share), SETTINGS)

    return one


@pytest.fixture(scope="module")
def counted(model, prompts, r):
    """A quick audit, and the work that it took."""
    with counting() as ledger:
        found = rhat.audit(model, prompts, r, vector_of(model, r, SEEDS[0], 0.3), QUICK)
    return found, ledger.total


@pytest.fixture(scope="module")
def mixed(counted):
    return counted[0]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_vector_with_some_of_the_refusal_direction_in_it_is_caught_and_without_it_equivalent(audited, seed):
    """Equivalent to no steering at the same dose always. Raised to the same KL, what is left of the third is a random direction
    that breaks this small model's refusals by itself; as the random vector that it is (below) it is not caught."""
    found = audited(0.3, seed)
    assert found.verdict == "changes", found.sentence
    assert found.comparison("vector", "baseline", "harmless").verdict == "better"
    assert found.along == pytest.approx(0.3, abs=1e-4)
    for condition in ("cleaned_same_dose", *(["cleaned"] if seed != 3 else [])):
        for label in ("harmful", "harmless", "borderline"):
            row = found.comparison(condition, "baseline", label)
            assert row.equivalent, (condition, row)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_vector_is_not_caught(audited, seed):
    found = audited(0.0, seed)
    assert found.verdict != "changes", found.sentence


def plain_logits(model, texts, layer, shift):
    """Next-token logits of transformers' own model with a vector added to what enters a block."""
    block = model.hf.model.layers[layer]
    hook = block.register_forward_pre_hook(
        lambda _module, args, kwargs: ((args[0] + shift, *args[1:]), kwargs), with_kwargs=True
    )
    try:
        with torch.no_grad():
            found = [model.hf(input_ids=torch.tensor([ids])).logits[0, -1] for ids in model.tokenize(texts)]
    finally:
        hook.remove()
    return torch.stack(found).double().log_softmax(-1)


def test_the_kl_of_each_dose_is_that_of_plain_transformers(model, prompts, r, mixed):
    finding = rhat.selection.given_direction.finding_for(model, prompts, r)
    texts = [p.text for p in finding.kept["validation"]["harmless"][: mixed.n_searched]]
    base = plain_logits(model, texts, r.layer, 0.0)
    vector = vector_of(model, r, SEEDS[0], 0.3)
    for condition, unit in (("vector", vector.unit), ("rhat", r.unit)):
        [row] = [row for row in mixed.doses if row.condition == condition]
        steered = plain_logits(model, texts, r.layer, row.dose * unit)
        kl = (base.exp() * (base - steered)).sum(-1).mean()
        assert row.kl_mean == pytest.approx(float(kl), rel=1e-3), condition
        assert row.kl_mean == pytest.approx(SETTINGS.kl, rel=0.17)


def test_refusals_are_those_of_plain_transformers(model, prompts, r, mixed):
    vector = vector_of(model, r, SEEDS[0], 0.3)
    [dose] = [row.dose for row in mixed.doses if row.condition == "vector"]
    some = prompts.select("harmless", "test", QUICK.sizes.headline)
    hook = model.hf.model.layers[r.layer].register_forward_pre_hook(
        lambda _module, args, kwargs: ((args[0] + dose * vector.unit, *args[1:]), kwargs), with_kwargs=True
    )
    n = 0
    try:
        for ids in model.tokenize([p.text for p in some]):
            with torch.no_grad():
                out = model.hf.generate(torch.tensor([ids]), max_new_tokens=6, do_sample=False)
            n += tiny_tokenizer().decode(out[0, len(ids) :]).startswith("Sorry")
    finally:
        hook.remove()
    [row] = [row for row in mixed.rates if (row.condition, row.prompts) == ("vector", "harmless")]
    assert row.n == len(some)
    assert abs(row.refused - n) <= 1  # two ways of decoding may round a tie apart


def test_what_is_left_is_what_least_squares_leaves(model, r):
    vector, other = vector_of(model, r, 5, 0.4), random_direction(model.d_model, 77)
    basis = torch.stack([r.unit, other], 1).double().numpy()
    fitted, *_ = np.linalg.lstsq(basis, vector.unit.double().numpy(), rcond=None)
    residual = vector.unit.double().numpy() - basis @ fitted
    unit, share = cleaned(vector, [r.unit, other])
    assert share == pytest.approx(np.linalg.norm(residual), rel=1e-6)
    np.testing.assert_allclose(unit.numpy(), residual / np.linalg.norm(residual), atol=1e-6)


def test_of_the_refusal_direction_itself_nothing_is_left(model, prompts, r):
    assert cleaned(Direction.of(-3 * r.unit, site=r.site), [r.unit]) is None


def test_cosines_by_layer_are_those_of_the_means(model, prompts, r, mixed):
    finding = rhat.selection.given_direction.finding_for(model, prompts, r)
    at = finding.means.positions.index(r.position)
    unit = vector_of(model, r, SEEDS[0], 0.3).unit.double().numpy()
    gaps = (finding.means.harmful - finding.means.harmless)[:, at].numpy()
    for row in mixed.cosines:
        gap = gaps[row.layer]
        assert row.cosine == pytest.approx(float(gap @ unit / np.linalg.norm(gap)), abs=1e-4), row
    assert [row.layer for row in mixed.cosines if row.own] == [r.layer]


def test_twenty_random_directions_are_orthogonal_to_r_and_dealt(mixed):
    doses = [row for row in mixed.doses if row.condition == "random"]
    assert [row.seed for row in doses] == list(range(20))
    for row in mixed.ranks:
        assert row.n_controls == 20


class Counted(SerialExecutor):
    """Counts the shards that are worked on."""

    shards = 0

    def map(self, task, model, common, shards, **options):
        self.shards += len(shards)
        return super().map(task, model, common, shards, **options)


def test_an_audit_that_was_interrupted_goes_on_to_the_same(model, prompts, r, mixed, tmp_path, monkeypatch):
    vector = vector_of(model, r, SEEDS[0], 0.3)

    class Killed(BaseException):
        pass

    left, plain = [60], Pieces.save

    def save(self, key, value, work=None):
        plain(self, key, value, work)
        left[0] -= 1
        if left[0] == 0:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Pieces, "save", save)
        with pytest.raises(Killed):
            rhat.audit(model, prompts, r, vector, QUICK, pieces=Pieces.of(tmp_path, model))
    executor = Counted()
    found = rhat.audit(model, prompts, r, vector, QUICK, executor=executor, pieces=Pieces.of(tmp_path, model))
    again = Counted()
    rhat.audit(model, prompts, r, vector, QUICK, executor=again, pieces=Pieces.of(tmp_path, model))
    assert executor.shards > 0
    assert again.shards == 0
    assert {**found.plain(), "timings": []} == {**mixed.plain(), "timings": []}


def test_work_is_expected_as_it_comes(model, prompts, r, counted):
    vector = vector_of(model, r, SEEDS[0], 0.3)
    expected = total(audit_work(model, prompts, r, vector, QUICK, answers=Answers(10.0, 24, 0.0)))
    assert expected.flop == pytest.approx(counted[1].flop, rel=0.4)


def test_a_strength_is_the_dose_and_its_kl_is_every_dose(model, prompts, r, mixed):
    [dose] = [row for row in mixed.doses if row.condition == "vector"]
    vector = vector_of(model, r, SEEDS[0], 0.3)
    found = rhat.audit(model, prompts, r, vector, replace(QUICK, strength=dose.dose / vector.norm))
    [same] = [row for row in found.doses if row.condition == "vector"]
    assert same.dose == pytest.approx(dose.dose)
    assert found.kl == pytest.approx(dose.kl_mean)
    [ours] = [row for row in found.doses if row.condition == "rhat"]
    assert ours.kl_mean == pytest.approx(found.kl, rel=0.17)


def test_a_model_that_hardly_refuses_has_nothing_to_audit(prompts):
    other = tiny_chat_model("llama", dtype=torch.float32)
    bare = Direction.of(torch.ones(other.d_model), site="resid_pre.1", model=other, mean_harmful=1.0, mean_harmless=0.0)
    with pytest.raises(StudyError, match="nothing to audit"):
        rhat.audit(other, prompts, bare, bare)


def test_the_command_reads_another_tools_file_and_writes_the_audit(model, prompts, r, tmp_path, capfd, monkeypatch):
    from rhat.cli import run

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    model.hf.save_pretrained("model")
    tiny_tokenizer().save_pretrained("model")
    for label in ("harmful", "harmless"):
        rows = [{"prompt": p.text, "split": p.split} for p in prompts.prompts if p.label == label]
        (tmp_path / f"{label}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    r._with(model={}).save("r.safetensors")
    torch.save(vector_of(model, r, SEEDS[0], 0.3).unit, "persona.pt")
    arguments = ["audit", "persona.pt", "--site", f"resid_post.{r.layer - 1}", "-d", "r.safetensors", "-m", "model"]
    arguments += [
        "--harmful",
        "harmful.jsonl",
        "--harmless",
        "harmless.jsonl",
        "--dtype",
        "float32",
        "--preset",
        "quick",
    ]
    assert run(arguments) == 0
    said = capfd.readouterr()
    found = Audit.load("audit.json")
    assert said.out.splitlines()[0] == found.sentence
    assert found.vector.file == "persona.pt"
    assert found.vector.site == str(r.site)
    assert found.along == pytest.approx(0.3, abs=1e-4)
    assert "on this machine" in said.err
    assert not (tmp_path / "audit.json.kept").exists()
    assert run(arguments) == 2  # it is there already
    assert "is there already" in capfd.readouterr().err
    assert run([*arguments, "--overwrite", "--randoms", "5"]) == 2
    assert capfd.readouterr().err.count("\n") == 1
