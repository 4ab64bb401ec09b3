"""Show, Attend and Tell: captioner with soft attention, the twin of `nic`."""
