"""A page of Great Expectations' Data Docs that needs nothing but itself, and calls nobody when it is opened.

Great Expectations' own page takes styles, scripts and a picture from seven hosts: without a way to them it is bare text,
without a mark for what passed or failed, and with one it tells them who looks at a report. Here its content gets a head, a
few styles and a script of our own. Charts, which need its scripts, are left out.
"""

from __future__ import annotations

import html
import re
from datetime import datetime
from typing import Final

from batch_app.gate.report import GateReport

_CONTENT: Final = '<div class="container-fluid pt-4'
_FOOTER: Final = "<footer"
_SCRIPTS: Final = re.compile(r"<script\b.*?</script>", re.DOTALL | re.IGNORECASE)
_LOADED: Final = re.compile(r"<(?:link|img|iframe)\b[^>]*>", re.IGNORECASE)
_ELSEWHERE: Final = re.compile(r'<a\b[^>]*href="(?:\.\.|https?:)[^"]*"[^>]*>(.*?)</a>', re.DOTALL)
_NAMED: Final = 5  # files in the head

_STYLE: Final = """
:root { --ink: #1d2733; --soft: #66717d; --line: #d9dee4; --page: #fff; --panel: #f4f6f8; --good: #18794e; --bad: #c62a2f; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #dde3ea; --soft: #93a0ad; --line: #333c46; --page: #12171d; --panel: #1b222a; --good: #4cc38a; --bad: #ff6369; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.45 system-ui, sans-serif; }
header { padding: 18px 28px; border-bottom: 1px solid var(--line); border-left: 10px solid var(--verdict); }
header h1 { margin: 0; font-size: 22px; } header h1 b { color: var(--verdict); } header p { margin: 4px 0 0; color: var(--soft); }
.passed { --verdict: var(--good); } .failed { --verdict: var(--bad); }
.container-fluid { padding: 0 28px; } .ge-section { padding: 0; margin-bottom: 26px; }
.container-fluid > .row { display: flex; gap: 28px; align-items: flex-start; }
.col-md-2 { flex: 0 0 190px; position: sticky; top: 14px; } .col-md-10 { flex: 1 1 0; min-width: 0; }
.ge-section > .row { display: block; }
.mb-4 .lead, .mb-4 h4 { display: none; } .pt-4 { padding-top: 18px; }
.card { border: 1px solid var(--line); border-radius: 6px; margin-bottom: 14px; }
.card-header { background: var(--panel); padding: 6px 10px; border-radius: 6px 6px 0 0; } .card-body { padding: 8px 10px; }
.card-body .card-text { display: none; } label { display: block; cursor: pointer; padding: 2px 0; }
.nav { list-style: none; margin: 0; padding: 0; } .nav a { display: block; padding: 3px 4px; text-decoration: none; }
a { color: inherit; } .nav a:hover { background: var(--panel); } .nav a.fails { color: var(--bad); font-weight: 600; }
.alert { background: var(--panel); padding: 9px 14px; border-radius: 6px; } h5 { margin: 0; font-size: 17px; } .h6, h6 { font-weight: 600; }
h6 { margin: 10px 0 2px; font-size: 15px; }
table { border-collapse: collapse; } .table { width: 100%; } th { text-align: left; color: var(--soft); font-weight: 600; }
.table > tbody > tr > td, th { padding: 7px 14px; border-bottom: 1px solid var(--line); vertical-align: top; }
.table > thead > tr > th:last-child { width: 150px; } .table > thead > tr > th:first-child, .hide-succeeded-validation-target-child { width: 70px; }
.table-bordered { margin-top: 8px; } .table-bordered td, .table-bordered th { border: 1px solid var(--line) !important; padding: 2px 10px !important; }
.table-sm { width: auto; } .badge { background: var(--panel); border: 1px solid var(--line); border-radius: 4px; padding: 0 5px; font-family: ui-monospace, monospace; font-size: 13px; }
.text-danger { color: var(--bad); } .text-success { color: var(--good); } strong.text-danger { display: block; margin-top: 6px; } strong.text-danger br, .alert .fas { display: none; }
.fas { font-style: normal; font-weight: 700; } .fa-check-circle::before { content: "ok"; } .fa-times::before { content: "FAILED"; }
.fa-exclamation-triangle::before { content: "error"; } .collapse:not(.show) { display: none; } .gone { display: none !important; }
@media (max-width: 800px) { .container-fluid > .row { display: block; } .col-md-2 { position: static; } }
"""

_SCRIPT: Final = """
const all = selector => [...document.querySelectorAll(selector)];
const hide = hidden => {
  all(".hide-succeeded-validation-target-child").forEach(cell => cell.parentElement.classList.toggle("gone", hidden));
  all(".hide-succeeded-validations-column-section-target-child").forEach(block => {
    const section = block.closest(".ge-section");
    section.classList.toggle("gone", hidden);
    all(`a[href="#${section.id}"]`).forEach(link => link.parentElement.classList.toggle("gone", hidden));
  });
};
const showAllValidations = () => hide(false), hideSucceededValidations = () => hide(true);
all('[data-toggle="collapse"]').forEach(link => link.addEventListener("click", event => {
  event.preventDefault();
  document.getElementById(link.getAttribute("href").slice(1)).classList.toggle("show");
}));
all(".ge-section").forEach(section => {
  if (section.querySelector("td .fa-times, td .fa-exclamation-triangle"))
    all(`a[href="#${section.id}"]`).forEach(link => link.classList.add("fails"));
});
"""


def standalone(page: str, report: GateReport, now: datetime) -> str:
    """The page with everything in it that it needs. A page in a form that is not known comes back as it is."""
    begin, end = page.find(_CONTENT), page.rfind(_FOOTER)
    if begin < 0 or end < begin:
        return page
    content = _LOADED.sub("", _SCRIPTS.sub("", page[begin:end]))
    content = _ELSEWHERE.sub(r"\1", content)
    title = html.escape(f"{report.suite}: {_verdict(report)}")
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="UTF-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1.0"><style>{_STYLE}</style></head>'
        f"<body>{_head(report, now)}{content}<script>{_SCRIPT}</script></body></html>\n"
    )


def _verdict(report: GateReport) -> str:
    return "PASSED" if report.success else "FAILED"


def _head(report: GateReport, now: datetime) -> str:
    files = ", ".join(report.files[:_NAMED]) + (
        f" and {len(report.files) - _NAMED} more" * (len(report.files) > _NAMED)
    )
    failed = [result.id for result in report.results if not result.success]
    met = f"{len(report.results) - len(failed)} of {len(report.results)} expectations met"
    lines = [
        f"{report.rows:,} rows of {files}, {report.rows - report.readable:,} unreadable; {met}",
        f"checked {now:%Y-%m-%d %H:%M:%S} UTC by engine {report.engine}, suite {report.suite_fingerprint}",
    ]
    lines += [f"not met: {', '.join(failed)}"] if failed else []
    said = "".join(f"<p>{html.escape(line)}</p>" for line in lines)
    verdict = _verdict(report)
    return f'<header class="{verdict.lower()}"><h1>{html.escape(report.suite)} <b>{verdict}</b></h1>{said}</header>'
