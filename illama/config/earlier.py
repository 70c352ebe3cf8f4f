"""Settings whose code is identified as earlier versions did: so their results are found again."""

from illama.config.configuration import AnyConfig, UserTraining
from illama.config.functions import UserModel
from illama.config.imports import identity_by_bytes, is_by_syntax


def with_code_by_bytes(config: AnyConfig) -> AnyConfig | None:
    """Return the same settings with user code identified by its bytes, as before normal forms.

    None where no code is identified by its normal form.
    """
    if isinstance(config, UserTraining):
        if not is_by_syntax(config.train.code):
            return None
        code = identity_by_bytes(config.train.function)
        return config.model_copy(update={"train": config.train.model_copy(update={"code": code})})
    model = config.model
    if not isinstance(model, UserModel) or not is_by_syntax(model.code):
        return None
    code = identity_by_bytes(model.function)
    return config.model_copy(update={"model": model.model_copy(update={"code": code})})
