"""The protocol by which a lane is drained: one module for each kind of call, and for what to do when one is unsure."""
