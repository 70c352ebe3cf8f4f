"""Record `docs/recording.svg`: a real run of the sweep that `orchestrator init` writes, in a
terminal.

    python docs/recording.py

Each line appears when it came, a minute in a quarter of one; the notes between table and answer are
left out. Without animation, as on paper, all lines stand there.
"""

import fcntl
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.text import Text

COLUMNS, LINES = 100, 40
COMMANDS = ("orchestrator init", "orchestrator run sweep.yaml --executor local")
FASTER = 4.0
"""Seconds of the run in a second of the recording."""
REST = 6.0
"""Seconds for which the last picture stays."""
OUTPUT = Path(__file__).with_name("recording.svg")
STYLES = {r"\bfinished\b": "green", r"\byes\b": "bold green", r"^(Better|Worse|Cost)": "bold"}

Line = tuple[float, str]
"""Seconds since the beginning, and text."""


def main() -> None:
    """Run the commands, and write the picture."""
    begun, lines = time.monotonic(), list[Line]()
    with TemporaryDirectory() as folder:
        for command in COMMANDS:
            lines.append((time.monotonic() - begun, f"$ {command}"))
            lines += [(at - begun, text) for at, text in output_of(command, Path(folder))]
    OUTPUT.write_text(drawn(without_notes(lines)), "utf-8")
    print(f"wrote {OUTPUT}: {OUTPUT.stat().st_size / 1024:.0f} KiB")


def output_of(command: str, folder: Path) -> list[Line]:
    """The lines of a command in a terminal that only goes forwards, each with the time it came."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    words = [sys.executable, "-m", *shlex.split(command)]
    process = subprocess.Popen(
        words, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, env=environment()
    )
    os.close(theirs)
    lines, rest = list[Line](), b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the terminal is closed
            break
        *whole, rest = (rest + part).split(b"\n")
        lines += [(time.monotonic(), line.decode().rstrip()) for line in whole]
    if process.wait():
        raise SystemExit("\n".join(text for _, text in lines))
    return lines


def environment() -> dict[str, str]:
    """Ours, with a terminal that cannot redraw."""
    return os.environ | {"TERM": "dumb", "COLUMNS": str(COLUMNS), "OMP_NUM_THREADS": "1"}


def without_notes(lines: list[Line]) -> list[Line]:
    """The lines, `...` for the notes between the table and the answer."""
    texts = [text for _, text in lines]
    table = next(i for i, text in enumerate(texts) if text.startswith("Roadmap of"))
    end = max(i for i, text in enumerate(texts) if not text)
    first_note = next(i for i in range(table, end) if texts[i].startswith("val/acc at"))
    return [*lines[:first_note], (lines[end][0], "..."), *lines[end:]]


def drawn(lines: list[Line]) -> str:
    """The last picture by rich, and when each of its lines appears."""
    console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w"))  # noqa: SIM115
    for _, line in lines:
        text = Text(line, style="bold cyan" if line.startswith("$ ") else "", no_wrap=True)
        for pattern, style in STYLES.items():
            text.highlight_regex(pattern, style)
        console.print(text, crop=True, overflow="ellipsis")
    picture = console.export_svg(title="orchestrator", unique_id="r")
    picture = re.sub(r"\s*@font-face \{.*?\}", "", picture, flags=re.DOTALL)  # nothing is fetched
    total = lines[-1][0] / FASTER + REST
    rules = [
        f"[data-line='{number}']{{animation:line-{number} {total:.1f}s infinite}}"
        "@keyframes "
        f"line-{number}{{0%,{share:.2f}%{{opacity:0}}{share + 0.01:.2f}%,100%{{opacity:1}}}}"
        for number, share in enumerate(100 * at / FASTER / total for at, _ in lines)
    ]
    still = "@media (prefers-reduced-motion:reduce){[data-line]{animation:none!important}}"
    picture = re.sub(r'clip-path="url\(#r-line-(\d+)\)"', r'data-line="\1"', picture)
    return picture.replace("</style>", "".join([*rules, still]) + "</style>", 1)


if __name__ == "__main__":
    main()
