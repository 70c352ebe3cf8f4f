"""MLflow as a view of the store. The only package that imports mlflow."""

from orchestrator.tracking.addresses import default_tracking_uri, without_password
from orchestrator.tracking.mirror import MlflowMirror

__all__ = ["MlflowMirror", "default_tracking_uri", "without_password"]
