"""All that touches the world, time included: sources, sinks, clocks, codecs, the store."""
