"""Sentences that readers stumbled over do not come back."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FORMER = (
    "found in 8 of 10 such sweeps",
    "paired by seed against the last step",
    "without any effect, at most about one in 20",
    "if one is skewed",
    "never part of a mean",
    "can be told from noise without further assumptions",
    "whether trials are done cannot be told",
    "seconds not known before",
    "saved: the same training is done",
    "over all slots together",
    " gone, about ",
    "once more stops at once",
    "what its training logs and returns must be finite",
    "shows big as the store has it",
    "orchestrator sync llamafy` changes that",
    "we know no network of it",
    "what would become of it",
    "As run, and try again what failed",
    "is better, where only you know",
    "Cells that make no sense",
    "all steps together make no sense",
    "rounds otherwise",
    "each further of 1,000 trials",
    "Of the skipped ones",
    "joins by naming a function",
)


def _texts() -> Iterator[str]:
    """README, documentation, specs and code, each on one line, with literals joined."""
    files = [ROOT / "README.md"]
    for folder in ("orchestrator", "illama", "docs", "sweeps"):
        files += [
            path
            for path in (ROOT / folder).rglob("*")
            if path.suffix in {".py", ".md", ".html", ".js", ".yaml"}
        ]
    for path in files:
        joined = re.sub(r'"\s*\n\s*f?"', "", path.read_text("utf-8"))
        yield " ".join(joined.split())


def test_no_former_wording_comes_back() -> None:
    text = "\n".join(_texts())
    assert "80 % power to detect a difference of" in text, "literals are joined"
    assert [words for words in FORMER if words in text] == []
