"""From a tensor to logits, to disk and back. May import `data`, nothing above."""
