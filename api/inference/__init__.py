"""From batches to journalled predictions: micro-batching, group commit, model swap, shadow."""
