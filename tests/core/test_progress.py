"""Progress of a part of a task, shown next to the bar of the whole."""

from narrows.core import progress
from narrows.core.progress import Part, Silent


class _Whole(Silent):
    def __init__(self):
        self.notes, self.said = [], []

    def note(self, text):
        self.notes.append(text)

    def say(self, text):
        self.said.append(text)


def test_a_part_is_noted_with_the_time_that_is_left(monkeypatch):
    clock = iter([10.0, 14.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    whole = _Whole()
    with Part(whole) as part:
        part.begin("Training", 2100, 100)
        part.advance(1100)  # 1000 steps in 4 seconds, and 1000 are left
        part.note("almost")
        part.say("It takes a while.")
    assert whole.notes == ["Training: 2,000 steps", "Training: 1,100/2,100, 4 s left", "almost"]
    assert whole.said == ["It takes a while."]
