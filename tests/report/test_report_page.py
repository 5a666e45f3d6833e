import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import pytest

import studies
from rhat import report
from rhat import results as contract
from rhat.errors import ArtifactError
from rhat.questions import KEYS, QUESTIONS
from rhat.report import drawings, page
from rhat.results import records

SECRET = "how to pick this very particular lock"


def html_of(results):
    run = records(results)
    return page.render(run, drawings.drawn(run))


class Outline(HTMLParser):
    """Tags, their attributes, and the page's visible text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.words, self.inside = [], [], ""
        self.feed(html)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = tag

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside not in ("script", "style"):
            self.words.append(data)

    def ids(self, tag):
        return [attrs["id"] for name, attrs in self.tags if name == tag and "id" in attrs]


def test_draw_writes_the_page_and_every_figure(drawn_folder):
    svgs = sorted(path.name for path in (drawn_folder / "figures").iterdir())
    assert svgs == sorted(f"{d.name}.svg" for d in drawings.FIGURES if d.name not in studies.NEEDS_CATEGORIES)
    assert (drawn_folder / "report.html").stat().st_size > 1_000_000
    assert sorted(path.name for path in drawn_folder.iterdir()) == ["figures", "report.html", "results.json"]


def test_nothing_is_loaded_from_anywhere(drawn_folder):
    html = (drawn_folder / "report.html").read_text("utf-8")
    outline = Outline(html)
    loads = [attrs.get("src") or attrs.get("href") for _, attrs in outline.tags if "src" in attrs or "href" in attrs]
    links = [attrs["href"] for tag, attrs in outline.tags if tag == "a"]
    beside = {path.name for path in drawn_folder.iterdir()}  # files of the run that a reader may open
    others = [link for link in loads if not link.startswith(("#", "data:"))]
    assert [link for link in others if link not in links or link not in beside] == []
    style = (page.TEMPLATES / "style.css").read_text("utf-8")
    assert "@import" not in style
    assert "url(" not in style
    assert "fetch(" not in (page.TEMPLATES / "script.js").read_text("utf-8")


def test_plotly_is_there_once(drawn_folder):
    from plotly.offline import get_plotlyjs

    html = (drawn_folder / "report.html").read_text("utf-8")
    assert html.count(get_plotlyjs()) == 1


def test_the_answer_comes_first_in_five_lines(results):
    html = html_of(results)
    start = html.index('<div class="answer">')
    answer = html[start : html.index("</ol>", start)]
    assert answer.count("<li>") == 5
    for number in (
        "88%",
        "0.0 points [−4.1, 4.1]",
        "2.0% [0.8, 5.0]",
        "65% of tokens",
        "8 points",
        "1 head 16%",
        "+2.0 points [0.1, 5.0]",
    ):
        assert number in answer
    assert html.index('class="answer"') < html.index("<section")


def test_a_section_per_question_with_heading_figures_and_captions(results):
    outline = Outline(html_of(results))
    sections = outline.ids("section")
    assert [f"question-{key}" for key in KEYS if key in studies.RELEASED_ASKED] == [
        s for s in sections if s.startswith("question")
    ]
    assert sections[-9:] == ["guard", "controls", "tokens", "candidates", "prompts", "run", "limits", "cite", "terms"]
    levels = [int(tag[1]) for tag, _ in outline.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    tags = [tag for tag, _ in outline.tags]
    assert tags.count("table") == tags.count("caption") > 20
    plots = [attrs for tag, attrs in outline.tags if attrs.get("class") == "plot"]
    newer = [d for question in QUESTIONS if question.key not in studies.RELEASED_ASKED for d in question.figures]
    assert len(plots) == len(drawings.FIGURES) - len(newer) - len(studies.RELEASED_LACKS)
    assert all(plot["aria-description"] and plot["aria-labelledby"] for plot in plots)
    places = {"main", *sections, *outline.ids("div")}
    assert [attrs["href"] for tag, attrs in outline.tags if tag == "a" and attrs["href"][1:] not in places] == []


def test_tables_show_rates_with_interval_and_n(results):
    row = next(r for r in results["rates"] if r["condition"] == "add_average")
    text = Outline(html_of(results)).text
    assert f"Add mean 88% [{100 * row['ci_low']:.1f}, {100 * row['ci_high']:.1f}]" in text
    assert "Holm p" in text


def test_each_field_can_be_missing(released, monkeypatch):
    monkeypatch.setattr(page, "page", lambda _template, _figures, **context: context["sections"])
    full = len(page.render(released, []))
    for name, field in type(released).model_fields.items():
        if name == "comparisons":  # a run with scopes must have theirs
            with pytest.raises(ArtifactError, match="comparisons: expected scope:"):
                page.render(released.model_copy(update={"comparisons": (), "primary": ()}), [])
        elif not field.is_required():
            default = field.get_default(call_default_factory=True)
            left = released.model_copy(update={name: default})
            assert full - 3 <= len(page.render(left, [])) <= full


def test_a_relaxed_direction_is_labelled(results):
    text = Outline(html_of(results | {"outcome": "found_relaxed"})).text
    assert "relaxed rule chose this direction" in text


def test_limits_citation_and_files_are_of_this_run(results, tmp_path):
    html = html_of(results)
    for words in ("Rates rest on 100 to 200 test prompts", "70 of 256 harmful, 255 of 256 harmless", "year = {2026}",
                  "weights 1d9614638d18", "preset standard, seed 0", "arXiv 2406.11717"):  # fmt: skip
        assert words in html, words
    widest = max(row["ci_high"] - row["ci_low"] for row in results["rates"])
    assert f"spans {100 * widest:.0f} points" in html
    assert 'id="files"' not in html  # a page on its own links nothing
    (tmp_path / "results.json").write_text(json.dumps(results))
    report.draw(tmp_path)
    assert '<a href="results.json">' in (tmp_path / "report.html").read_text("utf-8")
    assert "per_prompt.parquet" not in (tmp_path / "report.html").read_text("utf-8")


def test_names_are_escaped(results):
    results["model"]["name"] = "<script>alert(1)</script>"
    results["outcome_sentence"] = "</script><b>&"
    for row in results["pca"]:
        row["points"][0]["category"] = "</script><script>alert(2)"
    html = html_of(results)
    assert "<script>alert" not in html
    assert "&lt;/script&gt;&lt;b&gt;&amp;" in html


def test_draw_of_a_folder_without_results_says_so(tmp_path):
    with pytest.raises(ArtifactError, match="no such file"):
        report.draw(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_importing_the_report_loads_nothing_heavy():
    code = (
        "import sys, rhat.report, rhat.report.page, rhat.display.static, rhat.report.drawings;"
        "print([m for m in ('torch', 'transformers', 'plotly', 'matplotlib', 'jinja2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_drawing_needs_no_torch_and_gives_the_same_page_again(drawn_folder, tmp_path):
    """In another process, whose sets have another order."""
    shutil.copytree(drawn_folder, tmp_path / "again")
    code = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None;"
        f"import rhat.report; rhat.report.draw({str(tmp_path / 'again')!r})"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "again" / "report.html").read_bytes() == (drawn_folder / "report.html").read_bytes()


QUICK = (
    "schema_version", "outcome", "outcome_sentence", "settings", "model", "prompts", "direction", "selection",
    "candidates", "refusal_tokens", "timings", "manifest",
)  # fmt: skip


def quick(results):
    """What `--only induce,suppress` leaves of a run."""
    kept = {key: results[key] for key in QUICK}
    kept["comparisons"] = [c for c in results["comparisons"] if c["question"] in ("induce", "suppress")]
    measured = {(name, c["prompts"]) for c in kept["comparisons"] for name in (c["treatment"], c["reference"])}
    kept["rates"] = [row for row in results["rates"] if (row["condition"], row["prompts"]) in measured]
    return kept


def test_a_run_of_two_questions_leaves_the_others_out(results):
    outline = Outline(html_of(quick(results)))
    others = ["tokens", "candidates", "prompts", "run", "limits", "cite", "terms"]
    assert outline.ids("section") == ["question-induce", "question-suppress", *others]


def test_draw_again_removes_figures_that_are_no_longer_there(tmp_path, results):
    contract.write(quick(results), tmp_path)
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "pca.svg").write_text("old")
    (tmp_path / "figures" / "mine.svg").write_text("kept")
    files = report.draw(tmp_path)
    assert files[0] == tmp_path / "report.html"
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {path.name for path in files[1:]} | {"mine.svg"}


@pytest.mark.parametrize("outcome", ["no_refusal", "no_candidate"])
def test_outcomes_without_a_direction_say_so(results, outcome):
    left = {key: results[key] for key in ("schema_version", "model", "prompts", "selection", "candidates", "manifest")}
    left |= {"outcome": outcome, "outcome_sentence": "3 of 256 were refused."}
    left["rates"] = [r for r in results["rates"] if r["condition"] == "baseline"]
    text = Outline(html_of(left)).text
    assert "3 of 256 were refused." in text
    assert {"no_refusal": "hardly refuses", "no_candidate": "No direction was chosen"}[outcome] in text
    assert "Baseline" in text


def test_texts_of_prompts_and_completions_never_appear(results):
    """What a file holds beside the contract is not read, so it cannot be shown."""
    results["rates"][0]["text"] = SECRET
    for row in results["pca"]:
        row["points"][0] |= {"text": SECRET, "completion": SECRET}
    results["completions"] = [{"prompt": SECRET, "text": SECRET}]
    assert SECRET not in html_of(results)


def test_compare_puts_runs_side_by_side(tmp_path, results):
    other = quick(results) | {"model": results["model"] | {"name": "another-1b"}}
    for name, found in (("first", results), ("second", other)):
        contract.write(found, tmp_path / name)
    runs = report.compare([tmp_path / "first", tmp_path / "second"], tmp_path / "out" / "compare.html")
    assert [run.model for run in runs] == [results["model"]["name"], "another-1b"]
    assert runs[0].layer == 18
    row = next(r for r in results["rates"] if (r["condition"], r["prompts"]) == ("ablate", "harmful"))
    assert runs[0].rates["ablate", "harmful"].rate == row["rate"]
    assert "AUROC" in runs[0].cells()
    assert runs[1].auroc is None
    assert "AUROC" not in runs[1].cells()
    outline = Outline((tmp_path / "out" / "compare.html").read_text("utf-8"))
    assert "another-1b" in outline.text
    assert runs[0].cells()["Set projection, harmless"] in outline.text


def test_compare_without_a_page_gives_the_rows_only(tmp_path, results):
    contract.write(quick(results), tmp_path / "a" / "run")
    contract.write(quick(results), tmp_path / "b" / "run")
    runs = report.compare([tmp_path / "a" / "run", tmp_path / "b" / "run"])
    assert [run.name for run in runs] == [str(tmp_path / "a" / "run"), str(tmp_path / "b" / "run")]
    with pytest.raises(ArtifactError, match="got no folder"):
        report.compare([])


def test_version_1_and_its_upgrade_draw_the_same(tmp_path):
    """The first release's study is stored as version 1; written again it is of the newest version, with the same page and figures."""
    pages = []
    for name in ("old", "new"):
        folder = tmp_path / name
        if name == "old":
            folder.mkdir()
            (folder / "results.json").write_bytes((studies.RELEASED / "results.json").read_bytes())
        else:
            contract.write(contract.read(studies.RELEASED), folder)
        pages.append({path.name: path.read_bytes() for path in report.draw(folder)})
    assert pages[0] == pages[1]
