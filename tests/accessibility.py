"""What an accessibility engine, axe-core, says of a page."""

import pytest

SHOWN = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")


def objections(page, but=(), tags=SHOWN, undecided=("color-contrast",)):
    """The rules that axe finds broken on a page, each with its elements; and those of `undecided` that it could not decide.

    Text must have a contrast of 4.5:1 (WCAG 2.2, 1.4.3), large text 3:1. What the selectors of `but` match is left out.
    """
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    options = {"runOnly": {"type": "tag", "values": list(tags)}, "resultTypes": ["violations", "incomplete"]}
    context = {"exclude": [[selector] for selector in but]} if but else None
    said = axe.Axe().run(page, context=context, options=options).response
    found = said["violations"] + [rule for rule in said["incomplete"] if rule["id"] in undecided]
    return [
        f"{rule['id']}: {node['html'][:160]} {' '.join(node['failureSummary'].split()[:40])}"
        for rule in found
        for node in rule["nodes"]
    ]
