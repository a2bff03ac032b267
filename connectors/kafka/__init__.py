"""Apache Kafka: the source, dead letters, the alert sink, and state on its way between processes; two clients."""
