"""Every setting of a training, frozen and documented, a module for each subject.

Knows no torch, so that reading a configuration costs nothing.
"""

from illama.config.configuration import (
    NUMERICS_VERSION,
    Config,
    user_function,
)
from illama.config.data import DataConfig
from illama.config.functions import UserData, UserModel
from illama.config.imports import UserCodeError
from illama.config.model import PRESETS, ModelConfig, with_preset
from illama.config.parts import PART_KINDS, Part
from illama.config.runtime import EPOCHS, RuntimeConfig, data_directory, epoch_folder
from illama.config.settings import Settings, explain
from illama.config.train import InitConfig, QuantizeConfig, SoftMaskConfig, TrainConfig
from illama.config.user_training import TrainingFunction, UserTraining
from illama.config.workload import Capabilities, Workload
from illama.config.workloads import kind_of, read_workload, resolve, schema_of

__all__ = [
    "EPOCHS",
    "NUMERICS_VERSION",
    "PART_KINDS",
    "PRESETS",
    "Capabilities",
    "Config",
    "DataConfig",
    "InitConfig",
    "ModelConfig",
    "Part",
    "QuantizeConfig",
    "RuntimeConfig",
    "Settings",
    "SoftMaskConfig",
    "TrainConfig",
    "TrainingFunction",
    "UserCodeError",
    "UserData",
    "UserModel",
    "UserTraining",
    "Workload",
    "data_directory",
    "epoch_folder",
    "explain",
    "kind_of",
    "read_workload",
    "resolve",
    "schema_of",
    "user_function",
    "with_preset",
]
