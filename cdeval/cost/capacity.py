"""The number of lanes in one forward pass: as many as fit in memory, up to where more bring nothing.

    lane = live key-value slots  +  logits of all its beams, the expert's and the amateur's  +  their mask      [bytes]

An amateur with a forward pass of its own has slots, and a mask, of its own.

The memory that is free is measured; what a lane takes follows from its shape. Live slots are taken as `LIVE` times one
text's: enough for a lane alone, but lanes of one batch are all as long as the longest, and took up to 2.7 times one
text's in the bench's group `fused`. Should a batch not fit, `decode.batches` halves it.
"""

from pathlib import Path

import psutil
import torch

from cdeval.config.schema import AUTO, ExecutionConfig
from cdeval.cost.memory import slot_bytes
from cdeval.decode.cache import GROWTH
from cdeval.models.loading import LanguageModel

LIVE = 1.5  # live slots of a compacted lane over its text's
SHARE = 0.8  # of the free memory that lanes may take: attention, scores and fragmentation need some too
# Rows (lanes x beams) of a step beyond which the time is taken to grow with the rows: where matrix products alone
# saturated on two CPU cores; on a GPU reckoned from compute over bandwidth, with a margin. The bench's group `growth`
# tells for a machine.
SATURATED_ROWS = {"cpu": 160}
SATURATED_ROWS_ELSEWHERE = 2048


def lanes_at_once(
    execution: ExecutionConfig, expert: LanguageModel, beams: int, tokens: int, head_rows: int = 1, own_slot: int = 0
) -> int:
    """`execution.max_lanes` where it is a number; otherwise what fits and is worth while, at least 1.

    Args:
        execution: the lanes that were asked for, and how often the cache is compacted.
        expert: on its device, weights loaded, so that they are no longer part of the free memory.
        beams: of a lane.
        tokens: of prompt and continuation together.
        head_rows: of a beam's amateur.
        own_slot: bytes of a slot in the cache of an amateur with a forward pass of its own, 0 without one.
    """
    if execution.max_lanes != AUTO:
        return int(execution.max_lanes)
    worth = SATURATED_ROWS.get(expert.device.type, SATURATED_ROWS_ELSEWHERE) // beams
    lane = lane_bytes(expert, beams, tokens, execution.compact_every, head_rows, own_slot)
    fitting = int(SHARE * free_bytes(expert.device)) // lane
    return max(1, min(worth, fitting))


def own_slot_bytes(amateur: object) -> int:
    """Count the bytes of a slot in an amateur's own cache; 0 for what is no model, as a lens or counts."""
    return slot_bytes(amateur) if isinstance(amateur, LanguageModel) else 0


def lane_bytes(
    expert: LanguageModel, beams: int, tokens: int, compact_every: int, head_rows: int = 1, own_slot: int = 0
) -> int:
    """Count what one lane takes at its longest [bytes]; without compaction (0) it keeps every beam's slots.

    The arguments are those of `lanes_at_once`.
    """
    live = int(LIVE * tokens) + beams * compact_every if compact_every else beams * tokens
    slots = live + GROWTH
    vocab = expert.parts.head_weight.shape[0]
    item = expert.dtype.itemsize
    # The expert's and the amateur's logits in the weights' format, and about four float32 tensors of the vocabulary
    # while scores are made.
    logits = beams * vocab * ((1 + head_rows) * item + 4 * 4)
    masks = beams * item * (2 if own_slot else 1)
    return slots * (slot_bytes(expert) + own_slot + masks) + logits


def free_bytes(device: torch.device) -> int:
    """Memory that this process may still take on the device, by what the system says now [bytes]."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory()) - int(torch.mps.driver_allocated_memory())
    return min(int(psutil.virtual_memory().available), _container_bytes(Path("/sys/fs/cgroup")))


def _container_bytes(folder: Path) -> int:
    """Read how much memory a container (cgroup v2) has left [bytes]; without a limit, more than any machine has."""
    try:
        limit, used = ((folder / name).read_text().strip() for name in ("memory.max", "memory.current"))
    except OSError:
        return 2**63 - 1
    return 2**63 - 1 if limit == "max" else max(0, int(limit) - int(used))
