"""Unit tests of rules, in promtool's shape: what they look like, how they run, and what is told of them."""
