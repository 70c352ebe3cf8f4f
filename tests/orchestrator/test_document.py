"""A spec's YAML means what people mean, and every value knows its place."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.errors import SpecError
from orchestrator.spec.document import Document, read_document

Read = Callable[[str | bytes], Document]
Problems = Callable[[str | bytes], list[tuple[int, int, str]]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read_text(content: str | bytes) -> Document:
        path = tmp_path / "spec.yaml"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_document(path)

    return read_text


@pytest.fixture
def problems(read: Read) -> Callable[[str | bytes], list[tuple[int, int, str]]]:
    """Line, column and message of everything that is wrong with a text."""

    def find(content: str | bytes) -> list[tuple[int, int, str]]:
        with pytest.raises(SpecError) as caught:
            read(content).raise_problems()
        return [(p.line, p.column, p.message) for p in caught.value.problems]

    return find


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("1e-3", 0.001),
        ("2E5", 200000.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("+3", 3),
        ("-0", 0),
        ("010", 10),
        ("9223372036854775807", 2**63 - 1),
        ("no", "no"),
        ("Yes", "Yes"),
        ("on", "on"),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("2026-01-01", "2026-01-01"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("0x10", "0x10"),
        ("1e", "1e"),
        (".", "."),
        ("'1e-3'", "1e-3"),
        ("!!str 5", "5"),
        ("!!float 5", 5.0),
        ('"\\u00fc"', "ü"),
    ],
)
def test_plain_scalars_mean_what_people_mean(read: Read, text: str, meaning: object) -> None:
    value = read(f"key: {text}\n").value["key"]
    assert value == meaning
    assert type(value) is type(meaning)


@pytest.mark.parametrize("text", [".inf", "-.INF", ".nan", "1e999", "!!float .inf"])
def test_what_is_not_finite_is_refused_at_its_place(problems: Problems, text: str) -> None:
    """JSON has neither infinity nor NaN: they would reach a training as something else."""
    [(line, column, message)] = problems(f"a: 1\nkey: [{text}]\n")
    assert (line, column) == (2, 7)
    assert message.startswith("a setting must be a finite number")


@pytest.mark.parametrize("text", ["99999999999999999999", "-9223372036854775808", "1" * 5000])
def test_a_whole_number_that_no_machine_holds_is_refused(problems: Problems, text: str) -> None:
    [(line, column, message)] = problems(f"key: {text}\n")
    assert (line, column) == (1, 6)
    assert "is too large; the largest is 9223372036854775807" in message


@pytest.mark.parametrize("key", ["''", "'[key]'"])
def test_a_key_without_a_name_is_refused(problems: Problems, key: str) -> None:
    assert problems(f"a: 1\n{key}: 2\n") == [(2, 1, f"a key cannot be {key}")]


def test_a_quoted_merge_key_is_a_name_like_any_other(read: Read) -> None:
    assert read("a: {\"<<\": 1, '<<x': 2}\n").value == {"a": {"<<": 1, "<<x": 2}}


def test_byte_order_mark_windows_line_ends_and_missing_last_newline_are_fine(read: Read) -> None:
    assert read(b"\xef\xbb\xbfa: 1\r\nb: [2,\r\n 3]").value == {"a": 1, "b": [2, 3]}


def test_every_value_knows_its_line(read: Read) -> None:
    document = read("a: 1\nsteps:\n  - name: x\n    change:\n      k: v\n")
    assert document.line(("steps", 0, "change", "k")) == 5
    assert document.has(("steps", 0, "name"))
    assert not document.has(("steps", 1))
    assert document.line(("steps", 1)) == 0


def test_a_problem_falls_back_to_what_surrounds_it(read: Read) -> None:
    document = read("a: 1\nb:\n  c: 2\n")
    document.add_problem(("b", "c"), "value")
    document.add_problem(("b", "c"), "key", at_key=True)
    document.add_problem(("b", "missing", "deeper"), "around")
    document.add_problem((), "root")
    with pytest.raises(SpecError) as caught:
        document.raise_problems()
    places = {p.message: (p.line, p.column) for p in caught.value.problems}
    assert places == {"value": (3, 6), "key": (3, 3), "around": (2, 1), "root": (1, 1)}


def test_a_key_given_twice_is_a_problem_at_its_second_place(problems: Problems) -> None:
    assert problems("a: 1\nb: {c: 1, c: 2}\na: 2\n") == [
        (2, 11, "key 'c' is given twice, first on line 2"),
        (3, 1, "key 'a' is given twice, first on line 1"),
    ]


def test_a_merge_key_is_told_to_be_none(problems: Problems) -> None:
    [(line, column, message)] = problems("a: &x {lr: 1e-3}\nb: {<<: *x, c: 1}\n")
    assert (line, column) == (2, 5)
    assert message.startswith("YAML 1.2 has no merge keys ('<<'); write the settings out")


def test_anchors_are_values_of_their_own(read: Read) -> None:
    document = read("a: &x {lr: 1e-3}\nb: *x\nc: [*x, *x]\n")
    assert document.value["b"] == document.value["c"][1] == {"lr": 0.001}
    document.value["b"]["lr"] = 1
    assert document.value["a"] == {"lr": 0.001}


@pytest.mark.parametrize("text", ["a: &x {b: *x}", "a: &x [*x]", "a: &x {b: [{c: *x}]}"])
def test_an_alias_inside_what_it_refers_to_is_a_problem(problems: Problems, text: str) -> None:
    assert [message for _, _, message in problems(text)] == [
        "an alias inside the value it refers to"
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("", 1, 1, "the file is empty"),
        ("# only a comment\n", 1, 1, "the file is empty"),
        ("a: b\n\tc: d\n", 2, 1, "\\t"),
        ("a: [1, 2\nb: 3\n", 2, 2, "not YAML"),
        ("a: 'open\n", 2, 1, "not YAML"),
        ("a: 1\n b: 2\n", 2, 3, "mapping values are not allowed"),
        ("--- 1\n--- 2\n", 2, 1, "single document"),
        ("a: *nowhere\n", 1, 4, "undefined alias"),
        ("a: \x07\n", 1, 1, "special characters are not allowed"),
        (b"a: \xff\xfe\n", 1, 1, "byte 3 is not UTF-8"),
        ("a: 1\n".encode("utf-16"), 1, 1, "is not UTF-8"),
        (b"\x00\x01\x02", 1, 1, "special characters are not allowed"),
        ("? [a, b]\n: 1\n", 1, 3, "a key must be a word"),
        (
            "a: !!python/object:os.system {}\n",
            1,
            4,
            "tag tag:yaml.org,2002:python/object:os.system is not allowed",
        ),
        ("a: !mine 5\n", 1, 4, "tag !mine is not allowed"),
        ("a: !!int five\n", 1, 4, "'five'"),
        ("a: !!float five\n", 1, 4, "'five'"),
        ("a: !!bool perhaps\n", 1, 4, "'perhaps'"),
        ("a: !!set {b}\n", 1, 4, "tag tag:yaml.org,2002:set is not allowed"),
        ("a: " + "9" * 5000 + "\n", 1, 4, "5000 digits is too large"),
        ('a: "\\UFFFFFFFF"\n', 1, 1, "not YAML"),
        ('a: "\\ud800"\n', 1, 4, "surrogates not allowed"),
        ('"\\ud800": 1\n', 1, 1, "a key must be a word"),
        ("%YAML " + "1" * 5000 + ".1\n--- a\n", 1, 1, "not YAML"),
        ("[" * 1500, 1, 1, "nested too deeply"),
        ("{a: " * 100 + "1" + "}" * 100, 1, 205, "nested too deeply"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_what_is_not_a_spec_is_one_problem_with_its_place(
    problems: Problems, text: str | bytes, line: int, column: int, words: str
) -> None:
    found = problems(text)
    assert len(found) == 1
    assert found[0][:2] == (line, column)
    assert words in found[0][2]
    assert "\n" not in found[0][2]


def test_a_missing_file_and_a_folder_are_problems_too(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "none.yaml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(SpecError, match=words) as caught:
            read_document(path)
        assert str(caught.value).startswith(f"{path}: cannot read the spec: ")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs a device without an end")
def test_a_file_without_an_end_is_refused() -> None:
    with pytest.raises(SpecError, match=r"^/dev/zero: it has more than 10 MB"):
        read_document(Path("/dev/zero"))


@pytest.mark.timeout(20)
def test_aliases_that_explode_are_refused_at_once(problems: Problems) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    assert "values" in problems("\n".join(lines))[-1][2]


@pytest.mark.slow
@pytest.mark.timeout(20)
def test_a_large_file_is_read_in_seconds(read: Read) -> None:
    assert len(read("".join(f"key{i}: [1, 2, 3]\n" for i in range(3000))).value) == 3000


_yaml_like = st.text(st.sampled_from("ab01 -:{}[],&*!?|>#%@'\"\\\n\t~.eE+_<=uUx"), max_size=60)


@pytest.mark.slow
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=80)
    | _yaml_like.map(str.encode)
    | st.text().map(lambda text: text.encode("utf-8", "surrogatepass"))
)
def test_any_bytes_are_a_document_or_a_spec_error(read: Read, content: bytes) -> None:
    try:
        read(content).raise_problems()
    except SpecError as error:
        _check(error)


def _check(error: SpecError) -> None:
    assert error.problems
    assert all(
        problem.line >= 1 and problem.column >= 1 and problem.message for problem in error.problems
    )
    str(error).encode()


_text = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=20)
_names = _text.filter(lambda text: text not in ("", "[key]"))
_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _text
)
_values: Any = st.recursive(
    _scalars, lambda inner: st.lists(inner) | st.dictionaries(_names, inner), max_leaves=10
)


@pytest.mark.slow
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(_names, _values, min_size=1))
def test_json_is_read_as_itself(read: Read, value: dict[str, Any]) -> None:
    assert read(json.dumps(value)).value == value
