"""Exercises that answer: a check says *not attempted*, *right*, or which property fails, with a hint. It never raises.

In a notebook, after a stub that returns `...`:

    check = exercises("01")
    check.score(score)
    check.progress()

The exercises of notebook NN live in `canvaslab/exercises/nbNN.py`. A property is an identity, a limit or an exact
answer from a closed form, never equality with one reference.
"""

import linecache
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from html import escape
from importlib import import_module
from inspect import unwrap
from typing import Any

from . import stamp
from .display import publish

MIMETYPE = "application/vnd.canvaslab.exercise+json"
RIGHT, NOT_YET, ERROR, NOT_ATTEMPTED = "RIGHT", "NOT YET", "ERROR IN YOUR CODE", "NOT ATTEMPTED"
_done: dict[str, dict[str, str]] = {}  # notebook -> exercise -> status of its last check in this kernel


class Wrong(Exception):
    """What an answer gave cannot be right; the message says what it was."""


class _Stub(Exception):
    """The answer is still the stub."""


@dataclass(frozen=True)
class Property:
    """One thing that must hold: `says` names it, `hint` helps where it fails, `holds(answer)` decides.

    `holds` returns a truth value or raises `Wrong`. It makes its inputs afresh, for an answer may change them in place.
    """

    says: str
    hint: str
    holds: Callable[[Any], Any]


@dataclass(frozen=True)
class Exercise:
    """title: for the list of progress; call: the answer's name and arguments, "score(denoise, x, sigma)"."""

    title: str
    call: str
    properties: list[Property] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The name of the stub's function and of the check."""
        return self.call.partition("(")[0]

    def must(self, says: str, hint: str) -> Callable:
        """Decorator: the function below decides whether a property holds. They are tried in the order written."""
        def add(holds: Callable) -> Callable:
            self.properties.append(Property(says, hint, holds))
            return holds

        return add


@dataclass(frozen=True)
class Verdict:
    """What a check found: `status`, a word; `property` and `hint` where one fails; `detail`, for example the line."""

    status: str
    says: str = ""
    hint: str = ""
    detail: str = ""
    held: int = 0


def same(got: Any, want: Any, tolerance: float = 1e-3) -> bool:
    """True if a tensor or number equals `want` up to `tolerance`, relative and absolute; else `Wrong` says how not."""
    import torch

    want = torch.as_tensor(want)
    try:
        got = torch.as_tensor(got).detach()
    except (TypeError, ValueError, RuntimeError):
        raise Wrong(f"it gives a {type(got).__name__} where a {_kind(want)} is wanted") from None
    if got.shape != want.shape:
        raise Wrong(f"it gives a {_kind(got)} where a {_kind(want)} is wanted")
    got, want = got.to(torch.float64).flatten(), want.to(torch.float64).flatten()
    wrong = ~torch.isclose(got, want, rtol=tolerance, atol=tolerance)
    if wrong.any():
        first = int(wrong.nonzero()[0])
        place = f"for example at element {first}, " if want.numel() > 1 else ""
        raise Wrong(f"{place}it gives {got[first]:.4g} where {want[first]:.4g} is wanted")
    return True


def _kind(x: Any) -> str:
    return f"tensor of shape {tuple(x.shape)}" if x.ndim else "number"


def judge(exercise: Exercise, answer: Any) -> Verdict:
    """Try an answer on each property in turn, and stop at the first that fails. Never raises an Exception.

    The random numbers of the caller are left as they were.
    """
    if answer is None or answer is ...:
        return Verdict(NOT_ATTEMPTED)
    if not callable(answer):
        detail = f"give the function itself, {exercise.name}, without calling it"
        return Verdict(NOT_YET, f"it can be called as {exercise.call}", detail, f"it is a {type(answer).__name__}")
    watched = _Watched(answer)
    for held, prop in enumerate(exercise.properties):
        try:
            with _own_random_numbers():
                holds, detail = prop.holds(watched), ""
        except _Stub as stub:
            return Verdict(NOT_ATTEMPTED, detail=str(stub))
        except Wrong as wrong:
            holds, detail = False, str(wrong)
        except Exception as error:  # whatever a learner's code raises is theirs to read, and must not stop the notebook
            return _of_error(exercise, prop, answer, error, held)
        if not bool(holds):
            return Verdict(NOT_YET, prop.says, prop.hint, detail, held)
    return Verdict(RIGHT, held=len(exercise.properties))


class _Watched:
    """The learner's function, noticing that it is still the stub."""

    def __init__(self, answer: Callable):
        self._answer = answer

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            given = self._answer(*args, **kwargs)
        except TypeError as error:
            if "ellipsis" in str(error).lower():
                raise _Stub("a `...` is still to be replaced") from None
            raise
        if given is None:
            raise _Stub("it returns nothing; if you have written something, does it end with `return`?")
        if given is ... or (isinstance(given, tuple) and any(part is ... for part in given)):
            raise _Stub
        return given


@contextmanager
def _own_random_numbers() -> Iterator[None]:
    """A fixed seed inside; outside, the notebook's random numbers go on as if no check had been made."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def _of_error(exercise: Exercise, prop: Property, answer: Callable, error: Exception, held: int) -> Verdict:
    said = " ".join(f"{type(error).__name__}: {error}".split())
    said = said if len(said) <= 300 else said[:297] + "..."
    lines = _their_lines(answer, error)
    if lines:
        return Verdict(ERROR, prop.says, "", "\n".join([*lines, said]), held)
    last = traceback.extract_tb(error.__traceback__)[-1]
    if isinstance(error, TypeError) and last.name == "__call__":  # raised by the call itself: other arguments
        return Verdict(NOT_YET, f"it can be called as {exercise.call}", "compare its arguments with the stub's", said)
    return Verdict(NOT_YET, prop.says, prop.hint, f"what it gives cannot be used here: {said}", held)


def _their_lines(answer: Callable, error: Exception) -> list[str]:
    """The lines of the learner's own code that led to the error, the innermost three at most."""
    home = getattr(getattr(unwrap(answer), "__code__", None), "co_filename", None)
    frames, found = traceback.extract_tb(error.__traceback__), []
    ours = [i for i, frame in enumerate(frames) if frame.filename == __file__ and frame.name == "__call__"]
    for frame in frames[ours[0] + 1 :] if ours else []:
        cell = not frame.filename.startswith("<") and not os.path.exists(frame.filename)
        if frame.filename == home or cell:
            line = (frame.line or linecache.getline(frame.filename, frame.lineno)).strip()
            found.append(f"in {frame.name}, line {frame.lineno} of its cell: {line}".rstrip(": "))
    return found[-3:]


class Exercises:
    """The checks of one notebook: `.NAME(answer)` for each exercise, and `.progress()`."""

    def __init__(self, number: str, listed: tuple[Exercise, ...]):
        self._number, self._listed = number, {exercise.name: exercise for exercise in listed}

    def __getattr__(self, name: str) -> Callable[[Any], None]:
        if name.startswith("_") or name not in self._listed:
            raise AttributeError(f"notebook {self._number} has no exercise {name!r}; it has {', '.join(self._listed)}")
        return partial(self._check, self._listed[name])

    def __dir__(self) -> list[str]:
        return [*self._listed, "progress"]

    def _check(self, exercise: Exercise, answer: Any) -> None:
        verdict = judge(exercise, answer)
        _done.setdefault(self._number, {})[exercise.name] = verdict.status
        record = {"notebook": self._number, "exercise": exercise.name, "status": verdict.status, "says": verdict.says}
        publish({"text/plain": as_text(exercise, verdict), "text/html": as_html(exercise, verdict), MIMETYPE: record})

    def progress(self) -> None:
        """Show which exercises of this notebook are done, as of their last check since the kernel started."""
        state = _done.get(self._number, {})
        rows = [(exercise.title, state.get(name, "NOT CHECKED")) for name, exercise in self._listed.items()]
        done = f"{sum(status == RIGHT for _, status in rows)} of {len(rows)} exercises done"
        plain = "\n".join([done, *(f"  {status:<18}  {title}" for title, status in rows)])
        body = "".join(
            f'<tr><td style="text-align:left">{escape(title)}</td><th style="text-align:left">{status}</th></tr>'
            for title, status in rows
        )
        publish({"text/plain": plain, "text/html": f"<table><caption>{done}</caption>{body}</table>"})


def _parts(exercise: Exercise, verdict: Verdict) -> list[tuple[str, str]]:
    total = len(exercise.properties)
    if verdict.status == RIGHT:
        return [("Checked", "; ".join(prop.says for prop in exercise.properties))]
    if verdict.status == NOT_ATTEMPTED:
        return [("Note", verdict.detail)] if verdict.detail else []
    parts = [("Fails" if verdict.status == NOT_YET else "While checking that", verdict.says)]
    parts += [("Seen", verdict.detail)] if verdict.detail else []
    parts += [("Hint", verdict.hint)] if verdict.hint else []
    return [*parts, ("Held before that", f"{verdict.held} of {total} properties")]


def as_text(exercise: Exercise, verdict: Verdict) -> str:
    """The verdict in plain text: a word first, one fact a line."""
    lines = [f"{verdict.status}: {exercise.title}"]
    return "\n".join(lines + [f"  {name}: {text}".replace("\n", "\n    ") for name, text in _parts(exercise, verdict)])


def as_html(exercise: Exercise, verdict: Verdict) -> str:
    """The same for notebooks: the verdict is a word, not a colour."""
    rows = "".join(
        f'<br><small>{name}: <span style="white-space:pre-wrap">{escape(text)}</span></small>'
        for name, text in _parts(exercise, verdict)
    )
    return (
        '<div style="border-left:4px solid currentColor;padding:.2em .8em;margin:.3em 0">'
        f"<strong>{verdict.status}</strong> {escape(exercise.title)}{rows}</div>"
    )


def exercises(number: str | int) -> Exercises:
    """The checks of a notebook, by its number ("01" or 1). ValueError if it has none."""
    name = f"{int(number):02d}" if str(number).isdecimal() else str(number)
    try:
        module = import_module(f"canvaslab.exercises.nb{name}")
    except ModuleNotFoundError as error:
        if error.name != f"canvaslab.exercises.nb{name}":
            raise
        known = sorted(path.stem[2:] for path in (stamp.PACKAGE / "exercises").glob("nb*.py"))
        raise ValueError(f"notebook {number!r} has no exercises; there are some for {', '.join(known)}") from None
    return Exercises(name, module.EXERCISES)
