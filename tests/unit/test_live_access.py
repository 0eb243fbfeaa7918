"""Who may see the live page, over real HTTP; and that it asks for nothing but itself."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import pytest

from streaming_app.arguments import load_all
from streaming_app.errors import ConfigError
from streaming_app.metrics.access import Access
from streaming_app.metrics.answers import Request
from streaming_app.metrics.live import pages
from tests.live_service import live_service

REPOSITORY = Path(__file__).resolve().parents[2]
SUITE = (REPOSITORY / "conf/expectations/orders.yaml").read_text()
STATIC = REPOSITORY / "streaming_app/metrics/live/static"
TOKEN = "a token of more than sixteen"  # noqa: S105 - a test's
BASIC = "Basic " + base64.b64encode(f"anybody:{TOKEN}".encode()).decode()


def ask(url: str, method: str = "GET", **headers: str):
    request = urllib.request.Request(url, method=method, headers=headers)  # noqa: S310 - http
    try:
        return urllib.request.urlopen(request, timeout=10)  # noqa: S310 - http
    except urllib.error.HTTPError as error:
        return error


@pytest.fixture(scope="module")
def open_url(request):
    orders = request.getfixturevalue("orders")
    with live_service(orders, SUITE) as service:
        service.start()
        yield service.url


@pytest.mark.parametrize("path", ["/", *pages._ASSETS, pages.API])
def test_everything_is_served_under_a_strict_policy(open_url, path):
    with ask(open_url + path) as answer:
        assert answer.status == 200
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.read()


def test_head_has_no_body_and_nothing_can_be_sent(open_url):
    with ask(open_url + "/", "HEAD") as answer:
        assert (answer.status, answer.read()) == (200, b"")
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        with ask(open_url + pages.API, method) as answer:
            assert answer.status == 501


@pytest.mark.parametrize(
    "path", ["/live/../board.py", "/live/%2e%2e/board.py", "/live/", "/live/nothing.js", "/api/live/x"]
)
def test_no_other_file_is_served(open_url, path):
    with ask(open_url + path) as answer:
        assert answer.status == 404


@pytest.mark.parametrize("span", ["", "0", "3600", "-1", "9" * 5000, "x", "%00", "300&span=3600"])
def test_any_span_gets_an_answer(open_url, span):
    with ask(f"{open_url}{pages.API}?span={span}") as answer:
        assert json.load(answer)["history"]["step"] in {1, 10}


def test_the_page_names_no_other_place_and_has_no_code_of_its_own_in_markup():
    for file in STATIC.glob("*.*"):
        found = file.read_text()
        assert not re.search(r"https?://(?!www\.w3\.org/)", found), file
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=", (STATIC / "index.html").read_text())
    for file in STATIC.glob("*.js"):
        assert not re.search(
            r"\.innerHTML\s*=(?!=)|outerHTML\s*=|insertAdjacentHTML|document\.write|\beval\(", file.read_text()
        ), file


def test_a_name_that_somebody_points_at_this_machine_gets_no_rows(open_url):
    for path in ("/", pages.API):
        with ask(open_url + path, Host="evil.example:80") as answer:
            assert answer.status == 421
    for host in ("localhost:1", "127.0.0.1", "[::1]:9464"):
        with ask(open_url + pages.API, Host=host) as answer:
            assert answer.status == 200
    with ask(open_url + "/metrics", Host="prometheus-target.internal") as answer:
        assert answer.status == 200


def test_with_a_token_only_the_probes_are_open(orders):
    with live_service(orders, SUITE, token=TOKEN) as service:
        for path in ("/", pages.API, "/metrics", "/live/page.js", "/nothing"):
            with ask(service.url + path) as answer:
                assert answer.status == 401
                assert answer.headers["WWW-Authenticate"].startswith("Basic ")
            for right in (f"Bearer {TOKEN}", BASIC):
                with ask(service.url + path, Authorization=right, Host="10.1.2.3") as answer:
                    assert answer.status == (404 if path == "/nothing" else 200)
        for path in ("/healthz", "/readyz"):
            with ask(service.url + path) as answer:
                assert answer.status in {200, 503}


@pytest.mark.parametrize(
    "given",
    ["", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Basic", "Basic %%%", "Basic YQ==", f"Basic {TOKEN}",
     TOKEN, f"Digest {TOKEN}", "Bearer \udcff"],
)  # fmt: skip
def test_anything_but_the_token_is_refused(given):
    assert Access(TOKEN, "0.0.0.0").refused(Request("/api/live", authorization=given)) is not None  # noqa: S104


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "ingest.internal"])  # noqa: S104
def test_a_page_for_other_machines_needs_a_token(host):
    with pytest.raises(ConfigError, match="shows rejected rows"):
        load_all(str(REPOSITORY / "conf/local.yaml"), (f'metrics.host="{host}"',))
    load_all(str(REPOSITORY / "conf/local.yaml"), (f'metrics.host="{host}"', "metrics.page=false"))
    load_all(str(REPOSITORY / "conf/local.yaml"), (f'metrics.host="{host}"', "metrics.enabled=false"))
    load_all(str(REPOSITORY / "conf/local.yaml"), (f'metrics.host="{host}"', f"metrics.token={TOKEN}"))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_this_machine_needs_none(host):
    load_all(str(REPOSITORY / "conf/local.yaml"), (f'metrics.host="{host}"',))


def test_a_short_token_is_refused_and_not_repeated():
    with pytest.raises(ConfigError, match="guessed") as found:
        load_all(str(REPOSITORY / "conf/local.yaml"), ("metrics.token=hunter2hunter2",))
    assert "hunter2" not in str(found.value)


def test_a_token_comes_from_the_environment_and_is_masked(monkeypatch, capsys):
    from streaming_app.cli import main

    monkeypatch.setenv("QSR_METRICS_TOKEN", TOKEN)
    assert main(["check-config", "--config", str(REPOSITORY / "conf/local.yaml")]) == 0
    out = capsys.readouterr().out
    assert TOKEN not in out
    assert "token: '***'" in out


def test_a_token_of_digits_is_a_text(monkeypatch):
    monkeypatch.setenv("QSR_METRICS_TOKEN", "1234567890123456")
    loaded, _ = load_all(str(REPOSITORY / "conf/local.yaml"), ())
    assert loaded.config.metrics.token == "1234567890123456"  # noqa: S105


def test_the_wheel_has_the_page_and_its_library_with_its_licence(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    shutil.copytree(REPOSITORY / "streaming_app/metrics", source / "streaming_app/metrics")
    shutil.copy(REPOSITORY / "streaming_app/__init__.py", source / "streaming_app")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist")]
    made = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=120, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    shipped = {Path(name).relative_to("streaming_app/metrics/live/static").as_posix()
               for name in zipfile.ZipFile(wheel).namelist() if "/static/" in name}  # fmt: skip
    assert shipped == {name for name, _ in pages._ASSETS.values()}
    assert shipped == {path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*.*") if path.is_file()} | {
        "uplot/LICENSE"
    }
