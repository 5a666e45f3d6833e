"""Write what saved gauges say into docs/gauges.md, and their figure beside it, with the command that made them.

.venv/bin/python docs/gauges.py gauges.json "rhat gauges -d direction.safetensors --preset quick"
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from rhat.gauges import Gauges
from rhat.gauges.verdict import judged

PAGE = Path(__file__).parent / "gauges.md"
FIGURE = Path(__file__).parent / "images" / "gauges.svg"
BEGIN, END = "<!-- gauges: docs/gauges.py -->", "<!-- end of gauges -->"


def section(found: Gauges, command: str) -> str:
    """What was found on a model, in the words that its rows have now."""
    said = judged(found)
    harm, refusal = found.gauges
    lines = [
        f"`{command}` on {found.model.name}, rhat {found.rhat_version}:",
        "",
        f"> {said['sentence']}",
        "",
        *(f"- {sentence}" for sentence in said["sentences"]),
        "",
        f"![Every test prompt in the plane of both gauges](images/{FIGURE.name})",
        "",
        "| Gauge | Site | Position | Length | Mean of harmful training prompts | Mean of harmless ones |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
        *(
            f"| {one.name} | {one.site} | −{-one.position} | {one.length:.2f} | {one.mean_harmful:.2f} | "
            f"{f'{one.mean_harmless:.2f}'.replace('-', '−')} |"
            for one in (harm, refusal)
        ),
    ]
    return "\n".join(lines)


def page(text: str, found: Gauges, command: str) -> str:
    """The page with its section as the gauges have it."""
    return re.sub(f"(?s){BEGIN}.*{END}", lambda _: f"{BEGIN}\n{section(found, command)}\n{END}", text)


if __name__ == "__main__":
    file, command = sys.argv[1:]
    PAGE.write_text(page(PAGE.read_text("utf-8"), Gauges.load(file), command), "utf-8")
    shutil.copyfile(Path(file).with_suffix(".svg"), FIGURE)
