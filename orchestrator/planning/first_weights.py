"""Variants that start from a file, with the digest of what is in it."""

from dataclasses import replace

from illama.weights.initial import identified
from orchestrator.errors import UsageError
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.trial import Variant


def with_known_weights(variant: Variant, spec: SweepSpec) -> Variant:
    """Return the variant with the digest of the file that it starts from, where it does.

    Raises `UsageError` where neither file nor digest is there.
    """
    if variant.repeated:
        repeated = tuple(with_known_weights(one, spec) for one in variant.repeated)
        return replace(repeated[0], changes=variant.changes, repeated=repeated)
    try:
        return replace(variant, config=identified(variant.config, spec.schema.runtime.data_dir))
    except OSError as error:
        message = (
            f"{spec.path}:{variant.line}: '{variant.label}' cannot start from its file: {error}"
        )
        raise UsageError(
            f"{message}; only to plan and report, train.init.sha256 is enough"
        ) from error
