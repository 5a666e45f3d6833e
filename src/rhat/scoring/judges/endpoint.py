"""The judge `endpoint`: a model behind any OpenAI-compatible server, asked about each answer."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import time
import tomllib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from http.client import HTTPException
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import OpenerDirector, ProxyHandler, Request, build_opener

from rhat.errors import JudgeError
from rhat.scoring.judges.judge import CLASSES, Class, Judge, Judgement

DEFAULT_TEMPLATE = "three"
KEYS = ("RHAT_JUDGE_KEY", "OPENAI_API_KEY")  # environment variables that may hold the key, in this order
_AGAIN = (408, 409, 425, 429)  # a later try may succeed, as with any 5xx


@dataclass(frozen=True)
class Template:
    """What is asked, and what the words of a reply mean.

    Attributes:
        name: as it is asked for.
        ask: one message, or a user's and an assistant's in turn, with {prompt} and {answer} in them.
        replies: words of a reply, with the class that each stands for.
        max_tokens: of a reply.
        after: a regular expression; only the word that follows it counts. Without one, the first word with a meaning does.
    """

    name: str
    ask: tuple[str, ...]
    replies: Mapping[str, Class]
    max_tokens: int = 8
    after: str = ""

    def messages(self, prompt: str, answer: str) -> list[dict[str, str]]:
        """What is sent about an answer."""
        parts = {"prompt": prompt, "answer": answer}
        texts = [re.sub(r"\{(prompt|answer)\}", lambda found: parts[found[1]], text) for text in self.ask]
        return [{"role": "assistant" if number % 2 else "user", "content": text} for number, text in enumerate(texts)]

    def read(self, reply: str) -> Class | None:
        """The class that the word of a reply stands for; None if it has none with a meaning."""
        reply = re.sub(r"<think>.*?(</think>|\Z)", " ", reply, flags=re.DOTALL)
        words = "|".join(re.escape(word) for word in self.replies)
        found = re.search(rf"{self.after}(?<!\w)({words})(?!\w)", reply, re.IGNORECASE)
        meanings = {word.lower(): meaning for word, meaning in self.replies.items()}
        return meanings[found[1].lower()] if found else None


@dataclass(frozen=True)
class Endpoint:
    """Where the model is and how it is asked.

    Attributes:
        url: of the API, up to and with /v1.
        model: its name there.
        template: what is asked.
        timeout: seconds that one request may take.
        retries: further tries after one that failed in a way that may pass (no connection, late, 429, 5xx).
        wait: seconds before the first retry, doubled each time; a server's Retry-After is kept to, up to a minute.
        at_once: requests at a time.
        cache: folder where classes are kept, under a hash of judge, template, prompt and answer; None keeps nothing.
    """

    url: str
    model: str
    template: Template
    timeout: float = 60.0
    retries: int = 4
    wait: float = 0.5
    at_once: int = 4
    cache: Path | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def judge(self, prompts: Sequence[str], answers: Sequence[str]) -> list[Judgement | None]:
        """A class for each answer, None where the reply could not be understood.

        Raises:
            JudgeError: if some could not be had; those that could are kept, and asking again asks for the others only.
        """
        pairs = list(zip(prompts, answers, strict=True))
        keys = [self._key(*pair) for pair in pairs]
        known = self._kept()
        missing = {key: pair for key, pair in zip(keys, pairs, strict=True) if key not in known}
        failed: list[str] = []
        stop = threading.Event()

        def ask(key: str, prompt: str, answer: str) -> None:
            if stop.is_set():
                return
            try:
                label = self.template.read(self._reply(prompt, answer))
            except _Failed as error:
                failed.append(str(error))
                if error.final:
                    stop.set()
                return
            self._keep(key, label)
            known[key] = label

        with ThreadPoolExecutor(self.at_once) as pool:
            for done in [pool.submit(ask, key, *pair) for key, pair in missing.items()]:
                done.result()
        if failed:
            left = sum(key not in known for key in missing)
            raise JudgeError(
                f"judge {self.url}: {failed[0]}; {left} of {len(set(keys))} answers are not judged"
                + ("; the others are kept: run the same again" if self.cache else "; try again")
            )
        return [None if known[key] is None else Judgement(known[key]) for key in keys]  # type: ignore[arg-type]

    def _reply(self, prompt: str, answer: str) -> str:
        """What the model says, after as many tries as are allowed.

        Raises:
            _Failed: saying what the last try met with.
        """
        body = {
            "model": self.model,
            "messages": self.template.messages(prompt, answer),
            "max_tokens": self.template.max_tokens,
            "temperature": 0,
        }
        headers = {"Content-Type": "application/json"}
        key = next((os.environ[name] for name in KEYS if os.environ.get(name)), None)
        if key:
            headers["Authorization"] = f"Bearer {key}"
        request = Request(f"{self.url.rstrip('/')}/chat/completions", json.dumps(body).encode(), headers)
        pause = self.wait
        for tries_left in range(self.retries, -1, -1):
            asked_to_wait = None
            try:
                with _opener(urlsplit(self.url).hostname or "").open(request, timeout=self.timeout) as response:
                    return _content(response.read())
            except HTTPError as error:
                said = f"HTTP {error.code} {error.reason}"
                asked_to_wait = error.headers.get("Retry-After")
                error.close()
                if error.code not in _AGAIN and error.code < 500:
                    raise _Failed(f"{said}; check the address, the model's name and the key", final=True) from None
            except (URLError, OSError, HTTPException) as error:
                said = f"no answer ({getattr(error, 'reason', error) or type(error).__name__})"
            except ValueError as error:
                said = f"an answer that is not a chat completion ({error})"
            if tries_left:
                time.sleep(_seconds(asked_to_wait) or pause)
                pause *= 2
        raise _Failed(f"{said}, {self.retries + 1} times")

    def _key(self, prompt: str, answer: str) -> str:
        asked = [part for part in (*self.template.ask, self.template.after) if part]
        parts = (self.url, self.model, *asked, json.dumps(dict(self.template.replies)), prompt, answer)
        return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()

    def _file(self) -> Path | None:
        return None if self.cache is None else self.cache / "judgements.jsonl"

    def _kept(self) -> dict[str, Class | None]:
        file = self._file()
        if file is None or not file.exists():
            return {}
        found: dict[str, Class | None] = {}
        for line in file.read_text("utf-8").splitlines():
            try:
                row = json.loads(line)
                if row["class"] in (None, *CLASSES):
                    found[row["key"]] = row["class"]
            except (ValueError, KeyError, TypeError):
                continue  # a line that was cut off: it is asked for again
        return found

    def _keep(self, key: str, label: Class | None) -> None:
        file = self._file()
        if file is None:
            return
        with self._lock:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("a", encoding="utf-8") as out:
                out.write(f"{json.dumps({'key': key, 'class': label})}\n")


class _Failed(Exception):  # noqa: N818
    """A request that got no usable reply; `final` if none ever will."""

    def __init__(self, said: str, final: bool = False) -> None:
        super().__init__(said)
        self.final = final


def endpoint(address: str, *, cache: Path | None = None) -> Judge:
    """The judge at URL#MODEL or URL#MODEL#TEMPLATE; a template is one of the file's names, or a TOML file like it.

    Raises:
        JudgeError: if the address or the template cannot be used.
    """
    url, _, rest = address.partition("#")
    model, _, named = rest.partition("#")
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname or not model:
        raise JudgeError(
            f"endpoint {address!r}: expected URL#MODEL, for example endpoint:http://localhost:8000/v1#my-model"
        )
    template = find_template(named or DEFAULT_TEMPLATE)
    at = Endpoint(url, model, template, cache=cache)
    return Judge(f"endpoint:{url}#{model}", template.name, f"a server at {url}", at.judge)


def find_template(name: str) -> Template:
    """A template by its name, or from a TOML file with `ask` and `replies`.

    Raises:
        JudgeError: if there is none, or it lacks a part.
    """
    try:
        tables = {name: tomllib.loads(Path(name).read_text("utf-8"))} if name.endswith(".toml") else _templates()
    except (OSError, ValueError) as error:
        raise JudgeError(f"template {name}: cannot be read ({error}); give a TOML file with ask and replies") from error
    if name not in tables:
        raise JudgeError(f"template {name!r}: expected one of {', '.join(tables)}, or a .toml file")
    table = tables[name]
    replies = table.get("replies", {})
    ask = tuple(table.get("messages", [table.get("ask", "")]))
    whole, after = "".join(ask), table.get("after", "")
    if "{prompt}" not in whole or "{answer}" not in whole or not replies or not set(replies.values()) <= set(CLASSES):
        raise JudgeError(
            f"template {name}: expected `ask` with {{prompt}} and {{answer}}, and `replies` whose values are among "
            f"{', '.join(CLASSES)}"
        )
    try:
        if re.compile(after).groups:
            raise re.error("it has a group that is kept; write (?:…)")
    except re.error as error:
        raise JudgeError(f"template {name}: `after` is no regular expression that can be used: {error}") from error
    return Template(name, ask, replies, int(table.get("max_tokens", 8)), after)


@cache
def _templates() -> dict[str, Any]:
    source = resources.files("rhat.scoring") / "data" / "templates.toml"
    return tomllib.loads(source.read_text(encoding="utf-8"))


def _opener(host: str) -> OpenerDirector:
    """What opens addresses; this machine's own without a proxy."""
    here = host in ("localhost", "::1") or host.startswith("127.")
    return build_opener(ProxyHandler({})) if here else build_opener()


def _content(data: bytes) -> str:
    """The reply's text.

    Raises:
        ValueError: if it is not a chat completion.
    """
    try:
        content = json.loads(data)["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"no {error}") from error
    if isinstance(content, list):  # of parts
        content = "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return str(content or "")


def _seconds(header: str | None) -> float | None:
    try:
        return min(float(header), 60.0) if header else None
    except ValueError:
        return None
