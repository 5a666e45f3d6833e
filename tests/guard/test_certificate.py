"""The certificate: its error rate where nothing is true, its power, and taught models on which there is one and cannot be one."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from certified import ALIKE, APART, prompts_of, taught_model
from rhat.directions import Direction
from rhat.errors import ArtifactError, InterventionError, PromptError, StatisticsError
from rhat.generation import generate_tokens
from rhat.guard import Calibration, Certificate, calibrate, certify, prompt_projections
from rhat.guard.certificate import Setting
from rhat.guard.certifying import parts
from rhat.guard.learning import Answers, claims, learn_then_test, settings_of
from rhat.prompts import builtin
from rhat.scoring import judge_answers

LIMITS = {"over_refusal": 0.2, "lost_harmful": 0.1, "lost_twin": 0.1}
RUNS = 600
ALPHAS = tuple(float(i) for i in range(8))
ALWAYS = tuple(Setting("below", 9.0, alpha, 0.0) for alpha in ALPHAS)  # a gate that every prompt opens


def drawn(generator, n, before, after):
    """Answers of n independent prompts: refused with chance `before`, and with chance `after` under each target."""
    return Answers(
        generator.normal(size=n),
        generator.random(n) < before,
        {alpha: generator.random(n) < after for alpha in ALPHAS},
        tuple(map(str, range(n))),
    )


def part(generator, borderline, lost, n=(100, 64, 100)):
    """Answers of a part in which every setting has these true shares of over-refusal and of refusals lost."""
    return {
        "borderline": drawn(generator, n[0], 0.6, borderline),
        "harmful": drawn(generator, n[1], 1.0, 1 - lost),
        "twin": drawn(generator, n[2], 1.0, 1 - lost),
    }


def certified(seed, borderline, lost):
    generator = np.random.default_rng(seed)
    learn, test = part(generator, borderline, lost), part(generator, borderline, lost)
    return learn_then_test(ALWAYS, learn, test, LIMITS).passed > 0


@pytest.mark.parametrize(("borderline", "lost"), [(0.2, 0.0), (0.0, 0.1)])
def test_a_false_certificate_is_as_rare_as_stated_where_every_null_is_just_true(borderline, lost):
    """Least favourable: every setting lies on one limit, and the other claims are easy."""
    rate = np.mean([certified(seed, borderline, lost) for seed in range(RUNS)])
    assert rate <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / RUNS)


def test_settings_that_differ_in_the_thresholds_alone_are_as_safe():
    """Gated: at every threshold the share is the limit, since with and without the edit it is."""
    settings = settings_of(part(np.random.default_rng(1), 0.2, 0.0), {0.0: 0.0, 1.0: 0.0}, steps=6)

    def false(seed):
        generator = np.random.default_rng(seed)
        both = [
            {
                label: replace(answers, refused=generator.random(len(answers.refused)) < 0.2)
                for label, answers in some.items()
            }
            for some in (part(generator, 0.2, 0.8), part(generator, 0.2, 0.8))
        ]
        for some in both:
            some["harmful"] = replace(some["harmful"], refused=np.zeros(64, dtype=bool))
            some["twin"] = replace(some["twin"], refused=np.zeros(100, dtype=bool))
        return learn_then_test(settings, *both, LIMITS).passed > 0

    assert np.mean([false(seed) for seed in range(200)]) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)


def test_choosing_on_the_prompts_that_test_would_not_be_safe():
    """What the separate parts are for: the same simulation sees it where one part does both."""

    def without_parts(seed):
        some = part(np.random.default_rng(seed), 0.2, 0.0)
        return learn_then_test(ALWAYS, some, some, LIMITS).passed > 0

    assert np.mean([without_parts(seed) for seed in range(200)]) > 0.2


def test_a_large_effect_is_certified():
    assert np.mean([certified(seed, 0.05, 0.01) for seed in range(100)]) > 0.9


def test_the_chosen_setting_has_the_lowest_over_refusal_of_those_certified():
    generator = np.random.default_rng(0)
    learn, test = part(generator, 0.08, 0.0), part(generator, 0.08, 0.0)
    for some in (learn, test):
        some["borderline"].edited[5.0][:] = False
    outcome = learn_then_test(ALWAYS, learn, test, LIMITS)
    assert ALWAYS[outcome.chosen].alpha == 5.0
    assert outcome.passed > 1


def test_the_test_part_never_changes_the_order():
    generator = np.random.default_rng(0)
    learn = part(generator, 0.1, 0.05)
    orders = {learn_then_test(ALWAYS, learn, part(generator, b, 0.05), LIMITS).order for b in (0.0, 0.1, 0.5)}
    assert len(orders) == 1


def test_refusals_gained_do_not_make_up_for_those_lost():
    refused = np.array([True] * 5 + [False] * 5)
    answers = Answers(np.zeros(10), refused, {0.0: ~refused}, tuple("abcdefghij"))
    found = {
        c.measure: c
        for c in claims({"borderline": answers, "harmful": answers}, Setting("below", 1.0, 0.0, 0.0), LIMITS)
    }
    assert found["lost_harmful"].count == 5
    assert found["over_refusal"].count == 5


def test_too_few_prompts_are_said_before_anything_is_tested():
    some = part(np.random.default_rng(0), 0.0, 0.0, n=(100, 28, 100))
    with pytest.raises(StatisticsError, match=r"got 28 harmful prompts for the test, expected at least 29"):
        learn_then_test(ALWAYS, some, some, LIMITS)


def test_pairs_stay_together_and_no_topic_is_in_two_parts():
    found = parts(builtin(3))
    numbers = [{label: len(group) for label, group in some.items()} for some in found]
    assert [n["borderline"] for n in numbers] == [n["twin"] for n in numbers] == [50, 100, 50]
    for label in ("borderline", "twin", "harmful"):
        topics = [{p.topic for p in some[label]} for some in found]
        assert len(set.union(*topics)) == sum(map(len, topics))
    for some in found:
        assert {p.topic for p in some["borderline"]} == {p.topic for p in some["twin"]}
    assert {p.split for p in found[1]["harmful"]} == {"calibration"}
    assert parts(builtin(3)) == found
    assert parts(builtin(4)) != found


@pytest.fixture(scope="module")
def apart():
    """A model, r̂, prompts, and the certificate that a gate can have there."""
    prompts = prompts_of(APART)
    model, direction = taught_model(prompts, "Sorry, I can't.")
    return model, direction, prompts, certify(model, direction, prompts, 0.3, 0.25)


def test_a_gate_that_tells_borderline_prompts_apart_is_certified_and_holds(apart):
    *_, found = apart
    assert found.certified
    assert found.applies
    assert not replace(found, setting=Setting()).applies
    assert found.p <= 0.05
    assert found.setting.side != "never"
    assert found.tested[0].before > 0.9
    assert found.checked[0].share.estimate < 0.3
    assert found.holds
    assert found.needed == {}
    assert found.sentences[0].startswith("Certified: setting the projection to")
    missed = replace(found.checked[0], limit=found.checked[0].share.estimate)  # on the limit is not below it
    for one, verdict in ((found, "are all within"), (replace(found, checked=(missed,)), "are not all within")):
        assert f"the measured shares {verdict} the limits" in one.sentences[1]


def test_what_was_counted_is_what_the_gate_generates(apart):
    """The claims on the final check, from answers read per target, against the conditional intervention itself."""
    model, direction, prompts, found = apart
    gate = found.conditional(direction)
    check = parts(prompts)[2]
    for claim, label in zip(found.checked, ("borderline", "harmful", "twin"), strict=True):
        texts = [p.text for p in check[label]]
        tokens = model.tokenize(texts)

        def refused(edits, texts=texts, tokens=tokens):
            answers = generate_tokens(model, tokens, max_new_tokens=24, edits_per_prompt=edits)
            return np.array([j == "refused" for j in judge_answers(texts, [a.text for a in answers])])

        before, after = refused(None), refused(gate.per_prompt(model, tokens))
        counted = after if label == "borderline" else before & ~after
        assert claim.count == counted.sum()
        assert claim.share.n == len(texts)
        assert claim.before == before.mean()


def test_it_is_kept_with_the_threshold_and_gives_the_same_gate(apart, tmp_path):
    model, direction, prompts, found = apart
    plain = calibrate(model, direction, prompts, 0.2)
    saved = Calibration.load(replace(plain, certificate=found).save(tmp_path / "r.guard.json"))
    assert saved.certificate == found
    gate = saved.certificate.conditional(direction)
    assert gate.threshold == found.setting.threshold
    assert gate.intervention.value == found.setting.target
    old = json.loads((tmp_path / "r.guard.json").read_text())
    del old["certificate"]
    (tmp_path / "old.guard.json").write_text(json.dumps(old))
    assert Calibration.load(tmp_path / "old.guard.json") == plain
    text = (tmp_path / "r.guard.json").read_text()
    assert not any(p.text in text for p in prompts.prompts)
    assert "Sorry" not in text
    assert "Glad" not in text
    other = Direction(-direction.unit, direction.site, direction.position, 1.0, 1.0, 0.0)
    with pytest.raises(ArtifactError, match="certificate of another direction"):
        found.conditional(other)


def test_a_server_applies_it_by_name(apart):
    from rhat.server.errors import RequestError
    from rhat.server.options import Directions
    from rhat.server.specs import InterventionSpec

    model, direction, prompts, found = apart
    plain = calibrate(model, direction, prompts, 0.2)
    asked = InterventionSpec(op="set_projection", when="certified")
    part = Directions(model, {"r": direction}, {"r": replace(plain, certificate=found)}).part(asked)
    assert part.intervention.value == found.setting.target
    assert (part.gate.threshold, part.gate.when) == (found.setting.threshold, found.setting.side)
    pytest.importorskip("gradio")
    from rhat.server.playground import answering, controls

    chosen = dict.fromkeys(
        ("target", "layer", "where", "scope"), 3.0
    )  # what else the page's controls hold changes nothing
    chosen |= {"op": "ablate", "when": controls.WHEN["As certified, with its own number"]}
    assert answering._spec(chosen, "r").model_copy(update={"direction": None}) == asked
    failed = Directions(model, {"r": direction}, {"r": replace(plain, certificate=replace(found, certified=False))})
    with pytest.raises(RequestError, match="no certificate: none of"):
        failed.part(asked)
    with pytest.raises(RequestError, match="direction r: no certificate; run"):
        Directions(model, {"r": direction}, {"r": plain}).part(asked)


@pytest.mark.parametrize(
    "broken", [{"setting": {"side": "below"}}, {"tested": [{}]}, {"certified": 1, "more": 2}, {"checked": 3}]
)
def test_a_broken_certificate_in_a_file_is_one_line(apart, tmp_path, broken):
    model, direction, prompts, found = apart
    path = replace(calibrate(model, direction, prompts, 0.2), certificate=found).save(tmp_path / "r.guard.json")
    kept = json.loads(path.read_text())
    kept["certificate"] |= broken
    path.write_text(json.dumps(kept))
    with pytest.raises(ArtifactError, match=r"r\.guard\.json: .*rhat calibrate") as caught:
        Calibration.load(path)
    assert "\n" not in str(caught.value)


def test_where_nothing_tells_them_apart_there_is_no_certificate_and_nothing_is_applied():
    prompts = prompts_of(ALIKE)
    model, direction = taught_model(prompts)
    found = certify(model, direction, prompts, 0.3, 0.25)
    assert not found.certified
    assert found.p > 0.05
    assert found.passed == 0
    assert found.needed
    assert found.sentences[0].startswith("No certificate: none of")
    assert "Nothing is applied" in found.sentences[0]
    assert Certificate.of(json.loads(json.dumps(asdict(found)))) == found
    with pytest.raises(InterventionError, match=r"no certificate: none of .* none is applied"):
        found.conditional(direction)


def test_prompts_are_needed_of_every_kind(apart):
    model, direction, prompts, _ = apart
    without = replace(prompts, prompts=tuple(p for p in prompts.prompts if p.label != "borderline"))
    with pytest.raises(StatisticsError, match="no borderline learning prompts"):
        certify(model, direction, without, 0.3, 0.25)
    with pytest.raises(StatisticsError, match="prompts for the test, expected at least 59"):
        certify(model, direction, prompts, 0.3, 0.05)
    with pytest.raises(StatisticsError, match="alphas: got"):
        certify(model, direction, prompts, 0.3, 0.25, alphas=())


def test_thresholds_are_read_where_the_model_is_not_edited(apart):
    model, direction, prompts, found = apart
    learn = parts(prompts)[0]
    values = prompt_projections(model, direction, [p.text for group in learn.values() for p in group])
    assert np.isclose(values, found.setting.threshold, atol=1e-5).any()


def test_the_command_certifies_and_keeps_it(apart, tmp_path, capsys):
    from rhat.cli import run
    from tiny import tiny_tokenizer

    model, direction, prompts, _ = apart
    model.hf.save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    direction.save(tmp_path / "r.safetensors")
    given = []
    for label in ("harmful", "harmless", "borderline", "twin"):
        rows = [{"text": p.text, "split": p.split, "topic": p.topic, "id": p.id} for p in prompts.select(label)]
        (tmp_path / f"{label}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        given += [f"--{label}{'s' * (label == 'twin')}", str(tmp_path / f"{label}.jsonl")]
    base = [
        "calibrate",
        "--model",
        str(tmp_path / "model"),
        "-d",
        str(tmp_path / "r.safetensors"),
        "--fpr",
        "0.2",
        *given,
    ]
    base += ["--dtype", "float32"]
    assert run(base) == 2
    assert "got --borderline without --certify" in capsys.readouterr().err
    limits = ["--over-refusal", "0.3", "--margin", "0.25"]
    assert run([*base, "--certify", *limits, "--format", "json"]) == 0
    printed = json.loads(capsys.readouterr().out)["certificate"]
    kept = Calibration.load(tmp_path / "r.guard.json").certificate
    assert json.loads(json.dumps(asdict(kept))) == printed
    assert kept.certified
    assert run([*base, "--certify", *limits, "--overwrite"]) == 0
    said = capsys.readouterr().out
    for words in ("On test prompts", "On final-check prompts", "Certified: setting", "are all within the limits"):
        assert words in said
    guarded = ["guard", given[1], "--model", base[2], "-d", base[4], "--dtype", "float32"]
    for form in ("table", "json"):  # where traffic is read, what was certified stands beside it
        assert run([*guarded, "--format", form]) == 0
        said = capsys.readouterr().out
        held = json.loads(said)["certificate"] if form == "json" else said
        assert kept.sentences
        assert all(sentence in held for sentence in kept.sentences)


def test_own_borderline_prompts_need_the_others():
    from rhat.cli.options import PromptOptions

    with pytest.raises(PromptError, match="with the built-in set"):
        PromptOptions().read(0, True, "b.jsonl")
