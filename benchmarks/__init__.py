"""Speed, memory and quality, measured side by side with named peers; run by heed bench."""
