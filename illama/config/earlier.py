"""Settings whose code is identified as earlier versions did: so their results are found again."""

from illama.config.configuration import Config
from illama.config.functions import UserModel
from illama.config.imports import identity_by_bytes, is_by_syntax
from illama.config.user_training import UserTraining
from illama.config.workload import Workload


def with_code_by_bytes(config: Workload) -> Workload | None:
    """Return the same settings with user code identified by its bytes, as before normal forms.

    None where no code is identified by its normal form.
    """
    if isinstance(config, UserTraining):
        if not is_by_syntax(config.train.code):
            return None
        code = identity_by_bytes(config.train.function)
        return config.model_copy(update={"train": config.train.model_copy(update={"code": code})})
    model = config.network
    if not isinstance(config, Config) or not isinstance(model, UserModel):
        return None
    if not is_by_syntax(model.code):
        return None
    code = identity_by_bytes(model.function)
    return config.model_copy(update={"model": model.model_copy(update={"code": code})})
