"""A model hub in miniature: the part of the hub's protocol that loading a model uses, on this machine."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse

GATED = "org/gated"


class Hub(ThreadingHTTPServer):
    """`repos` maps "owner/name" to revision → folder of files; `asked` is every path that was asked for."""

    daemon_threads = True

    def __init__(self, repos: dict[str, dict[str, Path]]) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.repos = repos
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


def commit_of(repo: str, revision: str) -> str:
    """The commit that a revision stands for, forty hex digits."""
    return hashlib.sha1(f"{repo}@{revision}".encode()).hexdigest()


class _Answer(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def log_message(self, *_args: object) -> None:
        pass

    def answer(self, *, body: bool) -> None:
        path = unquote(urlparse(self.path).path)
        self.server.asked.append(path)
        file = re.fullmatch(r"/([\w.-]+/[\w.-]+)/resolve/([^/]+)/(.+)", path)
        api = re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+?)(?:/(?:revision|tree)/([^/]+).*)?", path)
        found = file or api
        if found is None:
            return self.refuse(404, "EntryNotFound", "no such page")
        repo, revision = found[1], found[2] or "main"
        if repo == GATED:
            return self.refuse(403, "GatedRepo", f"Access to model {repo} is restricted.")
        if repo not in self.server.repos:
            return self.refuse(401, "RepoNotFound", "Repository not found")
        commits = {commit_of(repo, r): r for r in self.server.repos[repo]}
        revision = commits.get(revision, revision)
        folder = self.server.repos[repo].get(revision)
        if folder is None:
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        headers = {"X-Repo-Commit": commit_of(repo, revision)}
        if file is None:
            names = sorted(p.name for p in folder.iterdir())
            if "/tree/" in path:
                said: object = [
                    {"type": "file", "path": n, "size": (folder / n).stat().st_size, "oid": n} for n in names
                ]
            else:
                said = {"id": repo, "sha": headers["X-Repo-Commit"], "siblings": [{"rfilename": n} for n in names]}
            return self.give(json.dumps(said).encode(), headers | {"Content-Type": "application/json"}, body)
        if not (folder / file[3]).is_file():
            return self.refuse(404, "EntryNotFound", "Entry not found", headers)
        data = (folder / file[3]).read_bytes()
        return self.give(data, headers | {"ETag": f'"{hashlib.sha256(data).hexdigest()}"'}, body)

    def give(self, data: bytes, headers: dict[str, str], body: bool, status: int = 200) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def refuse(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        said = {"X-Error-Code": code, "X-Error-Message": message, **(headers or {})}
        self.give(json.dumps({"error": message}).encode(), said, self.command == "GET", status)


@contextmanager
def serving(repos: dict[str, dict[str, Path]]) -> Iterator[Hub]:
    """The hub at work inside the `with`."""
    hub = Hub(repos)
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()
