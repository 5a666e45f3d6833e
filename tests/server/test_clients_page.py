"""The table of clients in docs/serving.md: the clients that are installed do what their rows say."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def clients():
    spec = importlib.util.spec_from_file_location("clients", ROOT / "docs" / "clients.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_client_that_is_installed_does_what_its_row_says(clients):
    pytest.importorskip("openai", reason="the openai client is not installed")
    outcomes = clients.tried([sys.executable])
    assert "openai" in outcomes
    rows = clients.rows(clients.PAGE.read_text("utf-8"))
    for client, (version, checks) in outcomes.items():
        assert set(checks.values()) == {"yes"}, (client, version, checks)
        told = clients.row(client, version, checks)
        assert rows[client].split("|")[3] == told.split("|")[3], "run python docs/clients.py"


def test_the_page_has_a_row_for_each_client_and_none_failed(clients):
    page = clients.PAGE.read_text("utf-8")
    rows = clients.rows(page)
    assert list(rows) == list(clients.CLIENTS)
    assert not [row for row in rows.values() if "; not" in row or "nothing" in row]
    assert clients.written(page, {}) == page


def test_what_failed_is_told(clients):
    checks = {"chat": "yes", "streaming": "got 'a', expected 'b'"}
    assert clients.row("openai", "9.9", checks) == "| `openai` | 9.9 | chat; not streaming |"


def test_an_answer_that_differs_is_not_a_yes(clients, monkeypatch):
    """Against a server that is there, with a truth that is wrong."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clients, "SECONDS", 120)
        given = {
            "url": "http://127.0.0.1:9",
            "key": "x" * 9,
            "user": "a",
            "truth": {"chat": "b", "history": "c", "rhat": "d", "text": "e"},
        }
        given |= {"tool": clients.TOOL, "history": clients.HISTORY, "rhat": clients.RHAT}
        found = clients.run_client(sys.executable, "openai", json.loads(json.dumps(given)))
    assert "yes" not in found.values()
    assert all("Connection error" in said for said in found.values()), found
