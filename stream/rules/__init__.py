"""Alert rules: expressions over all streams at once, the life of alerts, incidents, and what is told of them."""
