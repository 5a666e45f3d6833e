import importlib.util
from pathlib import Path

from rhat import results as contract

ROOT = Path(__file__).parents[1]


def example():
    spec = importlib.util.spec_from_file_location("example", ROOT / "docs" / "example.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_number_of_the_readme_comes_from_the_example():
    module = example()
    results = contract.load(module.EXAMPLE)
    readme = (ROOT / "README.md").read_text("utf-8")
    assert module.put(readme, module.block(results)) == readme
    guard = module.GUARD.read_text("utf-8")
    assert module.put(guard, module.guard_block(results)) == guard


def test_links_of_the_readme_and_docs_lead_somewhere():
    import re

    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))):
        prose = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)|src=\"([^\"]+)\"", prose):
            target = "".join(target)
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"
