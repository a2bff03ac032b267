"""What must outlive a crash: state with its positions, and messages on their way to sinks."""
