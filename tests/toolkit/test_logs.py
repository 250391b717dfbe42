"""Logs of replicas, as they are rotated and as they grow."""

import threading

import pytest

from modelport.errors import ServiceNotFound, TargetError
from modelport.targets import logs
from modelport.targets.logs import Wanted

ONE, TWO = "tumor-predictor-00001-1", "tumor-predictor-00002-1"
EXPLAINER = "tumor-explainer-00002-1"


@pytest.fixture
def folder(tmp_path):
    for name in (ONE, TWO, EXPLAINER):
        (tmp_path / f"{name}.log").write_text(f"{name} a\n{name} b\n")
    return tmp_path


def texts(folder, live=(TWO, EXPLAINER), **wanted):
    return [line.text for line in logs.lines(folder, lambda: set(live), Wanted(**wanted))]


def replicas(folder, **wanted):
    found = logs.lines(folder, lambda: {TWO, EXPLAINER}, Wanted(**wanted))
    return list(dict.fromkeys(line.replica for line in found))


def test_those_that_run_are_shown_one_after_the_other(folder):
    assert replicas(folder) == [EXPLAINER, TWO]
    assert texts(folder, [TWO]) == [f"{TWO} a", f"{TWO} b"]


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ({"component": "explainer"}, [EXPLAINER]),
        ({"replica": TWO}, [TWO]),
        ({"revision": "2"}, [EXPLAINER, TWO]),
        ({"revision": "tumor-predictor-00002"}, [EXPLAINER, TWO]),
        ({"gone": True, "running": False}, [ONE]),
        ({"gone": True}, [ONE, EXPLAINER, TWO]),
        ({"gone": True, "revision": "1"}, [ONE]),
    ],
)
def test_a_choice_of_them(folder, wanted, names):
    assert replicas(folder, **wanted) == names


def test_none_is_said_with_those_there_are(folder):
    with pytest.raises(TargetError, match=f"no replica is like that.*--all shows every one: {ONE}"):
        texts(folder, live=())
    with pytest.raises(TargetError, match="nothing was written yet"):
        texts(folder / "nobody")


def test_several_say_whose_a_line_is(folder):
    found = list(logs.lines(folder, lambda: {TWO, EXPLAINER}, Wanted()))
    assert not any(line.alone for line in found)
    assert all(line.alone for line in logs.lines(folder, lambda: {TWO}, Wanted()))


def test_what_was_rotated_away_comes_first(folder):
    (folder / f"{TWO}.log.2").write_text("oldest\n")
    (folder / f"{TWO}.log.1").write_text("older 1\nolder 2\n")
    (folder / f"{TWO}.log.0").write_text("a copy under way\n")
    own = [f"{TWO} a", f"{TWO} b"]
    assert texts(folder, [TWO]) == ["oldest", "older 1", "older 2", *own]
    assert texts(folder, [TWO], tail=3) == ["older 2", *own]
    assert texts(folder, [TWO], tail=1) == own[1:]
    assert texts(folder, [TWO], tail=0) == []


def test_bytes_that_are_no_text_are_shown_all_the_same(folder):
    (folder / f"{TWO}.log").write_bytes(b"caf\xe9\r\nand the end")
    assert texts(folder, [TWO]) == ["caf�"]  # a line is shown once it is whole


class Followed:
    """A log that is followed from another thread."""

    def __init__(self, folder, running, **wanted):
        self.found, self.news, self.error = [], threading.Condition(), None
        self._lines = logs.lines(folder, running, Wanted(follow=True, **wanted))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        for line in self._lines:
            with self.news:
                self.found.append(line)
                self.news.notify_all()

    def until(self, *texts):
        with self.news:
            assert self.news.wait_for(
                lambda: [line.text for line in self.found] == list(texts), timeout=10
            ), self.found

    def ended(self):
        self._thread.join(10)
        return not self._thread.is_alive()


def test_following_misses_nothing_of_a_log_that_is_cut(folder):
    running = {TWO}

    def still_there():
        if not running:
            raise ServiceNotFound("it is gone")
        return running

    path = folder / f"{TWO}.log"
    followed = Followed(folder, still_there, tail=1)
    followed.until(f"{TWO} b")
    with path.open("ab") as log:
        log.write(b"half a ")
        log.flush()
        log.write(b"line\n")
    followed.until(f"{TWO} b", "half a line")
    # As the engine rotates: what was written up to the last moment is copied, then cut.
    with path.open("ab") as log:
        log.write(b"the last before\n")
        log.flush()
        path.with_name(f"{path.name}.1").write_bytes(path.read_bytes())
        log.truncate(0)
        log.write(b"1st\n")
    followed.until(f"{TWO} b", "half a line", "the last before", "1st")
    (folder / "tumor-predictor-00003-1.log").write_text("I am new\n")
    running.add("tumor-predictor-00003-1")
    followed.until(f"{TWO} b", "half a line", "the last before", "1st", "I am new")
    assert [line.alone for line in followed.found] == [True] * 4 + [False]
    running.clear()
    assert followed.ended()


def test_following_waits_for_a_replica_and_outlasts_the_engine(folder):
    state = {"down": False, "running": set()}

    def running():
        if state["down"]:
            raise TargetError("no engine answers")
        return state["running"]

    followed = Followed(folder, running)
    state["running"] = {TWO}
    followed.until(f"{TWO} a", f"{TWO} b")
    state["down"] = True
    with (folder / f"{TWO}.log").open("a") as log:
        log.write("written on\n")
    followed.until(f"{TWO} a", f"{TWO} b", "written on")
