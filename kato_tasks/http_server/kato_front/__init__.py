"""KATO's own API, carried out by kato_tasks: a client of KATO changes its base URL and nothing else."""
