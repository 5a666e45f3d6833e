"""Take the pictures of the playground that README.md and docs/serving.md show, from a server of the default model and its study.

rhat serve -d runs/default/direction.safetensors --study runs/default
.venv/bin/python docs/playground.py http://127.0.0.1:8000
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).parent / "images"
WINDOWS = {"desktop": (1280, 900, 1), "phone": (390, 844, 2)}  # width, height, and dots for each of these pixels
PATIENCE = 600_000  # milliseconds


def take(browser: Any, url: str, name: str) -> None:
    """The first example, answered without and with its intervention."""
    width, height, dots = WINDOWS[name]
    context = browser.new_context(viewport={"width": width, "height": height}, device_scale_factor=dots)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(url)
    page.click("#rhat-example-0")
    page.wait_for_function("document.querySelector('#rhat-prompt textarea').value !== ''")
    page.click("#rhat-go")
    page.get_by_text("Both answers are complete").wait_for()
    page.mouse.move(0, 0)
    page.screenshot(path=IMAGES / f"playground-{name}.png", full_page=True)
    context.close()


def main() -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for name in WINDOWS:
            take(browser, sys.argv[1], name)
        browser.close()


if __name__ == "__main__":
    main()
