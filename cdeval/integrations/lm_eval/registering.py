"""The name `cdeval` among lm_eval's models, which are known by name and have no entry points."""

from cdeval.assets.extras import library_of

NAME = "cdeval"
_CLASS = "cdeval.integrations.lm_eval.model:CdevalLM"


def register(reader: str) -> None:
    """Make lm_eval know the model `cdeval`; its class is imported when it is asked for.

    Args: reader: the command that needs lm_eval, for the message.
    Raises: ConfigError: lm_eval is not installed.
    """
    registry = library_of("lm-eval", "lm_eval.api.registry", reader).model_registry
    if NAME not in registry:
        registry.register(NAME, target=_CLASS)
