"""What a block hands to the next one, kept as it passes: an early exit costs no second forward pass."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from cdeval.models.anatomy import Parts


@contextmanager
def tap(parts: Parts, layers: Collection[int]) -> Iterator[dict[int, Tensor]]:
    """Keep the output of the given exit layers at every forward pass inside the `with` block.

    Yields a dictionary that each forward pass overwrites: layer k -> output of block k, [batch, position, width],
    before the final norm. The hooks are gone afterwards, also after an exception, so a sweep's next point starts clean.
    """
    outputs: dict[int, Tensor] = {}
    handles = [parts.blocks[layer - 1].register_forward_hook(_keeper(outputs, layer)) for layer in sorted(set(layers))]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
        outputs.clear()


def _keeper(outputs: dict[int, Tensor], layer: int) -> Callable[[nn.Module, object, object], None]:
    def keep(_module: nn.Module, _inputs: object, output: object) -> None:
        # Some architectures' blocks return (hidden, attentions), others the hidden state alone.
        hidden = output[0] if isinstance(output, tuple) else output
        assert isinstance(hidden, Tensor)  # noqa: S101 - a type narrowing, not a check of the input
        outputs[layer] = hidden

    return keep
