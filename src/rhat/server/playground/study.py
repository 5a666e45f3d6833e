"""The figures and the report of a study, on the playground's second tab."""

from __future__ import annotations

from html import escape
from pathlib import Path
from urllib.parse import quote

from fastapi import FastAPI
from fastapi.responses import FileResponse, Response

from rhat.server.errors import RequestError


def figures(study: Path | None) -> str:
    """The study's figures as HTML, or how to show one."""
    if study is None:
        return "<p>No study is shown. Start the server with <code>--study FOLDER</code>, the folder of a <code>rhat study</code>.</p>"
    names = sorted(path.name for path in (study / "figures").glob("*.svg"))
    report = (study / "report.html").is_file()
    whole = (
        '<p><a href="/study/report.html" target="_blank" rel="noopener">Open the whole report</a></p>' if report else ""
    )
    if not names:
        return f"{whole}<p>{escape(str(study))} has no figures; draw them with <code>rhat report</code>.</p>"
    shown = "".join(
        f'<figure><a href="/study/figures/{quote(name)}" target="_blank" rel="noopener">'
        f'<img src="/study/figures/{quote(name)}" alt="{escape(_title(name))}" loading="lazy"></a></figure>'
        for name in names
    )
    return f'{whole}<div class="rhat-figures">{shown}</div>'


def _title(name: str) -> str:
    return Path(name).stem.replace("_", " ").replace("-", " ")


def serve_study(app: FastAPI, study: Path) -> None:
    """The study's figures and report, and no other file."""

    async def figure(name: str) -> Response:
        path = study / "figures" / name
        if path.suffix != ".svg" or path.name != name or not path.is_file():
            raise RequestError(404, "no such figure")
        return FileResponse(path, media_type="image/svg+xml")

    async def report() -> Response:
        path = study / "report.html"
        if not path.is_file():
            raise RequestError(404, "this study has no report; draw it with `rhat report`")
        return FileResponse(path, media_type="text/html")

    app.add_api_route("/study/figures/{name}", figure, include_in_schema=False, response_model=None)
    app.add_api_route("/study/report.html", report, include_in_schema=False, response_model=None)
