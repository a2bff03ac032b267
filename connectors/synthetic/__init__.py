"""A seeded world of streams with faults at known times: for the demo, for training, for tests and benchmarks."""

from connectors.synthetic.faults import DEMO_FAULTS, FAULTS, GROUP_FAULTS, LOOKALIKES, Fault
from connectors.synthetic.source import SyntheticSource
from connectors.synthetic.world import World

__all__ = ["DEMO_FAULTS", "FAULTS", "GROUP_FAULTS", "LOOKALIKES", "Fault", "SyntheticSource", "World"]
