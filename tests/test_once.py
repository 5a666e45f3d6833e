import subprocess
import sys
from pathlib import Path

import pytest

import once

ASK = """
import sys, time
from pathlib import Path
import once
once.shared = Path(sys.argv[1])
def make(folder):
    time.sleep(1)  # so that the others ask meanwhile
    with (folder / "made").open("a") as file:
        file.write("made\\n")
print((once.once("thing", make) / "made").read_text())
"""


@pytest.fixture(autouse=True)
def shared(tmp_path, monkeypatch):
    monkeypatch.setattr(once, "shared", tmp_path)


def test_it_is_made_once_whoever_asks(tmp_path):
    command = [sys.executable, "-c", ASK, str(tmp_path)]
    where = {"PYTHONPATH": str(Path(once.__file__).parent)}
    asking = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=where) for _ in range(3)]
    assert [one.communicate(timeout=60)[0].split() for one in asking] == [["made"]] * 3
    assert once.once("thing", lambda _folder: pytest.fail("made again")) == tmp_path / "thing"


def test_what_was_half_made_is_made_anew():
    def half(folder):
        (folder / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        once.once("thing", half)
    folder = once.once("thing", lambda folder: (folder / "whole").touch())
    assert [path.name for path in folder.iterdir()] == ["whole"]
