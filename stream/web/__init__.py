"""The live page, the metrics and the HTTP interface: they read snapshots and change nothing."""
