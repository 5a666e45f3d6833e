"""Work that is ended at any moment goes on from there, to the same numbers bit for bit."""

import json
import os
import random
import signal
import sys
import time
from dataclasses import replace

import pytest
import torch

import rhat
import studies
from forking import Forking
from labs import contrast_set
from refusing import refusing_hf
from rhat.executor import SerialExecutor
from rhat.scoring.pieces import Pieces, UnkeepableError, key_of
from rhat.selection import find
from rhat.selection.settings import FindSettings
from rhat.study import StudyConfig, run
from rhat.study.cost import find_settings
from rhat.study.opening import open_model, open_prompts
from tiny import tiny_tokenizer

SETTINGS = FindSettings(token_prompts=12, min_kept=(4, 2), early_stopping=2)
STUDY = ("induce", "suppress")


@pytest.fixture(scope="module")
def model():
    return rhat.load((refusing_hf(), tiny_tokenizer()))


@pytest.fixture(scope="module")
def prompts():
    return contrast_set(per_split=13)


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    return studies.arguments(tmp_path_factory.mktemp("study")) | {"preset": "quick", "only": STUDY}


class Killed(BaseException):
    """What ends a process here."""


class Counted(SerialExecutor):
    """Counts the shards that are worked on."""

    def __init__(self):
        super().__init__()
        self.shards = 0

    def map(self, task, model, common, shards, **options):
        def counted(worker, given, shard):
            self.shards += 1
            return task(worker, given, shard)

        return super().map(counted, model, common, shards, **options)


@pytest.fixture
def killing(monkeypatch):
    """Ends the process after so many more pieces have been kept."""
    left = [10**9]
    plain = Pieces.save

    def save(self, key, value, work=None):
        plain(self, key, value, work)
        left[0] -= 1
        if left[0] <= 0:
            raise Killed

    monkeypatch.setattr(Pieces, "save", save)

    def at(n):
        left[0] = n

    return at


def until_done(once, killing, every):
    """Run `once` again and again, killed after every few pieces; gives (what it gave, how often it was killed)."""
    for kills in range(200):
        killing(every)
        try:
            return once(), kills
        except Killed:
            continue
    raise AssertionError("no end")


def alike(one, other):
    assert (one.outcome, one.sentence, one.refusal_tokens) == (other.outcome, other.sentence, other.refusal_tokens)
    assert one.candidates == other.candidates
    assert one.kept == other.kept
    assert one.split_half_cosine == other.split_half_cosine
    assert torch.equal(one.means.candidates, other.means.candidates)
    assert torch.equal(one.direction.unit, other.direction.unit)


def test_a_search_killed_at_every_piece_ends_as_one_in_one_go(model, prompts, tmp_path, killing):
    plain = Counted()
    whole = find(model, prompts, SETTINGS, executor=plain)
    counted = Counted()
    found, kills = until_done(
        lambda: find(model, prompts, SETTINGS, executor=counted, pieces=Pieces.of(tmp_path / "kept", model)), killing, 1
    )
    alike(whole, found)
    assert kills >= 20
    assert counted.shards == plain.shards  # nothing was worked on twice
    again = Counted()
    alike(whole, find(model, prompts, SETTINGS, executor=again, pieces=Pieces.of(tmp_path / "kept", model)))
    assert not again.shards


def test_other_settings_use_what_they_have_in_common(model, prompts, tmp_path):
    find(model, prompts, SETTINGS, pieces=Pieces.of(tmp_path, model))
    other, plain, counted = replace(SETTINGS, kl_max=0.05), Counted(), Counted()
    found = find(model, prompts, other, executor=counted, pieces=Pieces.of(tmp_path, model))
    alike(find(model, prompts, other, executor=plain), found)
    assert counted.shards < plain.shards / 3


def test_damaged_pieces_and_those_of_another_model_are_made_anew(model, prompts, tmp_path, caplog):
    whole = find(model, prompts, SETTINGS, pieces=Pieces.of(tmp_path, model))
    some = sorted(tmp_path.glob("*.piece"))
    some[0].write_bytes(some[0].read_bytes()[:-9])
    some[1].write_bytes(b"")
    turned = bytearray(some[2].read_bytes())
    turned[-5] ^= 1
    some[2].write_bytes(turned)
    pieces = Pieces.of(tmp_path, model)
    alike(whole, find(model, prompts, SETTINGS, pieces=pieces))
    assert sum("computed again" in record.message for record in caplog.records) == 3
    assert pieces.made == 3
    other = rhat.load((refusing_hf(seed=1), tiny_tokenizer()))
    assert Pieces.of(tmp_path, other).held == 0
    assert "another model or version" in caplog.text
    assert not list(tmp_path.glob("*.piece"))


def test_no_word_of_an_answer_to_a_harmful_prompt_is_written(arguments, tmp_path, monkeypatch):
    config = StudyConfig(**arguments, out=tmp_path / "run")

    def killed(*_given):
        raise Killed

    monkeypatch.setattr(sys.modules["rhat.study.run"], "_write", killed)
    with pytest.raises(Killed):
        run(config)
    folder = tmp_path / "run" / "stages" / "pieces"
    answered = [
        part
        for path in folder.glob("answer-*.piece")
        for part in [Pieces(folder, (folder / "made-by").read_text()).load(path.stem)]
    ]
    harmless, harmful = ([p for p in answered if bool(p.completions[0].text) == told] for told in (True, False))
    assert harmless
    assert harmful
    assert all(not c.text and not c.tokens for p in harmful for c in p.completions)
    assert b"Sorry, no" not in b"".join(path.read_bytes() for path in folder.glob("heard-*.piece"))


def test_a_disk_without_room_for_pieces_does_not_end_the_search(model, prompts, tmp_path, caplog):
    (tmp_path / "kept").write_text("a file where the folder should be")
    found = find(model, prompts, SETTINGS, pieces=Pieces.of(tmp_path / "kept", model))
    alike(find(model, prompts, SETTINGS), found)
    assert caplog.text.count("this run goes on") == 1


def test_keys_go_by_contents_and_nothing_else():
    text = "".join(["a", "b"])
    assert key_of("x", "ab", [1.0], torch.ones(2)) == key_of("x", text, [1.0], torch.ones(2))
    different = [1, 1.0, True, "1", [1], (1,), torch.ones(1), torch.ones(1, 1), torch.ones(1).double(), None, {"a": 1}]
    assert len({key_of("x", one) for one in different}) == len(different)
    with pytest.raises(UnkeepableError):
        key_of("x", lambda: None)


COMPARED = ("outcome", "direction", "candidates", "rates", "scores", "comparisons", "primary", "projections", "prompts")


def test_a_study_killed_at_every_few_pieces_ends_as_one_in_one_go(arguments, tmp_path, killing):
    whole = run(StudyConfig(**arguments, out=tmp_path / "whole"))
    config = StudyConfig(**arguments, out=tmp_path / "run")
    found, kills = until_done(lambda: run(config), killing, 4)
    assert kills >= 5
    for name in COMPARED:
        assert found.get(name) == whole.get(name), name
    for name in ("completions.jsonl", "per_prompt.parquet"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    units = [
        rhat.directions.Direction.load(tmp_path / which / "direction.safetensors").unit for which in ("run", "whole")
    ]
    assert torch.equal(*units)
    assert not (tmp_path / "run" / "stages" / "pieces").exists()


@pytest.fixture(scope="module")
def forking(tmp_path_factory):
    forking = Forking(tmp_path_factory.mktemp("said") / "said")
    yield forking
    forking.close()


def command(arguments, out):
    given = ["find", "--model", arguments["model"], "--dtype", "float64", "--out", out]
    return [*given, *(f"--{name}={arguments[name]}" for name in ("harmful", "harmless")), "--format", "json", "--quick"]


@pytest.fixture(scope="module")
def in_one_go(arguments, forking, tmp_path_factory):
    """What the command prints, and the file that it writes."""
    out = tmp_path_factory.mktemp("whole") / "whole.safetensors"
    assert forking.run(command(arguments, out)) == 0, forking.errors
    return forking.printed, out


def is_running(number):
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_command_that_is_killed_goes_on_where_it_stopped(arguments, forking, in_one_go, tmp_path, number):
    """The process itself is ended, at a random moment after its first piece."""
    out = tmp_path / "mine.safetensors"
    first = forking.start(command(arguments, out))
    wanted = random.randrange(1, 12)
    while len(list((tmp_path / "mine.safetensors.kept").glob("*.piece"))) < wanted and is_running(first):
        time.sleep(0.002)
    os.kill(first, number)
    code = forking.ended()
    kept = len(list((tmp_path / "mine.safetensors.kept").glob("*.piece")))
    assert not out.exists()
    assert kept >= wanted
    if number == signal.SIGTERM:
        assert code == 143
        assert forking.errors.splitlines()[-1].startswith("error: interrupted; what is done (")
    else:
        assert code == -signal.SIGKILL
    assert forking.run(command(arguments, out)) == 0, forking.errors
    assert f"going on from {kept} finished pieces" in " ".join(forking.errors.split())
    assert not (tmp_path / "mine.safetensors.kept").exists()
    one, other = json.loads(forking.printed), json.loads(in_one_go[0])
    for left in (one, other):
        left.pop("timings")
        left["direction"].pop("file")
    assert one == other
    a, b = (rhat.directions.Direction.load(path) for path in (out, in_one_go[1]))
    assert torch.equal(a.unit, b.unit)


def test_the_direction_is_there_as_soon_as_it_is_known(arguments, tmp_path, monkeypatch):
    """The study is ended before its first experiment; r̂ is that of a search of its own, and stays the same to the end."""
    config = StudyConfig(**arguments, out=tmp_path / "run")

    def killed(*_given):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(sys.modules["rhat.study.run"], "_stage", killed)
        with pytest.raises(Killed):
            run(config)
    written = tmp_path / "run" / "direction.safetensors"
    early = rhat.Direction.load(written)
    assert not (tmp_path / "run" / "results.json").exists()
    contrast, loaded = open_prompts(config), open_model(config)
    found = find(loaded, contrast, find_settings(config)).direction
    assert torch.equal(early.unit, found.unit)
    assert early.describe() == found.describe()
    early.check_fits(loaded)
    assert run(config)["outcome"].startswith("found")
    at_the_end = rhat.Direction.load(written)
    assert torch.equal(early.unit, at_the_end.unit)
    assert early.describe() == at_the_end.describe()
