"""Terms: each is explained where a section first names it, by the glossary's words."""

import importlib.util
from pathlib import Path

from rhat.report.terms import GLOSSARY, Terms, glossary

DOCS = Path(__file__).parents[2] / "docs"


def generator():
    spec = importlib.util.spec_from_file_location("glossary", DOCS / "glossary.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reports_glossary_is_that_of_the_docs():
    module = generator()
    page = module.PAGE.read_text("utf-8")
    assert module.text(page) == GLOSSARY.read_text("utf-8"), "run docs/glossary.py"
    named = {row["term"] for row in module.rows(page)}
    assert set(module.WORDS) <= {one for name in named for one in name.split(", ")}


def test_the_terms_that_readers_asked_for_are_explained():
    assert {"nats", "KL", "LAT", "resid_pre", "AUROC", "CCS", "r̂", "McNemar", "refusal score"} <= set(glossary())


def test_the_first_of_a_section_is_linked_and_all_are_listed_once():
    terms = Terms()
    first = terms.explained("KL is 0.1 nats & <b>; KLX, nats again, Refusal scores")
    assert first == (
        '<a class="term" href="#term-kl">KL</a> is 0.1 <a class="term" href="#term-nats">nats</a> &amp; &lt;b&gt;; KLX, nats again, '
        '<a class="term" href="#term-refusal-score">Refusal scores</a>'
    )
    assert terms.explained("KL") == "KL"
    terms.afresh()
    assert "term-kl" in terms.explained("KL")
    assert [term for _, term, _ in terms.listed()] == ["KL", "nats", "refusal score"]


def test_names_in_code_and_ids_are_left_alone():
    terms = Terms()
    assert terms.explained("`nats` resid_pre_x x.KL") == "`nats` resid_pre_x x.KL"
    assert "term-rhat" in terms.explained("Removing r̂ made it")
