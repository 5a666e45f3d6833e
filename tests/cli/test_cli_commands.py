"""What each command does and prints, on a tiny random model; the numbers are computed again another way."""

import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch

import rhat as library
from rhat.cli import app, steer
from rhat.cli.files import check_output
from rhat.directions import Direction
from rhat.errors import ArtifactError
from rhat.questions import QUESTIONS

TEXTS = [
    "Write a haiku about the sea.",
    "How do I boil an egg?",
    "Name a river.",
    "Why is the sky blue at noon?",
]


@pytest.fixture(scope="module")
def model(folder):
    return library.load(folder)


def objects(text):
    return [json.loads(line) for line in text.splitlines()]


class TestHelp:
    def test_lists_every_command_and_imports_nothing_heavy(self):
        code = (
            "import sys; from rhat.cli import run; run(['--help']); "
            "print([m for m in ('torch', 'transformers', 'numpy', 'pandas', 'plotly') if m in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "[]"
        listed = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("│ ") and line[2].isalpha()]
        assert {
            "study",
            "find",
            "steer",
            "measure",
            "models",
            "download",
            "check",
            "report",
            "compare",
        } <= set(listed)

    @pytest.mark.parametrize("name", app.LazyGroup().list_commands(None))
    def test_of_each_command_has_examples(self, cli, name):
        done = cli(name, "--help")
        assert done.code == 0
        assert f"rhat {name}" in done.out.partition("Example")[2]

    def test_version(self, cli):
        assert cli("--version").out == f"rhat {library.__version__}\n"

    def test_without_arguments_is_help(self, cli):
        assert "Usage: rhat" in cli().out

    def test_module_is_the_command_too(self):
        done = subprocess.run([sys.executable, "-m", "rhat", "--version"], capture_output=True, text=True, check=True)
        assert done.stdout == f"rhat {library.__version__}\n"


class TestFailures:
    @pytest.fixture
    def failing(self, monkeypatch):
        def command(error):
            def models():
                raise error

            monkeypatch.setattr("rhat.cli.models.models", models)

        return command

    def test_interrupt(self, cli, failing):
        failing(KeyboardInterrupt())
        done = cli("models")
        assert done.code == 130
        assert done.err.count("\n") == 1
        assert done.err == "error: interrupted; nothing was written\n"

    def test_signals_end_it_as_ctrl_c_does(self, cli, monkeypatch):
        import signal

        before = signal.getsignal(signal.SIGTERM)
        hung_up = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup the tests themselves ignore it
        try:
            for name, code in (("SIGTERM", 143), ("SIGHUP", 129)):
                monkeypatch.setattr(
                    "rhat.cli.models.models", lambda name=name: signal.raise_signal(getattr(signal, name))
                )
                done = cli("models")
                assert (done.code, done.err) == (code, "error: interrupted; nothing was written\n")
            assert signal.getsignal(signal.SIGTERM) is before
        finally:
            signal.signal(signal.SIGHUP, hung_up)

    def test_a_signal_that_the_process_was_started_to_ignore_stays_ignored(self, cli, monkeypatch):
        import signal

        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            monkeypatch.setattr("rhat.cli.models.models", lambda: signal.raise_signal(signal.SIGHUP))
            assert cli("models").code == 0
        finally:
            signal.signal(signal.SIGHUP, before)

    def test_debug_shows_where_wherever_it_stands(self, cli):
        plain, first, last = (
            cli("report", "none"),
            cli("--debug", "report", "none"),
            cli("report", "none", "--debug"),
        )
        assert "Traceback" not in plain.err
        for done in (first, last):
            assert done.code == 2
            assert "Traceback" in done.err
            assert done.err.splitlines()[-1] == plain.err.strip()

    def test_bug_is_one_line_and_says_to_report_it(self, cli, failing):
        failing(RuntimeError("two\nlines"))
        done = cli("models")
        assert done.code == 1
        assert done.err.startswith("error: unexpected RuntimeError: two lines; this is a fault of rhat")
        assert done.err.count("\n") == 1

    @pytest.mark.parametrize(
        ("error", "line"),
        [
            (
                OSError(28, "No space left on device", "x.json"),
                "error: x.json: No space left on device; free some space",
            ),
            (MemoryError(), "error: not enough memory"),
            (torch.OutOfMemoryError("CUDA"), "error: not enough memory"),
        ],
    )
    def test_what_the_machine_refuses(self, cli, failing, error, line):
        failing(error)
        done = cli("models")
        assert done.code == 2
        assert done.err.startswith(line)

    @pytest.mark.parametrize("lines", [10, 100_000])  # noticed when the buffer is flushed at the end, or before
    def test_reader_that_goes_away_is_no_error(self, lines):
        code = (
            "import sys; from rhat.cli import models, run\n"
            "def many():\n"
            f"    for i in range({lines}): print('x' * 80)\n"
            "models.models = many; sys.exit(run(['models']))"
        )
        usual = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        pipe = subprocess.PIPE
        with subprocess.Popen([sys.executable, "-c", code], stdout=pipe, stderr=pipe, env=usual) as process:
            process.stdout.close()
            assert process.stderr.read() == b""
            assert process.wait() == 0


class TestFind:
    def test_saves_and_tells(self, cli, found, tmp_path):
        found("found")
        out = tmp_path / "new" / "r.safetensors"
        done = cli("find", "--out", out)
        assert done.code == 0
        assert "found: this is the sentence of found" in done.out
        assert f"saved to {out}" in done.out
        assert "selected" in done.out
        assert Direction.load(out).mean_harmful == 4.0

    def test_top_limits_the_table(self, cli, found, tmp_path):
        found("found")
        done = cli("find", "--out", tmp_path / "r.safetensors", "--top", 1)
        assert "the best 1 of 3" in done.out
        assert "zero_norm" not in done.out

    @pytest.mark.parametrize("outcome", ["no_candidate", "no_refusal"])
    def test_nothing_found_is_a_result(self, cli, found, tmp_path, outcome):
        found(outcome)
        done = cli("find", "--out", tmp_path / "r.safetensors")
        assert done.code == 0
        assert f"{outcome}: this is the sentence of {outcome}" in done.out
        assert "no file was written" in done.out
        assert not list(tmp_path.iterdir())

    def test_model_that_hardly_refuses(self, cli, folder, tmp_path):
        for name, verb in (("harmful", "Break"), ("harmless", "Mend")):
            (tmp_path / f"{name}.txt").write_text("".join(f"{verb} thing {i}, please.\n" for i in range(10)))
        done = cli(
            "find",
            "-m",
            folder,
            "--harmful",
            tmp_path / "harmful.txt",
            "--harmless",
            tmp_path / "harmless.txt",
            "--out",
            tmp_path / "r.safetensors",
        )
        assert done.code == 0, done.err
        assert "no_refusal" in done.out
        assert not (tmp_path / "r.safetensors").exists()

    def test_overwrite(self, cli, found, tmp_path):
        found("found")
        out = tmp_path / "r.safetensors"
        out.write_text("mine")
        assert cli("find", "--out", out, "--overwrite").code == 0
        assert Direction.load(out).layer == 1

    def test_json(self, cli, found, tmp_path):
        made = found("found")
        said = json.loads(cli("find", "--out", tmp_path / "r.safetensors", "--format", "json").out)
        assert said["outcome"] == "found"
        assert said["direction"]["site"] == "resid_pre.1"
        assert said["candidates"] == list(made.candidates)

    def test_jsonl_is_the_candidates(self, cli, found, tmp_path):
        made = found("no_candidate")
        done = cli("find", "--out", tmp_path / "r.safetensors", "--format", "jsonl")
        assert objects(done.out) == list(made.candidates)


class TestMeasure:
    def expected(self, model, direction):
        r = Direction.load(direction)
        values = []
        for text in TEXTS:
            ids = torch.tensor([model.tokenize([text])[0]])
            hidden = model.hf(ids, output_hidden_states=True).hidden_states[r.layer]
            values.append(float(hidden[0, r.position].double() @ r.unit.double()))
        return values

    @pytest.fixture
    def file(self, tmp_path):
        path = tmp_path / "p.jsonl"
        path.write_text("".join(json.dumps({"id": f"p{i}", "text": t}) + "\n" for i, t in enumerate(TEXTS)))
        return path

    def test_numbers(self, cli, model, folder, direction, file):
        done = cli("measure", "-m", folder, "-d", direction, file, "--format", "jsonl")
        rows = objects(done.out)
        assert [row["id"] for row in rows] == ["p0", "p1", "p2", "p3"]
        values = self.expected(model, direction)
        assert [row["projection"] for row in rows] == pytest.approx(values, abs=1e-4)
        assert [row["scaled"] for row in rows] == pytest.approx(
            [(v + 2) / 6 for v in values], abs=1e-4
        )  # means −2 and 4

    def test_numbers_at_the_instructions_last_token(self, cli, model, folder, another_direction, file):
        earlier = another_direction(position=-model.template_length - 1)
        rows = objects(cli("measure", "-m", folder, "-d", earlier, file, "--format", "jsonl").out)
        assert [row["projection"] for row in rows] == pytest.approx(self.expected(model, earlier), abs=1e-4)

    def test_stdin_and_json(self, cli, model, folder, direction, monkeypatch):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(TEXTS).encode())))
        rows = json.loads(cli("measure", "-m", folder, "-d", direction, "--format", "json").out)
        assert [row["projection"] for row in rows] == pytest.approx(self.expected(model, direction), abs=1e-4)

    def test_table(self, cli, model, folder, direction, file):
        done = cli("measure", "-m", folder, "-d", direction, file)
        line = next(line for line in done.out.splitlines() if line.startswith("p2"))
        assert line.split()[1].replace("−", "-") == f"{self.expected(model, direction)[2]:.2f}"
        assert "resid_pre.1, position −1" in done.out

    def test_prompts_longer_than_the_context_are_rejected(self, cli, folder, direction, file, tmp_path, model):
        limit = model.text_config.max_position_embeddings
        rows = [{"id": f"p{i}", "prompt": " ".join(["word"] * (2 * limit if i % 2 else 2))} for i in range(4)]
        (tmp_path / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        done = cli("measure", "-m", folder, "-d", direction, tmp_path / "long.jsonl")
        lengths = [len(tokens) for tokens in model.tokenize([row["prompt"] for row in rows])]
        assert done.code == 2
        assert f"2 prompts are longer than the {limit} tokens" in done.err.replace("\n", " ")
        assert f"p1 ({lengths[1]}), p3 ({lengths[3]})" in done.err


class TestStreamedPrompts:
    def test_stdin_is_read_no_further_than_needed(self, monkeypatch):
        from rhat.prompts.streaming import stream_texts

        class Endless:
            buffer = (f"prompt {i}\n".encode() if i < 10 else pytest.fail("read too far") for i in range(10**12))

        monkeypatch.setattr(sys, "stdin", Endless)
        chunks = stream_texts("-", chunk=3)
        assert next(chunks) == (
            ("prompt-0001", "prompt 0"),
            ("prompt-0002", "prompt 1"),
            ("prompt-0003", "prompt 2"),
        )
        assert next(chunks)[0] == ("prompt-0004", "prompt 3")

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("a.jsonl", '\ufeff{"id": "x", "prompt": " One. "}\n\n{"prompt": "Two."}\n"Three."\n'),
            ("a.txt", "One.\n\n Two. \nThree."),
            ("a.json", '["One.", {"text": "Two."}]'),
            ("a.csv", "text\nOne.\nTwo.\n"),
        ],
    )
    def test_gives_what_reading_at_once_gives(self, tmp_path, name, text):
        from rhat.prompts import read_texts
        from rhat.prompts.streaming import count_texts, stream_texts

        (tmp_path / name).write_text(text, encoding="utf-8")
        whole = read_texts(tmp_path / name)
        assert tuple(pair for chunk in stream_texts(tmp_path / name, chunk=2) for pair in chunk) == whole
        assert count_texts(tmp_path / name) == len(whole)


class TestSteer:
    @pytest.mark.parametrize("op", ["set_projection", "add", "subtract", "ablate"])
    def test_both_answers_are_what_the_library_says(self, cli, model, folder, direction, op):
        done = cli(
            "steer",
            "-m",
            folder,
            "-d",
            direction,
            "--op",
            op,
            "--max-new-tokens",
            12,
            "--format",
            "jsonl",
            *TEXTS,
        )
        rows = objects(done.out)
        assert [row["prompt"] for row in rows] == TEXTS
        plain = model.generate(TEXTS, 12)
        with getattr(library, op)(Direction.load(direction)).on(model):
            edited = model.generate(TEXTS, 12)
        assert [row["without"] for row in rows] == [c.text for c in plain]
        assert [row["with"] for row in rows] == [c.text for c in edited]
        assert plain != edited
        assert rows[0]["intervention"]["op"] == op

    def test_options_reach_the_intervention(self, cli, folder, direction):
        options = ("--value", 7.5, "--layer", 2, "--scope", "first_generated:3", "--max-new-tokens", 2)
        done = cli("steer", "-m", folder, "-d", direction, "--op", "add", *options, "--format", "json", "Hello.")
        (row,) = json.loads(done.out)
        assert row["intervention"] == {
            "op": "add",
            "sites": "resid_pre.2",
            "scope": "first_generated:3",
            "coefficient": 7.5,
        }
        assert row["finish"]["without"] in ("length", "stop")

    def test_more_prompts_than_fit_come_back_in_order(self, cli, folder, direction, monkeypatch):
        texts = [f"Say {'very ' * (i % 5)}long number {i}." for i in range(9)]
        monkeypatch.setattr(steer, "SLOTS", 2)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(texts).encode())))
        options = ("--max-new-tokens", 6, "--format", "jsonl")
        rows = objects(cli("steer", "-m", folder, "-d", direction, "--op", "ablate", *options, "-").out)
        assert [row["prompt"] for row in rows] == texts

    def test_the_name_of_a_file_is_no_prompt(self, refused, folder, direction, tmp_path):
        file = tmp_path / "prompts.txt"
        file.write_text("Sing.\n")
        line = refused("steer", "-m", folder, "-d", direction, "--op", "ablate", "Sing.", file)
        assert f"{file}: is a file" in line
        assert f"- < {file}" in line

    def test_pipe_gets_plain_text(self, cli, model, folder, direction):
        done = cli("steer", "-m", folder, "-d", direction, "--op", "ablate", "--max-new-tokens", 5, TEXTS[0])
        answer = model.generate([TEXTS[0]], 5)[0].text
        assert done.out.startswith(f"# {TEXTS[0]}\n\n## without\n\n{answer}\n\n## ablate\n\n")

    def test_terminal_gets_two_columns(self, monkeypatch):
        from rich.console import Console

        screen = io.StringIO()
        console = Console(file=screen, force_terminal=True, width=60, height=20, highlight=False)
        monkeypatch.setattr(steer, "out", lambda: console)
        first, second = steer.Answer("One?"), steer.Answer("Two?")

        def growing():
            second.without, second.with_, second.reasons = "22", "2222", {"without": "stop", "with_": "stop"}
            yield 1, second
            first.without, first.with_ = "x [b] " * 400, "no"
            yield 0, first
            first.without, first.reasons = "done [b]", {"without": "stop", "with_": "stop"}
            yield 0, first

        steer._live(growing(), 2, "ablate")
        text = screen.getvalue()
        assert text.index("done [b]") < text.index("2222")
        assert "│ done [b]" in text


class TestModels:
    def test_jsonl(self, cli, monkeypatch, tmp_path):
        from rhat.model.catalogue import CATALOGUE, CONVERTER

        monkeypatch.setenv("RHAT_CACHE", str(tmp_path))
        entry = CATALOGUE["smollm2-135m"]
        (tmp_path / "models" / entry.sha256[:16]).mkdir(parents=True)
        (tmp_path / "models" / entry.sha256[:16] / "rhat.json").write_text(f'{{"converter": {CONVERTER}}}')
        rows = objects(cli("models", "--format", "jsonl").out)
        assert [row["name"] for row in rows] == list(CATALOGUE)
        assert {row["name"]: row["state"] for row in rows}["smollm2-135m"] == "ready"
        assert [row["name"] for row in rows if row["default"]] == ["qwen2.5-coder-0.5b"]

    def test_download_of_what_is_here(self, cli, monkeypatch, tmp_path):
        self.test_jsonl(cli, monkeypatch, tmp_path)
        done = cli("download", "smollm2-135m", "--offline")
        assert (done.code, done.err) == (0, "")
        assert "smollm2-135m is ready in" in done.out

    def test_download_offline_of_what_is_not(self, refused, monkeypatch, tmp_path):
        monkeypatch.setenv("RHAT_CACHE", str(tmp_path))
        assert "not in the cache and --offline was given" in refused("download", "smollm2-135m", "--offline")
        assert not list(tmp_path.iterdir())


class TestCheck:
    def test_sound_model(self, cli, folder):
        done = cli("check", folder, "--format", "jsonl")
        assert done.code == 0
        assert objects(done.out)

    def test_unsound_model_is_told_by_the_exit_code(self, cli, folder, monkeypatch):
        from rhat.model import check

        @dataclass
        class Unsound:
            ok = False

            def rows(self):
                return [{"site": "resid_pre", "ok": False}]

        monkeypatch.setattr(check, "check", lambda _model: Unsound())
        done = cli("check", folder)
        assert done.code == 1
        assert "NOT SOUND" in done.out


class TestStudies:
    @pytest.fixture
    def results(self):
        return {
            "schema_version": 3,
            "outcome": "found",
            "outcome_sentence": "r̂ [b] is at layer 1.",
            "model": {"name": "tiny", "n_layers": 3, "d_model": 48},
            "direction": {
                "site": "resid_pre.1",
                "layer": 1,
                "position": -1,
                "norm": 6.0,
                "method": "mean_difference",
            },
            "conditions": {
                "baseline": {"op": "none"},
                "add_average": {"op": "add"},
                "set_projection": {"op": "set_projection"},
            },
            "rates": [
                {
                    "condition": condition,
                    "prompts": "harmless",
                    "n": 200,
                    "refused": refused,
                    "complied": 200 - refused,
                    "partial": 0,
                    "degenerate": 0,
                    "rate": refused / 200,
                    "ci_low": low,
                    "ci_high": high,
                }
                for condition, refused, low, high in (
                    ("baseline", 2, 0.003, 0.036),
                    ("set_projection", 100, 0.431, 0.569),
                    ("add_average", 60, 0.241, 0.367),
                )
            ],
            "comparisons": [
                {
                    "treatment": "add_average",
                    "reference": "set_projection",
                    "prompts": "harmless",
                    "n": 200,
                    "difference": -0.2,
                    "ci_low": -0.27,
                    "ci_high": -0.13,
                    "ci90_low": -0.26,
                    "ci90_high": -0.14,
                    "mcnemar_p": 1e-6,
                    "holm_p": 1e-6,
                    "margin": 0.1,
                    "equivalent": False,
                    "noninferior": False,
                    "verdict": "worse",
                    "question": "induce",
                }
            ],
        }

    @pytest.fixture
    def configured(self, monkeypatch, results):
        seen = []

        def run(config, progress, draw, executor, told):
            progress("setting", 1, 2)
            seen.append(config if executor is None else (config, executor))
            return results

        monkeypatch.setattr("rhat.study.run", run)
        return seen

    def test_options_reach_the_configuration(self, cli, configured, monkeypatch, tmp_path):
        class FakeRay:
            def __init__(self, arguments, address, workers):
                self.given = arguments["name"], arguments["max_memory"], address, workers

            def __enter__(self):
                return self

            def __exit__(self, *error):
                self.given = (*self.given, "closed")

        monkeypatch.setattr("rhat.distributed.RayExecutor", FakeRay)
        done = cli(
            "study",
            "--model",
            "m",
            "--preset",
            "quick",
            "--out",
            tmp_path / "run",
            "--harmful",
            "a.jsonl",
            "--harmless",
            "b.csv",
            "--borderline",
            "c.txt",
            "--twins",
            "d.txt",
            "--only",
            "induce, scopes",
            "--seed",
            3,
            "--margin",
            0.05,
            "--dtype",
            "float32",
            "--offline",
            "--revision",
            "v1",
            "--system",
            "Be brief.",
            "--chat-template",
            "t.jinja",
            "--device",
            "cpu",
            "--trust-remote-code",
            "--overwrite",
            "--column",
            "q",
            "--executor",
            "ray",
            "--ray-address",
            "ray://head:10001",
            "--workers",
            3,
            "--max-memory",
            "8GB",
            "--adapter",
            "lora",
        )
        assert done.code == 0, done.err
        [(config, executor)] = configured
        assert executor.given == ("m", "8GB", "ray://head:10001", 3, "closed")
        assert [config] == [
            library.study.StudyConfig(
                model="m",
                preset="quick",
                out=tmp_path / "run",
                harmful="a.jsonl",
                harmless="b.csv",
                borderline="c.txt",
                twins="d.txt",
                only=("induce", "scopes"),
                seed=3,
                margin=0.05,
                dtype="float32",
                offline=True,
                revision="v1",
                system="Be brief.",
                chat_template="t.jinja",
                device="cpu",
                trust_remote_code=True,
                overwrite=True,
                column="q",
                executor="ray",
                max_memory="8GB",
                adapter="lora",
            )
        ]

    def test_a_budget_goes_with_the_preset_that_keeps_to_it(self, cli, configured, refused, tmp_path):
        assert cli("study", "--out", tmp_path / "run", "--preset", "auto", "--budget", "1h30m").code == 0
        assert (configured[0].preset, configured[0].budget) == ("auto", 5400)
        wrong = refused("study", "--out", tmp_path / "run", "--preset", "auto", "--budget", "soon")
        assert wrong.startswith("error: budget 'soon': expected a time such as 30m")
        wrong = refused("study", "--out", tmp_path / "run", "--budget", "30m")
        assert wrong == "error: --budget 30m: got --preset standard; expected --preset auto, which keeps to a budget"

    def test_defaults_are_those_of_the_configuration(self, cli, configured, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        assert cli("study").code == 0
        assert configured == [library.study.StudyConfig()]

    def test_prints_rates_comparisons_and_verdicts(self, cli, configured, tmp_path):
        out = cli("study", "--out", tmp_path).out
        assert "50% [43.1, 56.9]" in out
        assert "−20.0 points [−27.0, −13.0]" in out
        assert "found: r̂ [b] is at layer 1." in out
        [induce] = (question for question in QUESTIONS if question.key == "induce")
        assert f"{induce.title} Refusals of harmless prompts" in out
        assert f"report: {tmp_path / 'report.html'}" in out

    def test_machine_formats(self, cli, configured, results, tmp_path):
        assert json.loads(cli("study", "--out", tmp_path, "--format", "json").out) == results
        assert (
            objects(cli("study", "--out", tmp_path, "--format", "jsonl").out)
            == results["rates"] + results["comparisons"]
        )

    def test_unknown_experiment(self, refused, tmp_path):
        assert "experiment 'nonsense': expected some of" in refused(
            "study", "--only", "nonsense", "--out", tmp_path / "run"
        )
        assert not list(tmp_path.iterdir())

    def test_report_and_compare(self, cli, results, tmp_path):
        from rhat import results as contract

        for name in ("a", "b"):
            contract.write(results, tmp_path / name)
        done = cli("report", tmp_path / "a")
        assert done.code == 0, done.err
        assert (tmp_path / "a" / "report.html").exists()
        page = tmp_path / "page.html"
        done = cli("compare", tmp_path / "a", tmp_path / "b", "--out", page)
        assert done.out.count("50% [43.1, 56.9]") == 2
        assert page.exists()
        rows = json.loads(cli("compare", tmp_path / "a", tmp_path / "b", "--format", "json").out)
        assert [(row["run"], row["layer"], len(row["rates"])) for row in rows] == [("a", 1, 3), ("b", 1, 3)]
        assert cli("compare", tmp_path / "a", "--out", page).code == 2


class TestProgress:
    def test_lines_where_there_is_no_terminal(self, capfd, monkeypatch):
        from rhat.cli import progress

        clock = iter([0, 5, 20, 30, 40])
        monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
        report = progress.Lines()
        for stage, done, total in (
            ("one", 0, 10),
            ("one", 1, 10),
            ("one", 2, 10),
            ("one", 10, 10),
            ("two", 0, 1),
        ):
            report(stage, done, total)
        assert capfd.readouterr().err == "one …\none: 20 %, 1:20 left\ntwo …\n"

    @pytest.mark.parametrize(("left", "says"), [(185.0, "3:05 left of all"), (0.0, "longer than was told")])
    def test_what_is_left_of_all_is_no_time_once_more_is_used_than_was_told(self, left, says, capfd, monkeypatch):
        from rhat.cli import progress
        from rhat.scoring.speed import Speed
        from rhat.selection.told import Told

        told = Told({"one": left}, Speed(1.0, 0.5, 2.0, 0.25, 3.0, 0.125, 10.0, 0.0))
        clock = iter([0, 5, 20])
        report = progress.Lines()
        report.told = told
        monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
        for done in range(3):
            report("one", done, 10)
        assert capfd.readouterr().err == f"one …\none: 20 %, 1:20 left; {says}\n"

    def test_bars_name_the_stage_and_keep_the_seconds(self, monkeypatch):
        from rich.console import Console

        from rhat.cli import progress

        screen = io.StringIO()
        console = Console(file=screen, force_terminal=True, width=100)
        monkeypatch.setattr(progress, "err", lambda: console)
        clock = iter([0.0, 75.0, 75.0, 75.5])
        with progress.progress() as report:
            monkeypatch.setattr(report, "clock", lambda: next(clock))
            report("first [b] stage", 1, 4)
            report("second stage", 1, 4)
        text = screen.getvalue()
        assert "first [b] stage" in text
        assert "1:15" in text
        assert "✓ second" not in text


def test_nothing_is_created_by_looking_whether_it_could_be(tmp_path):
    check_output(tmp_path / "deep" / "r.safetensors", overwrite=False)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ArtifactError, match="no space left on the disk"):
        check_output(tmp_path / "r.safetensors", overwrite=False, needs=1 << 60)


@pytest.mark.model
def test_default_model(cli, default_model, tmp_path):
    unit = torch.randn(default_model.d_model, generator=torch.Generator().manual_seed(0))
    file = tmp_path / "r.safetensors"
    from rhat.sites import Site

    Direction(unit / unit.norm(), Site("resid_pre", 12), -1, 9.0, 8.0, 1.0, model=default_model.describe()).save(file)
    done = cli(
        "steer",
        "-d",
        file,
        "--op",
        "add",
        "--value",
        1.0,
        "--max-new-tokens",
        8,
        "--format",
        "jsonl",
        "Name a river.",
    )
    (row,) = objects(done.out)
    assert row["without"] == default_model.generate(["Name a river."], 8)[0].text
