"""What can be said of rules before they run: what is wrong, what can never be, what no stream is meant by."""
