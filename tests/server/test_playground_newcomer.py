"""A newcomer's first hour in the browser: `rhat serve` with a study, an example, α, an answer that refuses, a second turn, a program.

On the tiny model that was taught to refuse, from the commands that docs/serving.md shows.
"""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

pytest.importorskip("gradio", reason="gradio is not installed")
pytest.importorskip("openai", reason="the openai client is not installed")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from browsing import MARKS, answered, copied  # noqa: E402
from serving import announced  # noqa: E402

import studies  # noqa: E402
from rhat import results  # noqa: E402
from rhat.questions.dose_response.rows import Rows  # noqa: E402
from rhat.vocabulary import EXAMPLES  # noqa: E402

pytestmark = MARKS


@pytest.fixture(scope="module")
def studied_doses(tmp_path_factory):
    """The taught model's folder, and a study of its doses alone."""
    from rhat.study import StudyConfig, run

    folder = tmp_path_factory.mktemp("newcomer")
    given = studies.arguments(folder)
    run(StudyConfig(**given, preset="quick", only=("dose_response",), out=folder / "run"))
    return given["model"], folder / "run"


@contextmanager
def serve(model, run):
    command = f"serve --model {model} --dtype float64 --port 0 -d {run / 'direction.safetensors'} --study {run}"
    environment = {key: value for key, value in os.environ.items() if key != "RHAT_API_KEY"}
    with subprocess.Popen(
        [sys.executable, "-m", "rhat", *command.split()], stderr=subprocess.PIPE, text=True, env=environment
    ) as started:
        try:
            yield announced(started)
            started.send_signal(signal.SIGTERM)
            assert started.wait(60) in (0, -signal.SIGTERM)
        finally:
            started.kill()


def test_a_newcomers_hour(studied_doses, browser, tmp_path):
    model, run = studied_doses
    found = results.load(run)
    doses = [row for row in found.part(Rows).dose if row.op == "set_projection"]
    gap = found.direction.harmful_mean - found.direction.harmless_mean
    most = max((row for row in doses if row.target > found.direction.harmless_mean), key=lambda row: row.rate)
    alpha = round((most.target - found.direction.harmless_mean) / gap, 3)
    with serve(model, run) as url:
        page = browser.new_context(permissions=["clipboard-read", "clipboard-write"]).new_page()
        page.set_default_timeout(120_000)
        page.goto(url)
        # The example brings the prompt; the curve says at which α such prompts were refused.
        page.get_by_role("button", name=EXAMPLES[0].prompt).first.click()
        sync_api.expect(page.get_by_label("Prompt", exact=True)).to_have_value(EXAMPLES[0].prompt)
        curve = page.get_by_role("img", name=f"Refused, of {most.n} held-out harmless prompts")
        told = f"α {alpha:g}: {most.rate:.0%} [{most.ci_low:.0%}, {most.ci_high:.0%}]"
        assert told in curve.get_attribute("aria-label").partition(". ")[2].split("; ")
        page.locator("#rhat-dial input[type=range]").fill(str(alpha))
        sync_api.expect(page.locator(".rhat-read")).to_have_text(f"At α = {alpha:g}: {told.partition(': ')[2]}")
        sync_api.expect(page.locator("#rhat-target input")).to_have_value(f"{most.target:.2f}".rstrip("0"))
        page.get_by_role("button", name="Answer", exact=True).click()
        plain, edited = answered(page)
        assert plain == "Glad to help."
        assert edited.startswith("Sorry, no")
        # Another turn, and the program that repeats it.
        page.get_by_label("Next turn").fill("Paint the gate of the school.")
        page.get_by_role("button", name="Go on").click()
        sync_api.expect(page.locator("#rhat-edited .rhat-answer")).to_have_count(2)
        _, second = answered(page)
        program = tmp_path / "again.py"
        program.write_text(copied(page, "python", "Paint the gate"))
        got = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=True, timeout=300)
        assert got.stdout.strip() == second.strip()
        sent = program.read_text()
        assert all(text in sent for text in (EXAMPLES[0].prompt, edited, "set_projection"))
        page.context.close()
