"""Capture of means at all layers and template positions: rhat against plain transformers and three libraries."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import Row, seconds, timed
from subject import CACHE, Subject

PEERS_FOLDER = Path(__file__).with_name("peers")
INSTALL_SECONDS, RUN_SECONDS = 900, 900


@dataclass(frozen=True)
class Peer:
    """Another way to the same means: its script, and what its venv needs (nothing: rhat's own)."""

    title: str
    script: str
    needs: str = ""
    note: str = ""


PEERS = (
    Peer("transformers, hooks", "transformers_hooks.py"),
    Peer("transformers, hooks, no head, sorted", "transformers_headless.py"),
    Peer("steering-vectors", "steering_vectors_recorded.py", "steering-vectors==0.12.2"),
    Peer("nnsight", "nnsight_traced.py", "nnsight==0.8.1"),
    Peer("repeng", "repeng_hiddens.py", "repeng==0.4.0", "last token only"),
)


def measure(subject: Subject) -> list[Row]:
    """Time the same means by everybody, and hold the means against one another."""
    n, runs = (64, 1) if subject.quick else (256, 2)
    prompts = subject.model.tokenize(subject.texts(n, "train"))
    k = subject.model.template_length
    ours = timed(lambda: means(subject.model, prompts), runs=runs + 3)
    truth = means(subject.model, prompts)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for peer in PEERS:
            job = {
                "folder": str(subject.folder),
                "prompts": [list(p) for p in prompts],
                "pad": subject.model.pad_id,
                "positions": k,
                "runs": runs,
                "out": f"{folder}/means.npy",
            }
            results[peer.title] = one = run_peer(peer, job, Path(folder), truth)
            subject.say(f"{peer.title}: {seconds(one['median']) if 'median' in one else one['skipped']}")
    ran = {title: result for title, result in results.items() if "median" in result}
    fastest = min(ran, key=lambda title: ran[title]["median"], default=None)
    theirs = ran[fastest]["median"] if fastest else None
    return [
        Row(
            "capture",
            f"means at all {subject.model.n_layers} layers and {k} positions, {n} prompts",
            seconds(ours.median),
            f"{seconds(theirs)} ({fastest})" if fastest else "none could be run",
            "≥ 2× the fastest",
            theirs / ours.median if fastest else None,
            limit=2,
            runs=runs,
            note="; ".join(f"{title}: {result['skipped']}" for title, result in results.items() if "skipped" in result),
            details={"rhat": ours.said(), "peers": results},
        )
    ]


def means(model: Any, prompts: list[tuple[int, ...]]) -> np.ndarray:
    """Means of resid_pre at every layer and template position by rhat's capture, float64 [layer, position, d]."""
    from rhat.capture import Moments, captured
    from rhat.model.plans import plan
    from rhat.sites import Site

    positions = range(-model.template_length, 0)
    sites = [Site("resid_pre", layer) for layer in range(model.n_layers)]
    batches = captured(model, plan(prompts, model.template_length), sites, tuple(positions))
    parts = [Moments.of(torch.stack([found[site].double() for site in sites], 1)) for _, found in batches]
    return sum(parts[1:], parts[0]).mean.numpy()


def run_peer(peer: Peer, job: dict[str, Any], folder: Path, truth: np.ndarray) -> dict[str, Any]:
    """Run a peer in its own venv: its times and how far its means are from ours, or why it was skipped."""
    python, problem = python_of(peer)
    if problem:
        return {"skipped": problem}
    path = folder / "job.json"
    path.write_text(json.dumps(job))
    try:
        done = subprocess.run(
            [python, str(PEERS_FOLDER / peer.script), str(path)], capture_output=True, text=True, timeout=RUN_SECONDS
        )
    except subprocess.TimeoutExpired:
        return {"skipped": f"did not finish within {RUN_SECONDS} s"}
    if done.returncode:
        return {"skipped": f"failed: {(done.stderr.strip().splitlines() or ['?'])[-1][:160]}"}
    result = json.loads(done.stdout.strip().splitlines()[-1])
    found = np.load(job["out"])  # outputs of blocks: those of block l are resid_pre of l + 1
    ours = truth[1:, -found.shape[1] :]
    error = np.linalg.norm(found[:-1] - ours, axis=-1) / np.linalg.norm(ours, axis=-1)
    return {
        "median": float(np.median(result["wall"])),
        "wall": result["wall"],
        "cpu": result["cpu"],
        "versions": result["versions"],
        "largest_relative_difference": float(error.max()),
        "note": peer.note,
    }


def python_of(peer: Peer) -> tuple[str, str]:
    """The interpreter of a peer's venv, made if it is not there; or why that cannot be done."""
    if not peer.needs:
        return sys.executable, ""
    folder = CACHE / peer.needs.split("==")[0]
    python = folder / "bin" / "python"
    check = [str(python), "-m", "pip", "show", "-q", peer.needs.split("==")[0]]
    if python.exists() and subprocess.run(check, capture_output=True).returncode == 0:
        return str(python), ""
    folder.parent.mkdir(parents=True, exist_ok=True)
    install = [str(python), "-m", "pip", "install", "-qq", f"torch=={torch.__version__.split('+')[0]}", peer.needs]
    for command in ([sys.executable, "-m", "venv", str(folder)], install):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS)
        except subprocess.TimeoutExpired:
            return "", f"could not be installed within {INSTALL_SECONDS} s"
        if done.returncode:
            return "", f"could not be installed: {(done.stderr.strip().splitlines() or ['?'])[-1][:160]}"
    return str(python), ""
