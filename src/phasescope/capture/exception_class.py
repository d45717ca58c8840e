"""The class, text and links of an exception, read without running the user's code.

Only its class and a text that it was made with are looked at: `str()` of an exception may run the user's code, or wait
for a device. For the same reason attributes are read through the base class's own descriptors: a property of the
user's, or of a metaclass, is not asked.
"""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

_MAX_LINKED = 8
_MAX_FRAMES = 1000
_MAX_IN_GROUP = 4

_name_of = type.__dict__["__name__"].__get__
_module_of = type.__dict__["__module__"].__get__
_bases_of = type.__dict__["__mro__"].__get__
_arguments_of = BaseException.__dict__["args"].__get__
_attributes_of = BaseException.__dict__["__dict__"].__get__
_traceback_of = BaseException.__dict__["__traceback__"].__get__
_cause_of = BaseException.__dict__["__cause__"].__get__
_context_of = BaseException.__dict__["__context__"].__get__
_file_name_of = OSError.__dict__["filename"].__get__
_suppresses_context = BaseException.__dict__["__suppress_context__"].__get__
_Group: Any = getattr(builtins, "BaseExceptionGroup", None)  # Python 3.11
_members_of = None if _Group is None else _Group.__dict__["exceptions"].__get__


def bases(exc_type: object) -> tuple[type, ...]:
    """Return the class and those it derives from; none if it is not a class."""
    return _bases_of(exc_type) if isinstance(exc_type, type) else ()


def name_of(cls: type) -> str:
    """Return the class's own name."""
    return str(_name_of(cls))


def package_of(cls: type) -> str:
    """Return the top-level package that the class is from; empty if it does not say."""
    module = _module_of(cls)
    return module.partition(".")[0] if type(module) is str else ""


def class_name(exc_type: object) -> str:
    """Return the class's own name, also if a caller of `__exit__` gave something else."""
    return name_of(exc_type if isinstance(exc_type, type) else type(exc_type))


def text_of(exc: BaseException | None) -> str:
    """Return the text that the exception was made with, if it was made with one.

    TensorFlow's exceptions keep it in `_message`, and a failed command its code.
    """
    if BaseException not in bases(type(exc)):
        return ""
    attributes = _attributes_of(exc)
    code = attributes.get("returncode")
    if type(code) is int and name_of(type(exc)) == "CalledProcessError":
        return f"a command exited with code {code}"
    text = next((argument for argument in _arguments_of(exc) if type(argument) is str), "")
    if text and OSError in bases(type(exc)):
        text += _file_of(exc)
    message = attributes.get("_message")
    return message if not text and type(message) is str else text


def _file_of(exc: BaseException | None) -> str:
    """Return the file that an OSError names, as Python shows it behind the text; empty if it names none."""
    name = _file_name_of(exc)
    return f": {name!r}" if type(name) in (str, bytes) else ""


def traceback_of(exc: BaseException | None) -> TracebackType | None:
    """Return its way from the frame that it was last seen in to the one that raised it."""
    return _traceback_of(exc) if BaseException in bases(type(exc)) else None


def linked(exc: BaseException | None, is_end: bool = False) -> Iterator[tuple[str, BaseException]]:
    """Yield the exceptions linked with it, the nearest first, each with the link: `from`, `while handling`, `of`.

    These are the exception that it was raised from, the one being handled when it was raised, and the members of a
    group, as Python shows them: `from` hides the handled one. Such a chain may lead back to itself. An exception
    handled before the phase began that this one leaves now is not among them: a training may go on for hours within an
    `except`. If the exception ends the program (`is_end`), all was handled inside it.
    """
    waiting = _nearest(exc)
    if not waiting:  # of nearly all; their frames need not be looked at
        return
    seen, frames = {id(exc)}, _frames(traceback_of(exc))
    while waiting and len(seen) <= _MAX_LINKED:
        how, linked_with = waiting.pop(0)
        if id(linked_with) in seen:
            continue
        if how == "while handling" and not is_end and not _is_within(linked_with, traceback_of(exc), frames):
            continue
        seen.add(id(linked_with))
        frames |= _frames(traceback_of(linked_with))
        yield how, linked_with
        waiting += _nearest(linked_with)


def _nearest(exc: BaseException | None) -> list[tuple[str, BaseException]]:
    classes = bases(type(exc))
    if BaseException not in classes:
        return []
    members = _members_of(exc)[:_MAX_IN_GROUP] if _members_of is not None and _Group in classes else ()
    linked_with = [("of", member) for member in members]
    cause, context = _cause_of(exc), _context_of(exc)
    if cause is not None:
        linked_with.append(("from", cause))
    elif context is not None and not _suppresses_context(exc):
        linked_with.append(("while handling", context))
    return linked_with


def _frames(trace: TracebackType | None) -> set[int]:
    frames_seen: set[int] = set()
    while trace is not None and len(frames_seen) < _MAX_FRAMES:
        frames_seen.add(id(trace.tb_frame))
        trace = trace.tb_next
    return frames_seen


def _is_within(handled: BaseException, trace: TracebackType | None, frames: set[int]) -> bool:
    """Return whether the exception being handled had come to its handler inside the phase that is left now.

    The outermost frame of `trace` is the one that the phase is in, and its line is that of the phase's `with`.
    """
    way = traceback_of(handled)
    if way is None or trace is None:
        return False
    if way.tb_frame is trace.tb_frame:
        return way.tb_lineno >= trace.tb_frame.f_lineno
    return id(way.tb_frame) in frames
