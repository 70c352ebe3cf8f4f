"""The report for programs."""

import json

from orchestrator.analysis.roadmap import Roadmap
from orchestrator.report.formats import Layout


def to_json_text(roadmap: Roadmap, _layout: Layout) -> str:
    """`Roadmap.to_json`, indented."""
    return json.dumps(roadmap.to_json(), indent=2) + "\n"
