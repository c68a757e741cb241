"""The periodic process as deployments start it."""
