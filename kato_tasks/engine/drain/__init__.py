"""How a lane is drained: a module for each kind of call, and for what to do when its outcome is unknown."""
