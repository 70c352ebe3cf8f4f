"""MLflow as a view of the store. The only package that imports mlflow."""

from orchestrator.tracking.mirror import MlflowMirror, default_tracking_uri, mlflow_run_ids, without_password
from orchestrator.tracking.shape import run_key

__all__ = ["MlflowMirror", "default_tracking_uri", "mlflow_run_ids", "run_key", "without_password"]
