"""The loops in a function's code, and whether a place in it belongs to one."""

# mypy: ignore-errors

from __future__ import annotations

import dis
import itertools
import sys
import threading

from phasescope.integrations._code_loops import loops_of
from phasescope.integrations._places import (
    has_turned,
    is_begun_anew_by_itself,
    is_for_one_batch,
    is_gone,
    loops_around,
    stack_here,
)


def here(seen: dict[str, list], name: str) -> None:
    seen[name] = stack_here()


def nested(seen, cut):
    here(seen, "before")
    for _ in range(2):
        for number in range(2):
            here(seen, "in both")
            try:
                cut(number)
            except ValueError:
                here(seen, "in a handler")
                continue
            if number:
                here(seen, "before a break")
                break
        here(seen, "in the outer")
    here(seen, "behind")


def handled_without_a_loop(seen):
    try:
        raise ValueError
    except ValueError:
        here(seen, "in the handler")
    here(seen, "behind")


def repeated(seen):
    left = 2
    while left:
        here(seen, "in it")
        left -= 1
        if not left:
            here(seen, "before a return")
            return


def generated(seen):
    while True:
        here(seen, "in it")
        yield


def fails_at_first(number):
    if not number:
        raise ValueError


def in_no_loop(function):
    """Call it in a thread: here, pytest's own loops lead back to everything."""
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def own(seen, one, other):
    """The loops around both places that are in this file."""
    return [place for place in loops_around(seen[one], seen[other]) if place.code.co_filename == __file__]


def test_a_place_is_in_the_loops_whose_text_it_stands_in() -> None:
    seen = {}
    nested(seen, fails_at_first)
    depths = {name: len(own(seen, name, name)) for name in seen}
    in_both = {"in both": 2, "in a handler": 2, "in the outer": 1, "before": 0, "behind": 0}
    assert depths == ({**in_both, "before a break": 2} if sys.version_info >= (3, 11) else depths)
    assert [len(own(seen, "in both", name)) for name in ("in a handler", "in the outer", "behind")] == [2, 1, 0]


def breaks_off(turns, given):
    for turn in range(turns):
        if turn in given:
            for each in given:
                if each:
                    turns += each
                    break


def test_what_leads_back_is_in_the_loop_also_without_a_line_of_its_own() -> None:
    outer = loops_of(breaks_off.__code__)[-1]
    back = [one.offset for one in dis.get_instructions(breaks_off) if one.opname.startswith(("JUMP_B", "JUMP_A"))]
    assert len(back) > 1
    assert all(outer.has(offset) for offset in back)


def test_a_handler_is_no_loop_though_the_code_jumps_back_from_it() -> None:
    seen = {}
    handled_without_a_loop(seen)
    assert loops_of(handled_without_a_loop.__code__) == ()


def test_what_ends_a_loop_from_inside_is_in_it() -> None:
    seen = {}
    repeated(seen)
    (loop,) = loops_of(repeated.__code__)
    assert loop.has(seen["in it"][-2].offset)
    if sys.version_info >= (3, 11):
        assert loop.has(seen["before a return"][-2].offset)


def test_a_loop_in_a_generator_is_not_left_where_its_frame_is_away() -> None:
    seen = {}
    turns = generated(seen)
    next(turns)
    assert loops_of(generated.__code__)
    assert own(seen, "in it", "in it") == []


def test_a_place_is_gone_if_no_loop_leads_back_to_it() -> None:
    seen = {}

    def evaluated():
        here(seen, "first")

    def straight():
        evaluated()
        here(seen, "then")

    def again():
        for _ in range(2):
            evaluated()
            here(seen, "in between")

    in_no_loop(straight)
    assert is_gone(seen["first"], seen["then"])
    assert not is_gone(seen["first"], seen["first"])
    in_no_loop(again)
    assert not is_gone(seen["first"], seen["in between"])
    assert not is_gone([], seen["then"])


def in_turns(seen):
    for number in range(2):
        here(seen, f"first {number}")
        for again in range(2):
            here(seen, f"inner {number} {again}")
        here(seen, f"last {number}")


def test_a_loop_has_turned_where_its_code_is_earlier_or_the_same() -> None:
    seen: dict[str, list] = {}
    in_turns(seen)

    def between(one: str, other: str) -> bool | None:
        return has_turned(seen[one], seen[other])

    assert [between("first 0", other) for other in ("inner 0 1", "last 0")] == [False, False]
    assert [between("first 0", other) for other in ("first 1", "inner 1 0")] == [True, False]  # nothing came before it
    assert [between("last 0", other) for other in ("first 1", "inner 1 0", "last 1")] == [True, True, True]
    assert between("inner 0 0", "inner 0 1") is True


def test_without_a_loop_nothing_turns() -> None:
    seen: dict[str, list] = {}
    thread = threading.Thread(target=handled_without_a_loop, args=(seen,))  # whose stack has no loop of pytest's
    thread.start()
    thread.join()
    assert has_turned(seen["in the handler"], seen["behind"]) is None


# A fetch runs in torch's code, and asks about whose code wants the batch.
IN_TORCH = {"__name__": "torch.utils.data", "is_begun_anew_by_itself": is_begun_anew_by_itself}
exec(
    """
class Once:
    def __init__(self, answers):
        self.answers, self.left = answers, 1

    def __iter__(self):
        return Once(self.answers)

    def __next__(self):
        self.answers.append(is_begun_anew_by_itself())
        if not self.left:
            raise StopIteration
        self.left -= 1
""",
    IN_TORCH,
)


IN_TORCH["is_for_one_batch"] = is_for_one_batch
exec(
    """
class Asked(Once):
    def __iter__(self):
        return Asked(self.answers)

    def backward(self):
        pass

    def __next__(self):
        self.answers.append(is_for_one_batch())
        return self
""",
    IN_TORCH,
)


def train(batch):
    batch.backward()


def looked_into(loader):
    for _ in loader:
        break
    for batch in loader:
        repr(batch)
        break
    next(iter(loader))


def trained_on(loader):
    for batch in loader:
        if batch:
            break
    for batch in loader:
        train(batch)
        break
    for _ in range(2):
        next(iter(loader))


def shown(loader):
    yield from loader


def shown_one_by_one(loader):
    for each in loader:  # noqa: UP028 - as progress bars do
        yield each


def endless(loader):
    while True:
        yield from loader


def endless_one_by_one(loader):
    while True:
        for each in loader:  # noqa: UP028
            yield each


def passes(loader):
    for _ in range(2):
        for _batch in loader:
            pass


def two_by_hand(loader):
    batches = iter(loader)
    for _ in range(2):
        try:
            next(batches)
        except StopIteration:
            batches = iter(loader)
            next(batches)


def test_the_code_that_fetches_begins_a_loader_anew_or_leaves_that_to_its_caller() -> None:
    answers: list[bool] = []
    loader = IN_TORCH["Once"](answers)
    for wrap in (shown, shown_one_by_one):
        passes_of_wrapped = [*wrap(loader), *wrap(loader)]
        assert len(passes_of_wrapped) == 2
    passes(loader)
    assert set(answers) == {False}
    answers.clear()
    for wrap in (endless, endless_one_by_one):
        assert len([*itertools.islice(wrap(loader), 2)]) == 2
    two_by_hand(loader)
    assert set(answers) == {True}


def test_the_code_that_fetches_may_want_one_batch_alone() -> None:
    answers: list[bool] = []
    loader = IN_TORCH["Asked"](answers)

    in_no_loop(lambda: looked_into(loader))
    assert answers == [True] * 3
    answers.clear()
    in_no_loop(lambda: trained_on(loader))
    assert answers == [False] * 4


def test_a_loop_in_long_code_is_known_as_one() -> None:
    """Its first instruction has a prefix there, which the jump back leads to."""
    body = "\n".join(f"        use(name_{number}, {number}.5)" for number in range(400))
    names = {"use": lambda *_: True, **{f"name_{number}": 0 for number in range(400)}}
    exec(f"def long(loader):\n    for _ in loader:\n{body}\n        if use():\n            break\n", names)
    answers: list[bool] = []
    in_no_loop(lambda: names["long"](IN_TORCH["Asked"](answers)))
    assert answers == [False]
