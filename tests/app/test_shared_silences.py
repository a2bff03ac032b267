"""Whatever is silenced and ended while workers come and go: in the end all of them say the same."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from stream.app.shared_silences import SharedSilences
from stream.app.siblings import Sibling
from stream.notify.silence import SilenceError, Silences, UnknownSilence, wanted
from stream.notify.silence import given as told

SECOND = 1_000_000_000
T0 = 1_767_225_600 * SECOND


class World:
    """Three workers on one clock that never stands still."""

    def __init__(self) -> None:
        self.now = T0
        self.workers = [Near(number, self) for number in range(3)]
        self.all = SharedSilences(self.workers)


class Near(Sibling):
    """A worker in this process: its silences, and whether it is up."""

    def __init__(self, number: int, world: World) -> None:
        super().__init__(number, 0, lambda: (True, 0))
        object.__setattr__(self, "world", world)
        object.__setattr__(self, "known", Silences())
        object.__setattr__(self, "up", [True])

    def ask(self, path: str) -> str | None:
        rows = self.known.told(self.world.now)
        return json.dumps({"data": {"silences": rows}}) if self.up[0] else None

    def send(self, method: str, path: str, body: object = None, patience_s: float = 0) -> tuple[int, str] | None:
        self.world.now += SECOND // 7
        if not self.up[0]:
            return None
        key = path.rpartition("/")[2]
        try:
            silence = {
                "POST": lambda: self.known.add(wanted(body), self.world.now),
                "PUT": lambda: self.known.adopt(told(key, json.loads(json.dumps(body)))),
                "DELETE": lambda: self.known.expire(key, self.world.now),
            }[method]()
        except SilenceError as error:
            return 404 if isinstance(error, UnknownSilence) else 400, json.dumps({"error": str(error)})
        return 200, json.dumps({"status": "success", "data": silence.told(self.world.now)})

    def states(self) -> dict[str, str]:
        return {each["id"]: each["status"]["state"] for each in self.known.told(self.world.now)}


BODY = {"matchers": ["a=b"], "createdBy": "ann", "comment": "x"}
steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from(["5s", "1h"])),
        st.tuples(st.just("expire"), st.integers(0, 9)),
        st.tuples(st.just("flip"), st.integers(0, 2)),
        st.tuples(st.just("spread"), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(steps)
def test_what_was_answered_holds_everywhere_once_all_are_up(found: list[tuple[str, object]]) -> None:
    world = World()
    made: list[tuple[str, str]] = []
    ended: set[str] = set()
    for what, how in found:
        if what == "add":
            code, said = world.all.add({**BODY, "duration": how})
            made += [(said["data"]["id"], str(how))] if code == 200 else []
            assert code == (200 if any(worker.up[0] for worker in world.workers) else 503)
        elif what == "expire" and made:
            key = made[int(str(how)) % len(made)][0]
            ended |= {key} if world.all.expire(key)[0] == 200 else set()
        elif what == "flip":
            world.workers[int(str(how))].up[0] ^= True
        else:
            world.all.spread()
    for worker in world.workers:
        worker.up[0] = True
    world.all.spread()
    for worker in world.workers:
        states = worker.states()
        assert {key for key, state in states.items() if state == "active"} >= {
            key for key, lasts in made if lasts == "1h" and key not in ended
        }  # fmt: skip
        assert not {key for key in ended if states.get(key) == "active"}, "what was ended is ended everywhere"
    world.now += 3600 * SECOND
    assert {row["status"]["state"] for row in world.all.listed()} <= {"expired"}
