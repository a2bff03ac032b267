"""What a Kafka source knows of each partition it reads: how far it is, how far it could be, and what it waits for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from kafka import TopicPartition

from connectors.batch import SECOND

AHEAD = 60 * SECOND  # of event time: a partition further than this before the slowest waits for it
HOLD = 300 * SECOND  # how long all wait for a partition whose dead letters can't be written
GRACE = 30 * SECOND  # once brokers are back: how long at most a partition is waited for, whose producers may not be yet
STALLED = 10 * SECOND  # a partition that brings nothing for so long is not waited for

UNPLACED = "unplaced"  # where to read from is not settled yet
LETTERS = "letters"  # dead letters could not be written
FAST = "fast"  # far ahead of the others in event time


@dataclass(slots=True)
class Partition:
    """One assigned partition. Offsets are those to read next."""

    at: TopicPartition
    name: str
    number: int  # in the PartitionTable
    remembered: int | None = None  # how far this process had read when it lost the partition
    adopted: bool = False  # its state was taken up, if it has one
    member: str | None = None  # the id in the group under which it was placed; None = nobody tells
    position: int = -1
    led: bool = True  # a broker leads it: else nothing can be read, and nobody knows where it ends
    asked: int = 0  # ns: when it was last asked in vain where it begins and ends
    floor: int = -1  # what lies before it is read to learn from, and was read before by others, or by nobody
    end: int = -1  # the broker's, as far as known
    fresh: bool = True  # it was known lately
    since: int = 0  # ns: what was written before waited for heed, not for its turn
    event_time: int | None = None  # ns: the middle of the last readings
    moved: int = 0  # ns: when the last readings came
    spoke: bool = False  # something came since brokers were last away
    grace: int = 0  # ns for which it is waited for, since they were
    held: int = 0  # ns: since when its dead letters can't be written; 0 = they can
    retry: int = 0  # ns: not before this, while it waits for its dead letters; 0 = they have not failed, or just now
    reported: int = -1  # position told last
    told: int = -1  # what commit said last
    committed: int = -1  # what the broker has acknowledged
    waits: set[str] = field(default_factory=lambda: {UNPLACED})

    @property
    def placed(self) -> bool:
        """True when it is settled where to read from."""
        return UNPLACED not in self.waits

    @property
    def at_end(self) -> bool:
        """True when everything there is was read; while it is waited for nobody knows."""
        return self.as_far_as_known and self.fresh and self.led and not self.held and not self.grace

    @property
    def as_far_as_known(self) -> bool:
        """True when everything was read up to the end that was heard of last."""
        return self.placed and self.position >= self.end

    @property
    def doubted(self) -> bool:
        """True when it may be at its end, and nobody has told so lately."""
        return self.as_far_as_known and not self.fresh

    @property
    def starting(self) -> bool:
        """True when there is something to read and nothing has come yet."""
        return self.placed and self.event_time is None and self.position < self.end and not self.held

    @property
    def lag(self) -> int:
        """Records not read yet, as far as known."""
        return max(0, self.end - self.position) if self.placed else 0

    def others(self, member: str | None) -> bool:
        """Whether somebody else may have read it since it was placed: the group knows this process under another id."""
        return bool(self.member and member) and self.member != member

    def waited_for(self, now: int) -> bool:
        """True while event time waits for it: until its dead letters are written, or its producers may be back."""
        return self.grace > 0 or (self.held > 0 and now - self.held <= HOLD)

    def left_behind(self, now: int) -> bool:
        """True when it was waited for long enough: its readings will be late."""
        return 0 < self.held < now - HOLD

    def came(self, now: int) -> None:
        """It has brought something."""
        self.moved, self.spoke, self.grace = now, True, 0

    def back(self, now: int, away: int) -> None:
        """Brokers answer again, after ``away`` ns: what was written then has waited for them, and so have producers.

        These try again at longer and longer intervals, so they may need as long again. Who brings nothing in that
        time is not waited for a second time.
        """
        self.since = now
        if self.spoke:
            self.spoke, self.grace = False, min(away, GRACE)

    def hold(self, now: int) -> None:
        """Its dead letters have failed."""
        self.held = self.held or now
        self.wait(LETTERS, True)

    def release(self) -> None:
        """Its dead letters are written."""
        self.held = 0
        self.wait(LETTERS, False)

    def wait(self, why: str, whether: bool) -> None:
        """Add or take away a reason to wait."""
        (self.waits.add if whether else self.waits.discard)(why)


def name(at: TopicPartition) -> str:
    """``topic/3``."""
    return f"{at.topic}/{at.partition}"


def parsed(text: str) -> TopicPartition | None:
    """The partition of that name; None where it is not one."""
    topic, slash, number = text.rpartition("/")
    return TopicPartition(topic, int(number)) if slash and number.isdecimal() else None


def metadata_of(part: Partition, now: int) -> str:
    """What is committed beside an offset: the event time of what was read before it, and when that was (ns)."""
    return "" if part.event_time is None else f"heed {part.event_time} {now}"


def times_in(metadata: str | None, now: int) -> tuple[int, int]:
    """The two times in what was committed beside an offset; ``now`` where heed did not write it."""
    words = (metadata or "").split()
    if len(words) == 3 and words[0] == "heed" and words[1].isdecimal() and words[2].isdecimal():
        return int(words[1]), int(words[2])
    return now, now


def balance(partitions: Collection[Partition], now: int) -> None:
    """Make those wait that are far ahead of the slowest partition which still moves and is not at its end.

    All wait for one that has something to read and has not brought anything yet: the client empties what it has
    fetched from one partition before it turns to the next.
    """
    behind = [
        part.event_time
        for part in partitions
        if part.event_time is not None and not part.at_end and now - part.moved < STALLED and not part.left_behind(now)
    ]
    slowest = min(behind, default=None)
    starting = any(part.starting and now - part.since < STALLED for part in partitions)
    for part in partitions:
        ahead = slowest is not None and part.event_time is not None and part.event_time - slowest > AHEAD
        part.wait(FAST, ahead or (starting and part.event_time is not None))
