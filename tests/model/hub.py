"""A model hub in miniature: the part of the hub's protocol that loading a model and pushing a few files use, on this machine."""

from __future__ import annotations

import base64
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
TOKEN, OWNER = "hf_writes", "org"  # who may push, and where


class Hub(ThreadingHTTPServer):
    """`repos` maps "owner/name" to revision → folder of files; `asked` is every path that was asked for.

    Who has TOKEN may make repositories of OWNER in the folder `made`, and put files into them.
    """

    daemon_threads = True

    def __init__(self, repos: dict[str, dict[str, Path]], made: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.repos, self.made = repos, made
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

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = unquote(urlparse(self.path).path)
        self.server.asked.append(path)
        if path == "/api/validate-yaml":
            return self.say({"errors": [], "warnings": []})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.refuse(401, "", "Invalid username or password.")
        put = re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)/(preupload|commit)/main", path)
        if path == "/api/repos/create":
            given = json.loads(body)
            return self.create(f"{given.get('organization') or OWNER}/{given['name']}")
        if put is None or put[1] not in self.server.repos:
            return self.refuse(404, "RepoNotFound", "Repository not found")
        if put[2] == "preupload":
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
            ]
            return self.say({"files": files})
        for one in map(json.loads, body.splitlines()):
            if one["key"] == "file":
                target = self.server.repos[put[1]]["main"] / one["value"]["path"]
                target.write_bytes(base64.b64decode(one["value"]["content"]))
        commit = commit_of(put[1], "main")
        return self.say(
            {"success": True, "commitUrl": f"{self.server.url}/{put[1]}/commit/{commit}", "commitOid": commit}
        )

    def create(self, repo: str) -> None:
        if not repo.startswith(f"{OWNER}/") or self.server.made is None:
            return self.refuse(403, "", f"You don't have the rights to create a model under {repo}")
        if repo in self.server.repos:
            return self.say({"error": "You already created this model repo", "url": f"{self.server.url}/{repo}"}, 409)
        folder = self.server.made / repo.replace("/", "--")
        folder.mkdir()
        self.server.repos[repo] = {"main": folder}
        return self.say({"url": f"{self.server.url}/{repo}", "name": repo})

    def say(self, answer: object, status: int = 200) -> None:
        self.give(json.dumps(answer).encode(), {"Content-Type": "application/json"}, body=True, status=status)

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
        self.give(json.dumps({"error": message}).encode(), said, self.command != "HEAD", status)


@contextmanager
def serving(repos: dict[str, dict[str, Path]], made: Path | None = None) -> Iterator[Hub]:
    """The hub at work inside the `with`."""
    hub = Hub(repos, made)
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()
