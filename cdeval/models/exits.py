"""Hooks on blocks that keep or change an output as it passes: an early exit costs no second forward pass."""

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

    def keep(layer: int, hidden: Tensor) -> Tensor:
        outputs[layer] = hidden
        return hidden

    try:
        with change(parts, layers, keep):
            yield outputs
    finally:
        outputs.clear()


@contextmanager
def change(parts: Parts, layers: Collection[int], changed: Callable[[int, Tensor], Tensor]) -> Iterator[None]:
    """Hand on `changed(k, output of block k)` instead of the output of block k, for the given layers.

    At every forward pass inside the `with` block, of any model that has these blocks; hooks that are set later see what
    earlier ones made. The hooks are gone afterwards, also after an exception.
    """
    handles = [parts.blocks[layer - 1].register_forward_hook(_hook(changed, layer)) for layer in sorted(set(layers))]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(changed: Callable[[int, Tensor], Tensor], layer: int) -> Callable[[nn.Module, object, object], object]:
    def hook(_module: nn.Module, _inputs: object, output: object) -> object:
        # Some architectures' blocks return (hidden, attentions), others the hidden state alone.
        hidden = output[0] if isinstance(output, tuple) else output
        assert isinstance(hidden, Tensor)  # noqa: S101 - a type narrowing, not a check of the input
        new = changed(layer, hidden)
        return (new, *output[1:]) if isinstance(output, tuple) else new

    return hook
