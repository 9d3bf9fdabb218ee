"""The events that a node sends: its children write theirs into rings of shared memory, its worker sends all of them."""
