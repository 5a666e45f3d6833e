"""docs/families.md and the README's table of families say what the conformance table says now."""

import importlib.util
from pathlib import Path

import pytest
import transformers

from tiny import FAMILIES

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def families():
    spec = importlib.util.spec_from_file_location("families", ROOT / "docs" / "families.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_begins_as_the_table_says(families):
    """Its second table is held row by row by tests/model/test_every_architecture.py."""
    assert families.PAGE.read_text("utf-8").startswith(families.conformance()), "run python docs/families.py"


def test_a_few_rows_of_the_second_table_are_what_running_gives(families):
    page = families.PAGE.read_text("utf-8").splitlines()
    if not any(f"transformers {transformers.__version__}." in line for line in page):
        pytest.skip("the page was made with another version of transformers")
    for kind in ("llama", "falcon_h1", "doge", "nemotron_h", "rwkv", "deepseek_v4"):
        assert families.line(families.tried(kind)) in page, "run python docs/families.py"


def test_the_readmes_block_is_the_one_that_the_table_makes(families):
    readme = families.README.read_text("utf-8")
    assert families.put(readme, families.block()) == readme, "run python docs/families.py"


def test_a_block_is_put_between_its_marks_only(families):
    text = f"before\n{families.BEGIN}\nold\n{families.END}\nafter\n"
    assert families.put(text, "new") == text.replace("old", "new")
    assert families.put("no marks\n", "new") == "no marks\n"


def test_every_family_that_was_asked_for_has_a_row():
    asked = (
        "llama mistral qwen2 qwen3 qwen3-moe gemma2 gemma3 gemma3-multimodal phi3 gpt2 gpt-neox gpt-j opt bloom falcon "
        "stablelm olmo2 granite cohere mixtral deepseek-v3 gpt-oss smollm3 mamba jamba"
    )
    assert set(asked.split()) <= set(FAMILIES)
