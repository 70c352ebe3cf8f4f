"""Comments, docstrings and formatting change no identity of code; everything that runs does."""

import pytest

from illama.config.source import digests_of, normal_form

CODE = b"""
def train(*, lr: float = 0.1, seed):
    total = [lr * 2, 1]
    return {"m": total[0] + seed}
"""
SAME = {
    "a comment": CODE + b"# words\n",
    "a docstring": CODE.replace(b"seed):\n", b'seed):\n    """Words."""\n'),
    "another docstring of the module": b'"""Words."""\n' + CODE,
    "layout": (
        b"def train(*, lr: float=0.1, seed):\n  total = [\n lr*2, 1,\n ]\n"
        b"  return {'m': (total[0]+seed)}\n"
    ),
    "pass": CODE.replace(b"    total", b"    pass\n    total"),
    "line endings": CODE.replace(b"\n", b"\r\n"),
}
OTHER = {
    "a default": CODE.replace(b"0.1", b"0.2"),
    "a kind of number": CODE.replace(b"* 2", b"* 2.0"),
    "an operator": CODE.replace(b"lr * 2", b"lr + 2"),
    "a name": CODE.replace(b"total", b"sum_"),
    "an item none": CODE.replace(b"2, 1]", b"2, None]"),
    "a statement": CODE.replace(b"    return", b"    total.reverse()\n    return"),
    "a string that is a value": CODE.replace(b'"m"', b'"n"'),
}


@pytest.mark.parametrize("what", SAME)
def test_what_does_not_run_does_not_count(what: str) -> None:
    assert normal_form(SAME[what]) == normal_form(CODE)


@pytest.mark.parametrize("what", OTHER)
def test_what_runs_counts(what: str) -> None:
    assert normal_form(OTHER[what]) != normal_form(CODE)


@pytest.mark.parametrize(
    "reads", [b"train.__doc__", b"getsource(train)", b"getattr(train, '__doc__')"]
)
def test_code_that_reads_its_own_text_keeps_its_bytes(reads: bytes) -> None:
    code = CODE + b"text = " + reads + b"\n"
    assert normal_form(code + b"# words\n") != normal_form(code)


def test_the_digest_is_the_same_under_every_version_of_python() -> None:
    code = b"def f(x, *a, k=None, **kw): return f'{x!r:>{k}} y', {**kw}, a[1:]\n"
    pinned = "96a823d8cb2f842888688e946ecb31245d7a70cce288db371b446965199ee235"
    assert digests_of({"a.py": code}) == {"a.py": pinned}


def test_an_expression_of_a_thousand_terms_is_no_obstacle() -> None:
    code = b"x = " + b" + ".join([b"1"] * 900) + b"\n"
    assert normal_form(code)


def test_what_is_no_python_counts_by_its_bytes() -> None:
    assert digests_of({"a.so": b"x"}) != digests_of({"a.so": b"x "})
