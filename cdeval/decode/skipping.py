"""What rows that have exited early skip: of the blocks that remain they need their keys and values, and nothing else.

A block first makes keys and values of all its rows and stores them in the cache; then it attends, projects, and goes on
to its feed-forward layer. What comes after the storing is needed by rows that go on alone:

    all rows have exited      the block ends there: an exception leaves its forward pass, its input is handed on
    many of many rows have    the block's matrices after the storing multiply the rows that go on alone

So one prompt saves most of a block for each token that exits before it (of SmolLM2's blocks four fifths of the
weights), and a batch as many rows of products as have exited together. Few rows take as long as many where reading the
weights is what takes time, so that in batches nothing is dropped below `LEAST_ROWS` rows, nor where fewer than
`LEAST_SHARE` of them have exited: picking the others out costs a copy.

Nothing here knows an architecture: the cache says when a block has stored (`decode.cache.AppendOnlyLayer.stored`), and
every matrix that is multiplied after that is one of those to be spared.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from jaxtyping import Bool
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

LEAST_ROWS = 8
LEAST_SHARE = 0.25


class _Stored(Exception):  # noqa: N818 - no error: it ends a block
    """Keys and values are in the cache, and no row needs the rest of the block."""


class Skipping:
    """The rows of a forward pass that go on, for the blocks after the first one with an exit."""

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        """Args: blocks: that rows may skip."""
        self._blocks = blocks
        self._tuples: dict[int, bool] = {}  # whether a block returns a tuple, by its place; seen at its first pass
        self._over = False  # all rows have exited
        self._kept: Tensor | None = None  # rows that go on, as places of [lane * beam]; None: all of them
        self._after = False  # inside a block, after its keys and values are stored

    def all_go_on(self) -> None:
        """Begin or end a forward pass: nobody has exited."""
        self._over, self._kept, self._after = False, None, False

    def exited(self, rows: Bool[Tensor, "lane beam"]) -> None:
        """Note which rows have exited; asks the device how many, once."""
        gone, total = int(rows.sum()), rows.numel()
        self._over = gone == total
        some = total >= LEAST_ROWS and gone >= LEAST_SHARE * total
        self._kept = (~rows).flatten().nonzero()[:, 0] if some and not self._over else None

    def stored(self) -> None:
        """Hear that a block has stored its keys and values. Raises: what ends the block, if nobody needs its rest."""
        if self._over and len(self._tuples) == len(self._blocks):
            raise _Stored
        self._after = True

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Let the blocks skip what is not needed inside the `with` block; afterwards they are as they were."""
        changed: list[nn.Module] = []
        before: list[object] = []

        def put(module: nn.Module, forward: Callable[..., object]) -> None:
            changed.append(module)
            before.append(vars(module).get("forward"))
            setattr(module, "forward", forward)  # noqa: B010 - comes before the method of its class

        try:
            for place, block in enumerate(self._blocks):
                for module in block.modules():
                    if isinstance(module, nn.Linear | Conv1D):
                        put(module, self._sparing(module.forward))
                put(block, self._ending(place, block.forward))
            yield
        finally:
            for module, forward in zip(reversed(changed), reversed(before), strict=True):
                if forward is None:
                    delattr(module, "forward")
                else:
                    setattr(module, "forward", forward)  # noqa: B010

    def _ending(self, place: int, forward: Callable[..., object]) -> Callable[..., object]:
        """A block that hands on its input where all rows have exited."""

        def ending(*arguments: object, **options: object) -> object:
            self._after = False
            try:
                output = forward(*arguments, **options)
            except _Stored:
                hidden = arguments[0] if arguments else options["hidden_states"]
                return (hidden,) if self._tuples[place] else hidden
            finally:
                self._after = False
            self._tuples[place] = isinstance(output, tuple)
            return output

        return ending

    def _sparing(self, forward: Callable[..., object]) -> Callable[..., object]:
        """A matrix that multiplies the rows that go on alone; the others' products are zeros, which nobody reads."""

        def sparing(rows: Tensor) -> object:
            if self._kept is None or not self._after:
                return forward(rows)
            some = forward(rows.reshape(-1, rows.shape[-1]).index_select(0, self._kept))
            assert isinstance(some, Tensor)  # noqa: S101 - a type narrowing, not a check of the input
            count = rows.numel() // rows.shape[-1]
            product = some.new_zeros(count, some.shape[-1]).index_copy_(0, self._kept, some)
            return product.view(*rows.shape[:-1], some.shape[-1])

        return sparing
