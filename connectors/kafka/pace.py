"""How many records to ask for at a time, so that a turn of the loop stays short whatever a reading costs."""

from __future__ import annotations

from dataclasses import dataclass, field

FIRST = 100  # records of the first poll: nobody knows yet how many readings each brings
TURN = 50_000_000  # ns
STRETCH = 4  # times ``most`` at most: what a poll brings has to fit into the processor's cache
_MEMORY = 8  # turns


@dataclass(slots=True)
class Pace:
    """``most`` readings a turn, or up to ``stretch`` times as many while turns take less than ``turn`` (ns).

    A turn has costs of its own, the same for few readings and many, which is most of it where messages are packed.
    """

    most: int
    stretch: int = STRETCH
    turn: int = TURN
    records: int = field(init=False)  # to ask for next
    _cost: float = 0.0  # ns a reading, 0 = not known
    _readings: int = 0  # of the turn that is under way
    _began: int = 0  # when it had them, ns

    def __post_init__(self) -> None:
        self.records = min(self.most, FIRST)

    def came(self, readings: int, records: int, now: int) -> None:
        """A poll fetched so many records with so many readings at ``now`` (ns). One that can't be read counts, too."""
        self._readings, self._began = max(readings, records), now
        if records:
            self.records = max(1, round(self._wanted() * records / self._readings))

    def over(self, now: int) -> None:
        """The turn with these readings is over. One with few says little of what more would cost."""
        if self._readings >= self.most // 2 > 0:
            cost = (now - self._began) / self._readings
            self._cost += (cost - self._cost) / (_MEMORY if self._cost else 1)
        self._readings = 0

    def _wanted(self) -> int:
        if not self._cost:
            return self.most
        return round(min(max(self.most, self.turn / self._cost), self.stretch * self.most))
