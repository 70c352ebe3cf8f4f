"""What was decided before the first result was there: remembered when submitted, told in one
sentence.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from invented import HEAD, spec_of
from test_looks import NORM, finish

from orchestrator.driver import report_sweep
from orchestrator.report.declaration import declaration_text
from orchestrator.report.notes import notes
from orchestrator.spec.declared import declared_parts
from orchestrator.store.declarations import Declaration, declaration_of, declare, versions_of
from orchestrator.store.store import Store

PARTS = {"metric": "m", "seeds": "s"}


def result(sweep: Path, time: float, name: str = "a") -> None:
    folder = sweep / "trials" / name
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps({"time": time}))


def known(sweep: Path, content: bytes = b"one", parts: dict[str, str] = PARTS) -> Declaration:
    return declaration_of(sweep, content, parts, [])


def test_what_was_submitted_before_the_first_result_is_said_to_be(tmp_path: Path) -> None:
    declare(tmp_path, b"one", PARTS, 100.0)
    declare(tmp_path, b"one", PARTS, 900.0)
    assert declaration_text(known(tmp_path)) == "", "nothing to say before there is a result"
    result(tmp_path, 200.0)
    result(tmp_path, 300.0, "b")
    found = known(tmp_path)
    assert (found.at, found.first_result_at, found.versions) == (100.0, 200.0, 1)
    assert found.before_first_result
    text = declaration_text(found)
    assert text == (
        "This exact spec was submitted at 1970-01-01 00:01:40 UTC, before the first of its "
        "results (1970-01-01 00:03:20 UTC)."
    )
    assert found.to_json()["at"] == "1970-01-01T00:01:40+00:00"


def test_a_change_after_the_first_result_is_named(tmp_path: Path) -> None:
    declare(tmp_path, b"one", PARTS, 100.0)
    result(tmp_path, 200.0)
    changed = {"metric": "other", "seeds": "more", "matters": "new"}
    declare(tmp_path, b"two", changed, 300.0)
    found = known(tmp_path, b"two", changed)
    assert not found.before_first_result
    assert found.to_json()["changed"] == ["metric", "seeds", "matters"]
    assert "it was changed after the first of its results" in declaration_text(found)
    assert declaration_text(found).endswith(": metric, seeds, matters.")


def test_a_comment_that_is_added_later_changes_nothing_about_what_is_tested(tmp_path: Path) -> None:
    declare(tmp_path, b"one", PARTS, 100.0)
    result(tmp_path, 200.0)
    declare(tmp_path, b"one # why", PARTS, 300.0)
    found = known(tmp_path, b"one # why")
    assert (found.before_first_result, found.versions) == (True, 2)
    assert "one with the same tests was submitted before" in declaration_text(found)


def test_a_spec_that_nobody_submitted_and_one_that_came_after_old_results(tmp_path: Path) -> None:
    result(tmp_path, 200.0)
    assert declaration_text(known(tmp_path)) == "", "an older version took no notes"
    declare(tmp_path, b"one", PARTS, 300.0)
    assert "it is unknown what was decided before that" in declaration_text(known(tmp_path))
    assert "was never submitted by `run`" in declaration_text(known(tmp_path, b"edited"))


def test_results_of_another_sweep_are_results_that_were_there(tmp_path: Path) -> None:
    declare(tmp_path, b"one", PARTS, 100.0)
    assert not declaration_of(tmp_path, b"one", PARTS, [50.0]).before_first_result


def test_damaged_lines_and_results_are_passed_over(tmp_path: Path) -> None:
    endless = b'{"spec_sha256": "5f", "time": 1e999, "parts": {}}\n'
    (tmp_path / "declarations.jsonl").write_bytes(endless + b'nonsense\n{"time": 1}\n{"spec')
    declare(tmp_path, b"one", PARTS, 100.0)
    assert [version.time for version in versions_of(tmp_path)] == [100.0]
    result(tmp_path, 200.0)
    (tmp_path / "trials" / "b").mkdir()
    (tmp_path / "trials" / "b" / "result.json").write_text("{")
    assert known(tmp_path).first_result_at == 200.0
    declare(tmp_path / "nowhere", b"one", PARTS, 1.0)
    assert versions_of(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        ({"seeds": [0, 1, 2, 3]}, {"seeds"}),
        ({"seeds": {"start": 3, "max": 6}}, {"seeds"}),
        ({"metric": {"name": "val/loss"}}, {"metric"}),
        ({"metric": {"also": ["val/loss"]}}, set()),
        ({"design": ["roadmap", "one_factor"]}, {"design"}),
        ({"resources": {"cpus": 2}}, set()),
        ({"max_concurrent": 1}, set()),
        ({"steps": [{"name": "norm", "change": {"model.norm": "rmsnorm"}}]}, set()),
        ({"steps": [{"name": "rope", "change": {"model.position": "rope"}}]}, {"steps"}),
    ],
)
def test_only_what_decides_what_is_tested_is_a_part(
    tmp_path: Path, change: dict[str, Any], changed: set[str]
) -> None:
    before = declared_parts(spec_of(tmp_path, NORM, 3).schema)
    text = yaml.safe_load(HEAD.format(seeds="0, 1, 2") + NORM) | change
    after = declared_parts(spec_of(tmp_path, yaml.safe_dump(text), head="# {seeds}\n").schema)
    assert {name for name in {**before, **after} if before.get(name) != after.get(name)} == changed


def test_a_published_figure_changes_nothing_about_what_is_tested(tmp_path: Path) -> None:
    published = NORM.replace("}}]", "}, reference: {value: 75.0, source: a paper}}]")
    one, other = (spec_of(tmp_path, body, 3).schema for body in (NORM, published))
    assert declared_parts(one) == declared_parts(other)


def test_the_report_has_it_as_json_and_as_a_note(tmp_path: Path) -> None:
    store, spec = Store(tmp_path / "runs"), spec_of(tmp_path, NORM, 3)
    path = store.sweep_path(spec.name)
    path.mkdir(parents=True)
    declare(path, spec.content, declared_parts(spec.schema), 100.0)
    finish(spec, store)
    roadmap = report_sweep(spec, store)
    declared = roadmap.to_json()["declared"]
    assert declared["before_first_result"] is True
    assert {"spec_sha256", "at", "first_result_at", "versions"} <= declared.keys()
    assert sum("before the first of its results" in note for note in notes(roadmap)) == 1
