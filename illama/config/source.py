"""Normal form of Python source: what it says, without comments, docstrings and formatting.

Two texts with the same normal form run alike, so it stands for the code in a trial's identity. It
is written out from the syntax tree by rules of our own: `ast.dump` and `ast.unparse` differ between
versions of Python, and an identity must not.
"""

import ast
from hashlib import sha256
from typing import Any

_READS_ITSELF = {"__doc__", "getdoc", "getsource", "getsourcelines", "getcomments"}
"""Names by which code gets at its own text: there, docstrings and comments may decide numbers."""
_LEFT_OUT = {"kind", "type_comment", "ctx", "type_ignores"}
"""Fields of the syntax tree that change nothing of what runs."""


def normal_form(source: bytes) -> bytes:
    """Return what two sources share exactly where they differ in comments, docstrings and layout.

    Code that reads its own docstrings or source keeps its bytes. Raises `SyntaxError`.
    """
    tree = ast.parse(source)
    if any(_reads_itself(node) for node in ast.walk(tree)):
        return source
    try:
        return _form(tree).encode("ascii")
    except RecursionError:  # an expression of hundreds of terms
        return source


def digests_of(files: dict[str, bytes]) -> dict[str, str]:
    """SHA-256 of the normal form of each file, by its path; of its bytes where it is not Python."""
    return {
        path: sha256(_form_of_file(path, content)).hexdigest() for path, content in files.items()
    }


def _form_of_file(path: str, content: bytes) -> bytes:
    return normal_form(content) if path.endswith(".py") else content


def _reads_itself(node: ast.AST) -> bool:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
            return name in _READS_ITSELF
        case ast.Constant(value=str(text)):
            return text in _READS_ITSELF
    return False


def _form(value: Any) -> str:
    match value:
        case ast.Constant():
            return f"{type(value.value).__name__}:{value.value!a}"
        case ast.AST():
            fields = [
                f"{name}={_form(field)}"
                for name, field in ast.iter_fields(value)
                if name not in _LEFT_OUT and field is not None and field != []
            ]
            return f"{type(value).__name__}({','.join(fields)})"
        case list():
            return f"[{','.join(_form(item) for item in value if not _does_nothing(item))}]"
    return ascii(value)


def _does_nothing(item: Any) -> bool:
    """Tell whether it is a statement that runs to no effect: a string that stands alone, or
    `pass`.
    """
    match item:
        case ast.Expr(value=ast.Constant(value=str())) | ast.Pass():
            return True
    return False
