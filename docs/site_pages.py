"""What mkdocs adds to the pages of docs/: pages from elsewhere in the repository, and the notebook, as it was run.

mkdocs loads this as a hook (mkdocs.yml). A link to a file that is no page of the site becomes plain text.
"""

from __future__ import annotations

import html
import json
import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ELSEWHERE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "src/rhat/prompts/data/README.md": "data-card.md",
    "src/rhat/scoring/data/README.md": "labelled-answers.md",
    "benchmarks/answers/README.md": "answers.md",
}
"""Pages that stand elsewhere in the repository, and their names on the site."""
NOTEBOOKS = {path.name: path.stem + ".md" for path in sorted((ROOT / "docs").glob("*.ipynb"))}
LINK = re.compile(r"\[((?:[^\[\]]|!?\[[^\]]*\])*)\]\(([^)\s#]*)(#[^)\s]*)?\)")
IMAGE = re.compile(r'(<img src=")([^"]+)"')


def on_files(files: Any, config: Any) -> Any:
    """The site's files with the pages from elsewhere and the notebooks."""
    from mkdocs.structure.files import File

    for source, name in ELSEWHERE.items():
        if (ROOT / source).exists():
            files.append(File.generated(config, name, content=moved((ROOT / source).read_text("utf-8"), source)))
    for source, name in NOTEBOOKS.items():
        page = as_markdown(json.loads((ROOT / "docs" / source).read_text("utf-8")))
        files.append(File.generated(config, name, content=moved(page, f"docs/{source}")))
    return files


def on_page_markdown(markdown: str, page: Any, **_kept: Any) -> str:
    """A page of docs/ with its links out of docs/ led to the site's pages."""
    return markdown if page.file.generated_by else moved(markdown, f"docs/{page.file.src_uri}")


def moved(markdown: str, source: str) -> str:
    """A page with links as they are on the site, where all pages are in one folder; code blocks stay."""
    folder = posixpath.dirname(source)

    def target(link: str) -> str | None:
        path = posixpath.normpath(posixpath.join(folder, link))
        if path in ELSEWHERE:
            return ELSEWHERE[path]
        if path.startswith("docs/"):
            name = path.removeprefix("docs/")
            on_site = (ROOT / path).is_file() and not name.endswith((".py", "examples.json"))
            return NOTEBOOKS.get(name, name) if on_site else None
        return None

    def link(found: re.Match[str]) -> str:
        text, to, anchor = found[1], found[2], found[3] or ""
        if not to or "://" in to or to.startswith("mailto:"):
            return found[0]
        led = target(to)
        return text if led is None else f"[{text}]({led}{anchor})"

    parts = re.split(r"(^```.*?^```)", markdown, flags=re.M | re.S)
    return "".join(
        part
        if part.startswith("```")
        else IMAGE.sub(lambda found: f'{found[1]}{target(found[2]) or found[2]}"', LINK.sub(link, part))
        for part in parts
    )


def as_markdown(notebook: dict[str, Any]) -> str:
    """A notebook's cells and what they put out, as a page."""
    lines = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            lines.append(source)
            continue
        lines.append(f"```python\n{source}\n```")
        lines += [_output(one) for one in cell.get("outputs", [])]
    return "\n\n".join(lines) + "\n"


def _output(output: dict[str, Any]) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        picture = "".join(data["image/png"]).replace("\n", "")
        return f'<img alt="figure" src="data:image/png;base64,{picture}">'
    if "text/html" in data:
        return "".join(data["text/html"])
    text = "".join(output.get("text", data.get("text/plain", "")))
    return f'<pre class="output">{html.escape(text)}</pre>' if text.strip() else ""
