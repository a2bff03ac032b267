"""The only wiring: what replay, demo and daemon are put together from; they differ here and nowhere else."""
