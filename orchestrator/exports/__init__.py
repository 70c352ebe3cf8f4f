"""Curves and searches for people who look at them elsewhere than in MLflow: written from the store,
as often as asked, never read back.
"""

from orchestrator.exports.base import EXPORTERS, Exporter
from orchestrator.exports.curves import Curve, curves_of

__all__ = ["EXPORTERS", "Curve", "Exporter", "curves_of"]
