"""The live page in a real browser: what it shows, that nothing in the data can act on it, and that anybody can use it."""

from __future__ import annotations

from pathlib import Path

import pytest

from streaming_app.events import EventKind
from streaming_app.metrics import catalogue as m
from tests.browser import CHROMIUM, browser
from tests.live_service import live_service, without_personal

pytestmark = [pytest.mark.skipif(not CHROMIUM, reason="needs chromium"), pytest.mark.timeout(300)]
SUITE = (Path(__file__).resolve().parents[2] / "conf/expectations/orders.yaml").read_text()
DRAWN = "Number(document.documentElement.dataset.drawn) > 0"
HOSTILE = {
    "script": "<script>document.title = 'owned'</script>",
    "image": "<img src=x onerror=\"document.title='owned'\"><svg onload=alert(1)>",
    "closing": "</code></summary></details></main><style>body{display:none}</style>",
    "attribute": '" onmouseover="document.title=1" x="',
    "endless": "A" * 20_000,
    "unbroken": "https://" + "x" * 3000,
    "arabic": "طلب من مطعم في جاكرتا بقيمة مئة",
    "override": "abc\u202egnp.exe\u202c \u2066isolate",
    "control": "bell\x07 null\x00 escape\x1b[31m zero\u200bwidth \ufeff",
    "template": "{{constructor.constructor('alert(1)')()}} ${alert(1)}",
    "emoji": "🍜" * 200,
    "empty": "",
}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("chromium") / "profile") as opened:
        yield opened


@pytest.fixture
def service(orders, page):
    page.problems.clear()
    page.requested.clear()
    with live_service(without_personal(orders), SUITE) as made:
        made.start()
        yield made
        page.leave()


def text(page, selector: str) -> str:
    return page.evaluate(f"document.querySelector({selector!r})?.innerText ?? ''")


def shows(page, selector: str, words: str) -> None:
    page.wait_for(f"(document.querySelector({selector!r})?.innerText ?? '').includes({words!r})")


def load(service, ago: float = 30.0) -> None:
    service.batch(
        read=40, reasons={"amount.positive": 2}, ago=ago, lag={"shardId-000000000000": 0, "shardId-000000000001": 700}
    )
    service.batch(
        "csv", read=100, reasons={"too_few_fields": 1}, ago=ago, waiting={"files": 2, "bytes": 3000, "oldest": 1}
    )


def test_it_shows_health_sources_charts_batches_and_rules(page, service):
    load(service)
    page.open(service.url)
    page.wait_for("document.querySelectorAll('canvas').length === 2")
    assert text(page, "#health") == "running"
    shows(page, "#sources", "0.7 s")
    shows(page, "#sources", "2 (2.9 KiB, ")
    shows(page, "#batches", "kinesis")
    assert "amount must be more than 0" in text(page, "#rules")
    assert "rejected" in page.evaluate("document.querySelector('#rows-chart').getAttribute('aria-label')")
    assert page.evaluate("document.querySelectorAll('#phases-legend li').length") >= 5
    assert page.problems == []
    assert all(url.startswith(service.url) for url in page.requested)


def test_it_is_calm_where_nothing_has_happened_yet(page, service):
    page.open(service.url)
    page.wait_for(DRAWN)
    assert "None." in text(page, "#dead")
    assert "Nothing in this time" in text(page, "#rows-chart")
    assert page.problems == []


def test_it_goes_on_by_itself(page, service):
    page.open(service.url)
    page.wait_for(DRAWN)
    service.batch(
        read=1234, reasons={"amount.positive": 1}, letters=[{"raw": "late one", "reasons": ["amount.positive"]}]
    )
    shows(page, "#batches", "1,234")
    shows(page, "#dead", "late one")


def test_the_time_to_be_queryable_is_that_of_the_slowest_source(page, service):
    """Not of the one whose batch ended last."""
    service.batch("kinesis", read=5, arrived=180, ago=5)
    service.batch("csv", read=5, arrived=4)
    page.open(service.url)
    shows(page, "#glance", "3 min")


def test_a_stalled_source_is_seen_at_once(page, service):
    load(service)
    service.clock.ahead = 1000.0
    service.heard("csv")
    page.open(service.url)
    page.wait_for(DRAWN)
    assert text(page, "#health") == "not ready"
    assert "kinesis stalled for" in text(page, "#sentence")
    assert "unknown" in text(page, "#glance")
    assert page.evaluate("document.querySelectorAll('.card.bad').length") == 1
    assert page.evaluate("document.title").startswith("▲")
    assert page.evaluate("document.querySelector('#icon').getAttribute('href')") == "/live/bad.svg"
    service.heard("kinesis")
    shows(page, "#health", "running")


def test_where_a_source_stands_is_unknown_from_its_start_until_it_has_looked(page, service):
    """Before that there is only what was before the outage."""
    load(service)
    service.values.set(m.LAG, 0.0, "kinesis")
    service.values.set(m.SHARD_LAG, 0.0, "kinesis", "shardId-000000000001")
    for source in ("kinesis", "csv"):
        service.tell(EventKind.FAILED, source, error="SourceError")
        service.tell(EventKind.STARTED, source, suite=service.suite.fingerprint)
    page.open(service.url)
    page.wait_for(DRAWN)
    assert text(page, "#health") == "running"
    assert "kinesis and csv have not looked for rows yet" in text(page, "#sentence")
    shown = page.evaluate("document.querySelector('#main').innerText")
    assert "at the tip" not in shown.replace("left it at the tip", "")
    assert "at its tip" not in shown
    assert text(page, "#glance").count("unknown") == 2
    assert "ago, left it at the tip." in text(page, "#sources")
    assert "ago, left 2 files waiting." in text(page, "#sources")
    assert page.evaluate("document.querySelectorAll('#main dd.bad, .card.bad').length") == 0
    service.heard("kinesis")
    shows(page, "#sources", "at its tip")
    assert "csv has not looked for rows yet" in text(page, "#sentence")


def test_files_that_wait_are_no_less_behind_than_a_stream(page, service):
    service.batch(read=40, lag={"shard": 0})
    service.batch("csv", waiting={"files": 500, "bytes": 5_000_000, "oldest": 1_000_000 * int(service.clock())})
    page.open(service.url)
    page.wait_for(DRAWN)
    assert "500 files wait" in text(page, "#sentence")
    assert "nothing waits" not in text(page, "#sentence")
    assert "500" in text(page, "#glance")
    service.batch("csv", waiting={"files": 0, "bytes": 0, "oldest": 0})
    shows(page, "#sentence", "nothing waits")
    service.batch(lag={"shard": 90_000})
    service.batch("csv", waiting={"files": 1, "bytes": 10, "oldest": 1_000_000 * int(service.clock())})
    shows(page, "#sentence", "90 s behind, 1 file waits")


def test_what_the_last_audit_found_is_seen_at_once(page, service):
    page.open(service.url)
    page.wait_for(DRAWN)
    shows(page, "#glance", "never")
    service.values.set(m.AUDIT_TIME, service.clock() - 7200)
    service.values.set(m.AUDIT_DIFFERENCES, 0)
    shows(page, "#glance", "nothing lost or doubled, audited 2 h ago")
    assert page.evaluate("document.querySelectorAll('#glance dd.bad').length") == 0
    service.values.set(m.AUDIT_DIFFERENCES, 3)
    shows(page, "#glance", "differences, audited 2 h ago")
    assert page.evaluate("document.querySelector('#glance dd.bad').innerText") == "3"


def test_shards_that_drain_and_records_that_wait_are_told_of(page, service):
    service.batch(read=50, lag={"parent": 90_000, "other": 0})
    service.recorder.closed("kinesis", frozenset({"parent"}))
    service.values.set(m.LAG_RECORDS, 12_345, "kinesis")
    page.open(service.url)
    shows(page, "#sources", "shards that drain")
    shows(page, "#sources", "12.3K records")


def test_a_failed_source_says_so(page, service):
    service.tell(EventKind.FAILED, "csv", error="SourceError")
    page.open(service.url)
    page.wait_for(DRAWN)
    assert "csv failed" in text(page, "#sentence")
    assert "SourceError" in text(page, "#sources")


def test_a_service_that_is_gone_is_noticed_and_found_again(page, service, orders):
    page.open(service.url)
    page.wait_for(DRAWN)
    port = service.endpoint.port
    service.endpoint.close()
    page.wait_for("!document.querySelector('#lost').hidden")
    assert "No answer" in text(page, "#lost")
    assert text(page, "#health") == "no answer"
    service.reopen(port)
    page.wait_for("document.querySelector('#lost').hidden")
    shows(page, "#health", "running")


def test_nothing_in_the_data_acts_on_the_page(page, service):
    letters = [
        {"raw": raw, "reasons": [raw[:200] or "empty"], "source_position": raw, "source": raw[:500]}
        for raw in HOSTILE.values()
    ]
    for letter in letters:
        service.batch(read=5, reasons={letter["reasons"][0]: 1}, letters=[letter], ago=6)
    service.tell(EventKind.FAILED, error=HOSTILE["script"])
    service.tell(EventKind.STARTED, suite=HOSTILE["image"])
    page.open(service.url, width=1000)
    page.wait_for(f"document.querySelectorAll('#dead details').length === {len(letters)}")
    for element in page.evaluate("document.querySelectorAll('#dead details').length") * ["x"]:
        page.evaluate(f"document.querySelectorAll('#dead details').forEach((each) => each.open = Boolean({element!r}))")
    assert page.evaluate("document.title") != "owned"
    assert (
        page.evaluate(
            "document.querySelectorAll('#main script, #main img, #main style, #main svg, [onmouseover]').length"
        )
        == 0
    )
    shown = text(page, "#dead")
    for name in ("script", "image", "closing", "attribute", "template", "arabic"):
        assert HOSTILE[name] in shown, name
    assert "abc\\u202egnp.exe\\u202c \\u2066isolate" in shown
    assert "bell\\u0007 null\\u0000 escape\\u001b[31m zero\\u200bwidth \\ufeff" in shown
    assert "20,000 characters" in shown
    assert wide(page) == 0
    assert page.problems == []


def test_personal_data_is_nowhere_on_the_page_or_in_its_json(page, orders):
    """Of a column that the lake keeps: `customer_id` is `pii: true`."""
    customer = "CUST-007"
    raws = {
        "raw": '{"order_id":"o1","customer_id":"CUST-007","item":"for CUST-007"}',
        "cut": '{"order_id":"o2","customer_id":"CUST-007',
    }
    letters = [{"raw": raw, "reasons": ["amount.positive"]} for raw in raws.values()]
    rows = [
        {"raw": raw, "reasons": ["b"], "source_position": "x.csv#1"} for raw in ("o3,CUST-007,Medan", "CUST-007,Medan")
    ]
    with live_service(orders, SUITE) as service:
        service.start()
        service.batch(read=5, reasons={"amount.positive": 2}, letters=letters, ago=6)
        header = {"x.csv": "order_id,customer_id,city"}
        service.batch("csv", read=5, reasons={"b": 2}, letters=rows, headers=header, ago=6)
        page.open(service.url)
        page.wait_for("document.querySelectorAll('#dead details').length === 4")
        page.evaluate("document.querySelectorAll('#dead details').forEach((each) => each.open = true)")
        shown = text(page, "#dead")
        assert '{"order_id":"o1","customer_id":"***","item":"for ***"}' in shown
        assert "o3,***,Medan" in shown
        assert "[withheld: may hold personal data" in shown
        assert customer not in page.evaluate("document.documentElement.outerHTML")
        assert customer not in page.evaluate("fetch('/api/live').then((answer) => answer.text())")
        page.leave()


CUT = """
[...document.querySelectorAll(".glance dd, .facts dd")]
  .filter((each) => each.scrollWidth > each.parentElement.clientWidth).map((each) => each.innerText)
"""


def wide(page) -> int:
    """Pixels that stick out of the window at its side."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def test_it_fits_every_window(page, service):
    load(service)
    service.batch(read=9, reasons={"r" * 190: 1}, letters=[{"raw": "x" * 5000, "reasons": ["r" * 190]}], ago=6)
    service.batch(read=123_456, lag={"shard": 5_000_000})
    service.batch("csv", waiting={"files": 1234, "bytes": 123 << 20, "oldest": 1_000_000 * int(service.clock() - 700)})
    service.values.set(m.LAG_RECORDS, 1_234_567, "kinesis")
    service.values.set(m.AUDIT_TIME, service.clock() - 7200)
    service.values.set(m.AUDIT_DIFFERENCES, 0)
    for width in (320, 390, 768, 1024, 1440, 2560):
        page.open(service.url, width=width)
        page.wait_for("document.querySelectorAll('#dead details').length > 0")
        assert wide(page) == 0, width
        assert page.evaluate(CUT) == [], width


def test_dark_and_light_follow_the_system(page, service):
    load(service)
    page.open(service.url)
    page.wait_for("document.querySelectorAll('canvas').length === 2")
    colours = []
    for scheme in ("light", "dark"):
        page.media(scheme)
        colours.append(
            page.evaluate("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")
        )
    assert colours == [["rgb(244, 245, 247)", "rgb(23, 32, 44)"], ["rgb(13, 17, 23)", "rgb(230, 235, 241)"]]


CONTRAST = """
(() => {
  const light = (text) => {
    const parts = text.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255);
    const [r, g, b] = parts.map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const found = getComputedStyle(at).backgroundColor;
      if (!found.includes("rgba(0, 0, 0, 0)")) return found;
    }
    return "rgb(255, 255, 255)";
  };
  const own = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  return [...document.querySelectorAll("body *")].filter((each) => own(each) && each.checkVisibility()).map((each) => {
    const [one, other] = [getComputedStyle(each).color, ground(each)].map(light).sort((a, b) => b - a);
    return [(one + 0.05) / (other + 0.05), each.outerHTML.slice(0, 100)];
  }).filter(([ratio]) => ratio < 4.5);
})()
"""


@pytest.mark.parametrize("dark", [False, True])
def test_every_text_can_be_read(page, service, dark):
    """Contrast of 4.5 to 1 at least (WCAG 2.2, 1.4.3)."""
    load(service)
    service.batch(read=5, reasons={"amount.positive": 1}, letters=[{"raw": "a", "reasons": ["amount.positive"]}])
    service.tell(EventKind.FAILED, "csv", error="SourceError")
    page.open(service.url, dark=dark)
    page.wait_for("document.querySelectorAll('#dead details').length > 0")
    assert page.evaluate(CONTRAST) == []


def test_everything_is_reached_and_opened_by_keyboard(page, service):
    service.batch(read=5, reasons={"amount.positive": 1}, letters=[{"raw": "a", "reasons": ["amount.positive"]}], ago=6)
    page.open(service.url)
    page.wait_for("document.querySelectorAll('#dead details').length > 0")
    reached = []
    for _ in range(9):
        page.press("Tab", 9)
        reached.append(
            page.evaluate(
                "(({tagName, id, textContent}) => `${tagName} ${id || textContent.slice(0, 20)}`)(document.activeElement)"
            )
        )
        if reached[-1].startswith("SUMMARY"):
            page.press("Enter", 13, "\r")
            assert page.evaluate("document.querySelector('#dead details').open")
        if reached[-1] == "BUTTON 5 minutes":
            page.press(" ", 32, " ")
            page.wait_for("document.querySelector('[data-span=\"300\"]').getAttribute('aria-pressed') === 'true'")
    assert reached[0] == "A Skip to the figures"
    assert {"BUTTON 5 minutes", "BUTTON 1 hour", "DIV dead"} <= set(reached)
    assert any(each.startswith("SUMMARY") for each in reached)


def test_what_was_opened_stays_open_and_focused_while_more_comes(page, service):
    service.batch(read=5, reasons={"b": 1}, letters=[{"raw": "first", "reasons": ["b"]}], ago=6)
    page.open(service.url)
    page.wait_for("document.querySelectorAll('#dead details').length === 1")
    page.evaluate(
        "document.querySelector('#dead summary').focus(); document.querySelector('#dead details').open = true"
    )
    service.batch(read=5, reasons={"b": 1}, letters=[{"raw": "second", "reasons": ["b"]}])
    page.wait_for("document.querySelectorAll('#dead details').length === 2")
    assert page.evaluate("document.querySelector('#dead details[open]').innerText.includes('first')")
    assert page.evaluate("document.activeElement.innerText.includes('first')")


def test_a_link_of_the_footer_keeps_its_focus_while_figures_change(page, service):
    service.values.set(m.PYTHON_MEMORY, 100 << 20)
    page.open(service.url)
    shows(page, "#foot", "100 MiB")
    page.evaluate("document.querySelector('footer a').focus()")
    service.values.set(m.PYTHON_MEMORY, 200 << 20)
    shows(page, "#foot", "200 MiB")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "/metrics"


def test_names_and_roles_for_those_who_listen(page, service):
    load(service)
    page.open(service.url)
    page.wait_for("document.querySelectorAll('canvas').length === 2")
    assert page.evaluate("document.documentElement.lang") == "en"
    unnamed = page.evaluate(
        "[...document.querySelectorAll('section, [role=img], [role=region], [role=group], article')].filter((each) =>"
        " !(each.getAttribute('aria-label') || document.getElementById(each.getAttribute('aria-labelledby'))?.textContent)).length"
    )
    assert unnamed == 0
    assert page.evaluate("[...document.querySelectorAll('th')].every((each) => each.scope === 'col')")
    assert page.evaluate("document.querySelectorAll('h1').length") == 1
