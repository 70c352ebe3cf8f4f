"""`python -m orchestrator`: the console script without its installed name."""

from orchestrator.cli import main

main()
