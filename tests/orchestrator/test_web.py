"""The report page that `orchestrator ui` serves: how far the sweep is, renewed, to this machine
alone.
"""

import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from orchestrator import api
from orchestrator.cli.serving import _pages_of
from orchestrator.errors import UsageError
from orchestrator.planning.causes import CauseGroup
from orchestrator.report.live import band_of
from orchestrator.report.page import band_html
from orchestrator.store.store import Store
from orchestrator.web.pages import Pages, address_of
from orchestrator.web.server import serving

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def pages_of(root: Path) -> Pages:
    """The pages of a store's sweeps."""
    return Pages(lambda name: api.load(name, root), lambda: Store(root).sweeps())


@pytest.fixture
def address(zoo: Path) -> Iterator[str]:
    """Where the zoo is served."""
    with serving(pages_of(zoo / "runs"), _free_port()) as address:
        yield address


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(address: str, path: str, host: str | None = None, method: str = "GET") -> tuple[int, str]:
    """Status and text of one answer; `host` is the name that the browser asked for."""
    connection = HTTPConnection(address.removeprefix("http://"), timeout=30)
    connection.request(method, path, headers={"Host": host} if host else {})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def test_the_page_has_the_report_and_above_it_what_is_done_and_what_failed_of_which_cause(
    address: str,
) -> None:
    status, page = get(address, "/sweeps/zoo/")
    assert status == 200
    assert "10 of 10 trials done: 2 collapsed, 2 diverged, 2 failed, 4 finished" in page
    assert "failed: broken-seed0, broken-seed1: " in page
    assert page.index('id="live"') < page.index('id="answer"')
    assert 'href="/sweeps/zoo/"' in get(address, "/")[1]


def test_the_band_names_a_trial_that_was_cut_off_its_reach_and_its_curve(
    zoo: Path, address: str
) -> None:
    directory = next((zoo / "runs/zoo/trials").glob("rmsnorm-seed1-*"))
    before = get(address, "/sweeps/zoo/band")[1]
    (directory / "result.json").unlink()
    attempts = (directory / "attempts.jsonl").read_text().splitlines(keepends=True)
    (directory / "attempts.jsonl").write_text(attempts[0])
    pages = pages_of(zoo / "runs")
    band = pages.answer("/sweeps/zoo/band").html
    assert "9 of 10 trials done" in band
    row = band[band.index("rmsnorm-seed1") :]
    assert "<td>interrupted</td>" in row
    assert "<td>epoch 2/2</td>" in row
    assert "continues" in band
    version = 'data-version="'
    assert before.split(version)[1][:16] != band.split(version)[1][:16]


def test_a_page_is_made_once_for_each_state_of_the_store(
    zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports: list[str] = []
    real = api.Sweep.report

    def counting(sweep: api.Sweep, **keywords: Any) -> api.Report:
        reports.append(sweep.name)
        return real(sweep, **keywords)

    monkeypatch.setattr(api.Sweep, "report", counting)
    pages = pages_of(zoo / "runs")
    assert pages.answer("/sweeps/zoo/") == pages.answer("/sweeps/zoo/")
    assert reports == ["zoo"]


def test_a_damaged_spec_and_an_unknown_sweep_are_told_and_the_server_goes_on(
    zoo: Path, address: str
) -> None:
    (zoo / "runs/zoo/sweep.yaml").write_text("name: [")
    status, page = get(address, "/sweeps/zoo/")
    assert (status, "zoo cannot be shown" in page, "sweep.yaml is damaged" in page) == (
        503,
        True,
        True,
    )
    assert get(address, "/sweeps/nosuch/band")[0] == 404
    assert get(address, "/sweeps/nosuch/")[0] == 404
    assert get(address, "/elsewhere")[0] == 404
    assert get(address, "/")[0] == 200


def test_only_this_machine_is_answered_and_only_reading(address: str) -> None:
    assert get(address, "/", host="evil.example")[0] == 403
    assert get(address, "/", host="localhost:5080")[0] == 200
    assert get(address, "/sweeps/zoo/", method="POST")[0] == 501


def test_names_of_files_are_no_names_of_sweeps(zoo: Path) -> None:
    pages, path = _pages_of(Store(zoo / "runs"), None)
    assert path == "/sweeps/zoo/"
    secret = zoo / "other.yaml"
    secret.write_text("name: other")
    answer = pages.answer(address_of(str(secret)))
    assert answer.status == 404
    assert "the store has no sweep" in answer.html


def test_a_sweep_that_never_ran_is_shown_as_pending(zoo: Path) -> None:
    shutil.rmtree(zoo / "runs")
    pages, path = _pages_of(Store(zoo / "runs"), str(zoo / "zoo.yaml"))
    assert "0 of 10 trials done: 10 pending" in pages.answer(path).html


def test_a_report_port_that_is_taken_is_told_and_the_usual_one_gives_way(zoo: Path) -> None:
    pages = pages_of(zoo / "runs")
    with serving(pages) as first, serving(pages) as second:
        assert first != second
        taken = int(second.rsplit(":", 1)[1])
        with (
            pytest.raises(UsageError, match=f"port {taken} of 127.0.0.1 cannot be used"),
            serving(pages, taken),
        ):
            pass


def test_text_of_a_failure_is_text_in_the_page(zoo: Path) -> None:
    band = band_of(api.load("zoo", zoo / "runs").status(), "val/acc1")
    html = band_html(replace(band, causes=[CauseGroup("<script>alert(1)", ["a"])]), mlflow="")
    assert "<script>" not in html
    assert "a: &lt;script&gt;alert(1)" in html


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium browser")
def test_a_browser_renews_the_band_by_itself(zoo: Path) -> None:
    """Trials of the served store change between the page and its first renewal."""
    assert CHROMIUM is not None
    pages = pages_of(zoo / "runs")
    answered: list[str] = []
    real: Callable[[str], Any] = pages.answer

    def answer(path: str) -> Any:
        answered.append(path)
        if path.endswith("band"):
            shutil.rmtree(zoo / "runs/zoo/trials", ignore_errors=True)
            return pages_of(zoo / "runs").answer(path)
        return real(path)

    pages.answer = answer  # type: ignore[method-assign]
    with serving(pages, _free_port()) as address:
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
        command += [f"--user-data-dir={zoo / 'browser'}", "--virtual-time-budget=5000"]
        shown = subprocess.run(
            [*command, f"{address}/sweeps/zoo/"], capture_output=True, text=True, timeout=90
        ).stdout
    assert "/sweeps/zoo/band" in answered
    assert "0 of 10 trials done: 10 pending" in shown
