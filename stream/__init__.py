"""What happens to a reading, in order: windows, evidence, gate, rules, and the loop that turns them."""

__version__ = "0.1.0"
