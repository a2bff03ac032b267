"""Names of log lines, an interface for whoever searches logs: ``area.past_participle`` and what it means."""

from __future__ import annotations

LOG_NAMES: dict[str, str] = {
    "daemon.started": "heed is up and begins to read.",
    "daemon.failed": "A fault in heed itself ended it (exit code 70); what was committed is kept for the next start.",
    "daemon.draining": "An ordered stop: no more polling, what was read is finished.",
    "daemon.stopped": "Everything is committed and closed; `undelivered` alerts wait for the next start.",
    "config.loaded": "The configuration was read and is in force.",
    "config.reloaded": (
        "Rules, receivers or routes changed while heed ran: which rules were `added`, `changed` and "
        "`removed`, which receivers (`receivers_added`, ...), and which keys beside rules were "
        "`taken_in`."
    ),
    "config.unchanged": "The configuration was read again, and nothing that can be taken in is another.",
    "config.rejected": "A changed configuration or rule file can't be used; what was in force before goes on.",
    "config.restart_needed": "Other keys of the configuration changed too; they are taken in by the next start.",
    "source.opened": "A source can be read.",
    "source.failed": "A source can't be read; it is tried again.",
    "source.recovered": "A source that had failed can be read again.",
    "source.slowed": "A source is read in a way that takes more CPU than it should; `reason` says why.",
    "source.rebalanced": "Partitions were given to this process or taken from it.",
    "source.ended": "A source will bring nothing more.",
    "stream.expired": "Streams without readings for `windows.ttl` were forgotten.",
    "stream.refused": "New streams were turned away, because there are `limits.streams` already.",
    "group.split": "A group's streams come from several partitions, so several processes may each see a part.",
    "group.step_changed": "A group is looked at on another step than before, the largest of its streams'.",
    "reading.late": "Readings came after their step was closed; a summary.",
    "reading.future": "Readings lay further in the future than `windows.future` and were set aside; a summary.",
    "reading.undecodable": "Messages or lines are no readings; they were counted and passed over.",
    "reading.lost": "Records were gone at the broker before they could be read, and are counted.",
    "baseline.accepted": "A shift that stayed is the new normal of a stream.",
    "gate.shed": "Full looks were due and not afforded; a summary.",
    "budget.overloaded": "Demand is above what the latency budget affords.",
    "budget.recovered": "All looks that are due are afforded again.",
    "guarantee.violated": "A stream went without a full look for longer than its blindness budget.",
    "model.loaded": "A model was read, checked and is in use.",
    "model.failed": "A model can't be loaded or run; the sentinel's verdict stands alone.",
    "alert.firing": "An alert holds for as long as its rule asks.",
    "alert.resolved": "An alert that was firing no longer holds.",
    "alert.abridged": "So much changed at once that the rest of it got no lines of its own; it is counted here.",
    "incident.opened": "The first alert of an incident is firing.",
    "incident.closed": "All alerts of an incident are resolved.",
    "sink.failed": "Messages could not be sent; they stay in the outbox and are tried again.",
    "notification.abandoned": "A sink will never take some messages; they are kept in the state, table `dead`.",
    "sink.recovered": "A sink that had failed takes messages again.",
    "state.restored": "State was read; reading goes on from its positions.",
    "state.adopted": (
        "Partitions are ours now: `positions` of those that came with their state, `new` are those without."
    ),
    "state.left": "Partitions are somebody else's now; their streams left with their state.",
    "state.checkpointed": "Evidence and calibration were written.",
    "state.failed": "State can't be read or written.",
    "state.recovered": "State that could not be written is on disk again; the alerts that waited for it are sent.",
    "recording.started": "What is read is also recorded.",
    "recording.closed": "A recording is complete and on disk.",
    "replay.finished": "A replay has read all its recordings.",
    "worker.died": "One of several processes on this host ended by itself; it is started again after a pause.",
    "worker.refused": "A worker says that its configuration is wrong (exit code 78): all are stopped.",
    "group.spread": "Streams of one group came to different workers, each of which looks at its part alone.",
    "library.logged": "A library had something to say; `logger` and `message` hold its words.",
}
