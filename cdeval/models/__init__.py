"""Expert models: where their parts are, how they are loaded, how a block's output becomes logits."""
