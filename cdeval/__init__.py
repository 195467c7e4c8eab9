"""cdeval: a benchmark and evaluation harness for contrastive decoding.

The question: can an early-exit layer of the expert be its own amateur, for less compute and equal quality?
`cdeval.study` tells the whole story on one page; `cdeval.decode.engine` is the part that makes it fast.
"""

__version__ = "0.1.0"
