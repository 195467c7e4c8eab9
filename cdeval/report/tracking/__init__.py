"""Trackers as mirrors of a study: W&B, or trackio on this machine. One run a point and one for the study, in one group.

The run folders stay the truth. For W&B everything is mirrored offline first, into `wandb` of each run folder and of the
study, and sent from there: the network decides only whether it is seen now or later. (Measured with wandb 0.31: without
a network, an online `wandb.init` blocks for 100 s.)
"""
