"""rhat verify: a study that took place agrees with what it kept; each kind of change to it is found."""

import json
import shutil
import subprocess
import sys

import pyarrow
import pyarrow.parquet
import pytest

from rhat.cli.app import run as rhat
from rhat.errors import ArtifactError, VerificationError
from rhat.verification import verify


@pytest.fixture
def folder(studied, tmp_path):
    """A copy of a study for a test to change."""
    for name in ("results.json", "per_prompt.parquet", "completions.jsonl"):
        shutil.copy(studied / name, tmp_path)
    return tmp_path


def change(folder, alter):
    """Change results.json."""
    path = folder / "results.json"
    found = json.loads(path.read_text())
    alter(found)
    path.write_text(json.dumps(found))


def test_a_study_agrees_with_what_it_kept(studied, capfd):
    found = verify(studied)
    assert {
        "rates",
        "comparisons",
        "primary",
        "scores",
        "power",
        "scopes",
        "horizon_changes",
        "heads.comparisons",
        "pipeline",
        "resamples",
        "control_ranks",
        "projections",
        "auroc",
        "histogram",
    } <= set(found.checked)
    for name in ("rates", "scores", "comparisons", "primary", "power", "horizon", "horizon_changes", "half_effect"):
        assert name not in found.unchecked, name
    assert set(found.checked) | set(found.unchecked) >= {"damage", "layers", "ccs", "pca"}  # said, not left out
    assert rhat(["verify", str(studied)]) == 0
    said = capfd.readouterr().out
    assert f"{sum(found.checked.values())} values computed again" in said
    assert "not checked" in said
    assert "damage" in said


def test_it_needs_no_torch(studied):
    code = (
        "import sys; from rhat.verification import verify; "
        f"verify({str(studied)!r}); sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


NUMBERS = [
    ("rates", 3, "ci_high"),
    ("rates", 1, "corrected_rate"),
    ("drift", 1, "kl_mean"),
    ("comparisons", 0, "mcnemar_p"),
    ("comparisons", 1, "equivalence_p"),
    ("comparisons", 3, "corrected_ci_low"),
    ("power", 0, "prompts_needed"),
    ("primary", 1, "p"),
    ("scopes", 1, "sequence_p"),
    ("half_effect", 0, "ci_low"),
    ("horizon_changes", 0, "late"),
    ("repe", "boosts", 0, "points"),
    ("guard", 0, "estimate"),
    ("pipeline", "pipeline_ci_low"),
    ("control_ranks", 0, "p"),
    ("matched_controls", 1, "effect"),
    ("resamples", 3, "effect", "ci_high"),
]


@pytest.mark.parametrize("path", NUMBERS, ids=lambda path: ".".join(map(str, path)))
def test_a_changed_number_is_found(folder, path):
    def alter(found):
        if path[0] == "half_effect" and path[0] not in found:
            pytest.skip("on this machine the taught model refuses at no dose, or at all: there is no half")
        for part in path[:-1]:
            found = found[part]
        found[path[-1]] = found[path[-1]] + 1 if isinstance(found[path[-1]], int) else found[path[-1]] * 0.9 + 0.01

    change(folder, alter)
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    with pytest.raises(VerificationError) as told:
        verify(folder)
    assert f"results.json: {name}: " in str(told.value)
    assert "is written" in str(told.value)
    assert "was computed from per_prompt.parquet" in str(told.value)


def test_a_changed_verdict_is_found(folder, capfd):
    def alter(found):
        row = next(row for row in found["comparisons"] if row["verdict"] != "better")
        row["verdict"] = "better"

    change(folder, alter)
    assert rhat(["verify", str(folder)]) == 1
    said = capfd.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert '.verdict: "better" is written, "' in said[0]


def test_a_claim_that_is_added_or_left_out_is_found(folder):
    change(folder, lambda found: found["primary"].pop())
    with pytest.raises(VerificationError, match="primary: "):
        verify(folder)


def parquet(folder, alter):
    path = folder / "per_prompt.parquet"
    rows = pyarrow.parquet.read_table(path).to_pydict()
    alter(rows)
    pyarrow.parquet.write_table(pyarrow.table(rows), path)


@pytest.mark.parametrize("condition", ["ablate", "audit:baseline"])
def test_a_changed_row_is_found(folder, condition):
    def alter(rows):
        at = next(i for i, name in enumerate(rows["condition"]) if name == condition)
        rows["verdict"][at] = "complied" if rows["verdict"][at] == "refused" else "refused"

    parquet(folder, alter)
    with pytest.raises(VerificationError):
        verify(folder)


def test_a_row_that_no_number_stands_on_is_found_by_the_hash(folder):
    def alter(rows):
        at = next(i for i, name in enumerate(rows["condition"]) if name == "audit:baseline")
        rows["score"][at] += 1e-6

    parquet(folder, alter)
    with pytest.raises(VerificationError, match=r"manifest\.sha256: "):
        verify(folder)


def test_rows_that_are_gone_are_found(folder):
    def alter(rows):
        keep = [i for i, name in enumerate(rows["condition"]) if name != "ablate"]
        for name in rows:
            rows[name] = [rows[name][i] for i in keep]

    parquet(folder, alter)
    with pytest.raises(VerificationError, match=r"prompts under ablate are written, per_prompt\.parquet has fewer"):
        verify(folder)


def test_files_that_are_missing_or_damaged_are_told(folder, capfd):
    (folder / "per_prompt.parquet").write_bytes(b"PAR1")
    with pytest.raises(ArtifactError, match="cannot be read"):
        verify(folder)
    (folder / "per_prompt.parquet").unlink()
    assert rhat(["verify", str(folder)]) == 2
    assert "per_prompt.parquet: no such file; give the folder of a finished `rhat study`" in capfd.readouterr().err
