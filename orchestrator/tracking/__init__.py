"""MLflow as a view of the store. The only package that imports mlflow."""

from orchestrator.tracking.addresses import without_password
from orchestrator.tracking.mirror import MlflowMirror, default_tracking_uri

__all__ = ["MlflowMirror", "default_tracking_uri", "without_password"]
