"""Every setting of a training, frozen and documented, a module for each subject.

Knows no torch, so that reading a configuration costs nothing.
"""

from illama.config.configuration import (
    NUMERICS_VERSION,
    AnyConfig,
    Config,
    ForeignConfig,
    foreign_function,
    numerics_version,
    resolve,
    schema_of,
)
from illama.config.data import DataConfig
from illama.config.functions import ForeignData, ForeignModel, ForeignTraining
from illama.config.imports import ForeignError
from illama.config.model import PRESETS, ModelConfig, with_preset
from illama.config.parts import Part
from illama.config.runtime import RuntimeConfig, data_directory
from illama.config.settings import Settings, explain
from illama.config.train import InitConfig, SoftMaskConfig, TrainConfig

__all__ = [
    "NUMERICS_VERSION",
    "PRESETS",
    "AnyConfig",
    "Config",
    "DataConfig",
    "ForeignConfig",
    "ForeignData",
    "ForeignError",
    "ForeignModel",
    "ForeignTraining",
    "InitConfig",
    "ModelConfig",
    "Part",
    "RuntimeConfig",
    "Settings",
    "SoftMaskConfig",
    "TrainConfig",
    "data_directory",
    "explain",
    "foreign_function",
    "numerics_version",
    "resolve",
    "schema_of",
    "with_preset",
]
