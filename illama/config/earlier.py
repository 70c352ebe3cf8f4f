"""Settings whose code is identified as earlier versions did: so their results are found again."""

from illama.config.configuration import Config
from illama.config.functions import UserModel
from illama.config.imports import UserCodeError, identity_by_bytes, identity_of, is_by_syntax
from illama.config.user_training import UserTraining
from illama.config.workload import Workload


def with_code_by_bytes(config: Workload) -> Workload | None:
    """Return the same settings with user code identified by its bytes, as before normal forms.

    None where no code is identified by its normal form, and where that code is not here any more.
    """
    if isinstance(config, UserTraining):
        code = _by_bytes(config.train.function, config.train.code)
        train = config.train.model_copy(update={"code": code})
        return config.model_copy(update={"train": train}) if code else None
    model = config.network
    if not isinstance(config, Config) or not isinstance(model, UserModel):
        return None
    code = _by_bytes(model.function, model.code)
    network = model.model_copy(update={"code": code})
    return config.model_copy(update={"model": network}) if code else None


def _by_bytes(function: str, code: str) -> str | None:
    """Identity by bytes of what is known as `code`; None where the module is another one by now."""
    if not is_by_syntax(code):
        return None
    try:
        return identity_by_bytes(function) if identity_of(function) == code else None
    except UserCodeError:
        return None
