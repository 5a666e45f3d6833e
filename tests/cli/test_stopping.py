"""What an interrupted command says is kept."""

from pathlib import Path

import pytest

from rhat.cli.stopping import keeping


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([], None),
        (["study.json"], None),  # the settings alone are no work
        (["study.json", "a.piece"], "what is done (1 file) is kept"),
        (["study.json", "a.piece", "finding.json"], "what is done (2 files) is kept"),
    ],
)
def test_only_work_that_is_kept_is_counted(tmp_path: Path, files: list[str], said: str | None):
    for name in files:
        (tmp_path / name).write_text("{}", "utf-8")
    with pytest.raises(KeyboardInterrupt) as stopped, keeping(tmp_path):
        raise KeyboardInterrupt
    assert (str(stopped.value) == "") if said is None else str(stopped.value).startswith(said)
