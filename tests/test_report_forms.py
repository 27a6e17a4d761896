"""One view model, many forms: each valid by its own rules, none obeyed when a trace is hostile."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from json_schema import faults
from launching import under
from markdown_it import MarkdownIt
from reports import HOSTILE, finding, record, run_of

from gradpm.errors import UsageError
from gradpm.report import render
from gradpm.report.as_html import to_html
from gradpm.report.as_json import to_json
from gradpm.report.as_markdown import to_markdown
from gradpm.report.as_sarif import to_sarif
from gradpm.report.as_text import to_text
from gradpm.report.spans import Span, spans
from gradpm.report.verdict import verdict_of
from gradpm.report.view import read_all

SCHEMA: dict[str, Any] = json.loads(
    (resources.files("gradpm.report") / "schema.json").read_text(encoding="utf-8")
)
FORMS = {
    "text": to_text,
    "json": to_json,
    "markdown": to_markdown,
    "html": to_html,
    "sarif": to_sarif,
}


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One silent and one raising example, recorded."""
    folder = tmp_path_factory.mktemp("traces")
    return [record(folder, name) for name in ("01_detached", "07_frozen_backbone")]


def assert_valid(report: str) -> None:
    assert list(faults(json.loads(report), SCHEMA, SCHEMA)) == []


def test_real_reports_are_as_the_published_schema_says(traces: list[Path]) -> None:
    for trace in traces:
        assert_valid(render([trace], "json"))
    assert_valid(render(traces, "json"))
    assert_valid(to_json(run_of()))
    assert_valid(to_json(run_of(finding())))


def test_the_schema_refuses_what_is_not_a_report() -> None:
    report = json.loads(to_json(run_of(finding())))
    for spoil in (
        lambda r: r.pop("findings"),
        lambda r: r.update(format=2),
        lambda r: r.update(extra=1),
        lambda r: r["findings"][0].update(severity="fatal"),
        lambda r: r["findings"][0].update(code="GP99"),
        lambda r: r["findings"][0]["locations"][0].update(line="3"),
        lambda r: r["run"].update(exit_code=True),
        lambda r: r["run"].update(exception={"type": "E"}),
    ):
        spoilt = json.loads(json.dumps(report))
        spoil(spoilt)
        assert list(faults(spoilt, SCHEMA, SCHEMA))


def test_numbers_that_json_does_not_have_become_null() -> None:
    run = run_of(finding())
    run.backwards[0].update(loss=float("inf"))
    run.run.update(seconds=float("nan"))
    report = to_json(run)
    assert_valid(report)
    assert json.loads(report)["backwards"][0]["loss"] is None


@pytest.mark.parametrize("form", sorted(FORMS))
def test_each_form_tells_all_of_a_real_report(form: str, traces: list[Path]) -> None:
    told = render(traces[:1], form)
    assert FORMS[form](read_all(traces[:1])) == told
    seen = Tags(told).text if form == "html" else told
    for piece in ("GP101", "model.words.weight", "self.last_hidden = h.detach()", "01_detached.py"):
        assert piece in seen


@pytest.mark.parametrize("form", sorted(FORMS))
def test_a_healthy_run_is_told_as_healthy(form: str) -> None:
    told = FORMS[form](run_of(exception=None, cut_off=False))
    if form == "sarif":
        assert json.loads(told)["runs"][0]["results"] == []
    elif form == "json":
        assert json.loads(told)["findings"] == []
    else:
        assert "No finding" in told


@pytest.mark.parametrize("form", sorted(FORMS))
def test_hostile_text_never_reaches_a_terminal_or_file_as_it_is(form: str) -> None:
    told = FORMS[form](run_of(finding(HOSTILE), text=HOSTILE))
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\u2028\ud800]", told)
    told.encode("utf-8")
    assert "alert(1)" in told


def test_the_verdict_is_safe_too() -> None:
    told = verdict_of(run_of(finding(HOSTILE), finding(HOSTILE), text=HOSTILE))
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\u2028\ud800]", told)
    assert len(told.splitlines()) <= 12


@pytest.mark.parametrize("columns", [200, 80, 50, None])
def test_the_verdict_and_the_report_fit_the_terminal(columns: int | None) -> None:
    text = "a rather long sentence, told again and again, " * 12
    long = replace(finding(), title=text, explanation=text, fix=text)
    told = verdict_of(run_of(long, long), columns=columns)
    width = min(columns or 96, 96)
    assert len(told.splitlines()) <= 12
    assert all(len(line) <= width for line in told.splitlines())
    assert " …" in told
    prose = [line for line in to_text(run_of(long), width).splitlines() if "rather" in line]
    assert len(prose) > 10
    assert all(len(line) <= width for line in prose)


def test_the_command_that_the_verdict_names_can_be_pasted() -> None:
    run = replace(run_of(finding()), paths=(Path("my run [1].gpm"),))
    assert verdict_of(run).endswith("\ngradpm open 'my run [1].gpm'\n")


class Tags(HTMLParser):
    """Collects tags, attributes and text, as a browser would see them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.urls = [value for name, value in attrs if name in ("href", "src")]
        assert all(value is not None and value.startswith("#") for value in self.urls)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_hostile_text_is_text_in_html() -> None:
    run = run_of(finding(HOSTILE), finding(HOSTILE), text=HOSTILE)
    page = Tags(to_html(run))
    plain = Tags(to_html(run_of(finding(), finding())))
    assert set(page.tags) <= set(plain.tags) | {"span"}
    assert page.attributes <= {
        "lang", "charset", "http-equiv", "content", "name", "class", "id", "href", "aria-label",
        "aria-hidden", "colspan",
    }  # fmt: skip
    assert "<script>alert(1)</script>" in page.text
    assert "\\x1b[2J" in page.text


def test_the_html_page_stands_alone_in_light_and_dark() -> None:
    page = to_html(run_of(finding()))
    assert "prefers-color-scheme: dark" in page
    assert "default-src 'none'" in page
    assert "url(" not in page
    assert "@import" not in page
    assert "<script" not in page
    assert "://" not in page
    tags = Tags(page).tags
    for tag in ("main", "article", "h1", "h2"):
        assert tag in tags


def test_many_engine_calls_are_shown_from_both_ends() -> None:
    run = run_of(finding())
    calls = tuple({**run.backwards[0], "number": number} for number in range(1, 1001))
    page = to_html(replace(run, backwards=calls))
    assert "<td>50</td>" in page
    assert "<td>500</td>" not in page
    assert "<td>1000</td>" in page
    assert "900 more" in page


def test_hostile_text_is_text_in_markdown() -> None:
    told = to_markdown(run_of(finding(HOSTILE), text=HOSTILE))
    rendered = MarkdownIt("gfm-like", {"html": True}).render(told)
    tags = set(re.findall(r"</?([a-z0-9]+)", rendered))
    inline = {"p", "code", "pre", "strong", "ul", "li", "hr", "blockquote"}
    assert tags <= inline | {"h1", "h2", "table", "thead", "tbody", "tr", "th", "td"}
    assert rendered.count("<h2>") == 1
    assert "@" not in re.sub(r"<code.*?</code>", "", rendered, flags=re.DOTALL)
    assert "<strong>bold" not in rendered


def test_markdown_keeps_code_as_code() -> None:
    told = to_markdown(run_of(finding()))
    assert "## ✖ GP101 detached: `encoder.weight` got no gradient encoder.weight" in told
    assert "```python\nh = x.detach()  # encoder.weight\n```" in told
    assert "| ✂ | `encoder.weight` | `encoder.weight.py:3` | encoder.weight |" in told
    assert "> The run was killed or still runs" in told


def test_a_sentence_is_taken_apart_at_its_backticks() -> None:
    assert list(spans("use `h` now")) == [Span("use ", False), Span("h", True), Span(" now", False)]
    assert list(spans("a ` b")) == [Span("a ` b", False)]
    assert list(spans("`a` and `b")) == [Span("a", True), Span(" and `b", False)]
    assert list(spans("")) == []


def test_a_form_that_does_not_exist_is_a_usage_error(traces: list[Path]) -> None:
    with pytest.raises(UsageError, match="pdf"):
        render(traces[:1], "pdf")


@pytest.mark.parametrize("form", ["markdown", "html", "sarif"])
def test_the_command_line_writes_each_form(form: str, traces: list[Path], tmp_path: Path) -> None:
    ran = under(["report", str(traces[0]), "--format", form, "-o", "report"], tmp_path)
    assert (ran.status, ran.out, ran.err) == (0, "", "")
    assert "GP101" in (tmp_path / "report").read_text(encoding="utf-8")
