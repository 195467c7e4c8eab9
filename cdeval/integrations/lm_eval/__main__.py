"""`python -m cdeval.integrations.lm_eval --model cdeval …`: lm_eval's own command line, which knows that model."""

import sys

from cdeval.assets.extras import library_of
from cdeval.errors import CdevalError
from cdeval.integrations.lm_eval.registering import register
from cdeval.store.screen import complain


def main() -> None:
    """Run lm_eval's command with the arguments as they are; exit with 2 where a setting of cdeval is wrong."""
    try:
        register("python -m cdeval.integrations.lm_eval")
        library_of("lm-eval", "lm_eval.__main__", "python -m cdeval.integrations.lm_eval").cli_evaluate()
    except CdevalError as error:
        complain(f"error: {error}")
        sys.exit(2)


if __name__ == "__main__":
    main()
