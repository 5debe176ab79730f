"""Exercises that answer: solutions are right, plausible wrong answers get different hints, nothing stops a notebook."""

import ast
import re
from importlib import import_module
from pathlib import Path

import nbformat
import pytest
import torch
from exercises_wrong import ALSO_RIGHT, WRONG

from canvaslab.lab import exercises as exercises_of
from canvaslab.lab.exercises import ERROR, NOT_ATTEMPTED, NOT_YET, RIGHT, Exercise, Wrong, as_html, as_text, judge, same

ROOT = Path(__file__).resolve().parents[1]
NUMBERS = sorted(path.stem[2:] for path in (ROOT / "canvaslab" / "exercises").glob("nb*.py"))
LISTED = {number: import_module(f"canvaslab.exercises.nb{number}").EXERCISES for number in NUMBERS}
ALL = [pytest.param(n, exercise, id=f"{n}-{exercise.name}") for n in NUMBERS for exercise in LISTED[n]]
NOTEBOOKS = {path.name[:2]: path for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))}

doubled = Exercise("Twice", "doubled(x)")


@doubled.must("nothing stays nothing", "start from 0")
def _(answer):
    return same(answer(torch.zeros(2)), torch.zeros(2))


@doubled.must("one becomes two", "multiply by 2")
def _(answer):
    return same(answer(torch.ones(2)), 2 * torch.ones(2))


# --- the notebooks ---------------------------------------------------------------------------------------------------


def cells(number):
    """The cells of the notebook that the exercises belong to."""
    return nbformat.read(NOTEBOOKS[number], as_version=4).cells


def code(number):
    """Syntax trees of the code cells; lines that begin with % are no Python."""
    sources = [cell.source for cell in cells(number) if cell.cell_type == "code"]
    return [ast.parse(re.sub(r"^(\s*)%.*$", r"\1pass", source, flags=re.M)) for source in sources]


def fresh_names(number):
    """A namespace in which only the notebook's imports have run."""
    names = {}
    for tree in code(number):
        imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        exec(compile(ast.Module(imports, []), "imports", "exec"), names)
    return names


def functions(number):
    """name -> tree of every function defined at the top of a code cell."""
    return {node.name: node for tree in code(number) for node in tree.body if isinstance(node, ast.FunctionDef)}


def solutions(number):
    """exercise -> code in the folded markdown cells."""
    text = "\n".join(c.source for c in cells(number) if c.cell_type == "markdown" and "<details>" in c.source)
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return {re.search(r"def (\w+)", block)[1]: block for block in blocks}


@pytest.mark.parametrize(("number", "exercise"), ALL)
def test_the_folded_solution_is_right_and_needs_the_setup_cell_only(number, exercise):
    names = fresh_names(number)
    exec(solutions(number)[exercise.name], names)
    verdict = judge(exercise, names[exercise.name])
    assert verdict.status == RIGHT, as_text(exercise, verdict)


@pytest.mark.parametrize(("number", "exercise"), ALL)
def test_the_stub_counts_as_not_attempted(number, exercise):
    names = fresh_names(number)
    stub = functions(number)[exercise.name]
    exec(compile(ast.Module([stub], []), "stub", "exec"), names)
    assert judge(exercise, names[exercise.name]).status == NOT_ATTEMPTED
    assert exercise.call == f"{stub.name}({', '.join(argument.arg for argument in stub.args.args)})"


@pytest.mark.parametrize("number", NUMBERS)
def test_every_exercise_is_checked_in_its_notebook_and_progress_comes_last(number):
    calls = [
        node.func.attr for tree in code(number) for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name) and node.func.value.id == "check"
    ]  # fmt: skip
    assert calls == [*(exercise.name for exercise in LISTED[number]), "progress"]


@pytest.mark.parametrize("number", NUMBERS)
def test_no_exercise_takes_the_name_of_something_that_the_notebook_uses(number):
    theirs = {exercise.name for exercise in LISTED[number]}
    for tree in code(number):
        defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} | defined
        is_exercise = bool(defined & theirs) or "check" in names
        assert is_exercise or not names & theirs


@pytest.mark.parametrize("number", sorted(NOTEBOOKS))
def test_a_notebook_has_three_to_five_exercises(number):
    if number not in LISTED:
        pytest.skip(f"no exercises for notebook {number} yet")
    assert 3 <= len(LISTED[number]) <= 5


# --- the checks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "exercise"), ALL)
def test_plausible_wrong_answers_fail_each_with_its_own_hint(number, exercise):
    verdicts = [judge(exercise, answer) for answer in WRONG[number][exercise.name]]
    assert len(verdicts) >= 2
    assert [verdict.status for verdict in verdicts] == [NOT_YET] * len(verdicts)
    hints = [verdict.hint for verdict in verdicts]
    assert all(hints) and len(set(hints)) == len(hints), hints


@pytest.mark.parametrize(("number", "exercise"), ALL)
def test_other_right_answers_pass_too(number, exercise):
    for answer in ALSO_RIGHT.get(number, {}).get(exercise.name, ()):
        verdict = judge(exercise, answer)
        assert verdict.status == RIGHT, as_text(exercise, verdict)


@pytest.mark.parametrize(("number", "exercise"), ALL)
@pytest.mark.parametrize(
    "answer",
    [5, "text", torch.ones(2), lambda *_: "text", lambda *_: [], lambda *_: float("nan"), lambda: 1, lambda *_: 1 / 0,
     lambda *_: torch.ones(3, 5, 7), lambda *_: {}[0], lambda *_: (1, 2, 3), lambda *_: object(), lambda *_: True],
)  # fmt: skip
def test_whatever_is_given_gets_an_answer_and_is_not_right(number, exercise, answer):
    verdict = judge(exercise, answer)
    assert verdict.status in (NOT_YET, ERROR)
    assert as_text(exercise, verdict) and as_html(exercise, verdict)


@pytest.mark.parametrize("answer", [..., None, lambda x: ..., lambda x: None, lambda x: (..., ...), lambda x: x * ...])
def test_what_is_not_attempted_is_no_error(answer):
    assert judge(doubled, answer).status == NOT_ATTEMPTED


def test_a_verdict_names_the_property_what_was_seen_and_the_hint():
    verdict = judge(doubled, lambda x: 3 * x)
    assert verdict.status == NOT_YET and verdict.held == 1
    text = as_text(doubled, verdict)
    for part in ("NOT YET: Twice", "one becomes two", "gives 3 where 2 is wanted", "multiply by 2", "1 of 2"):
        assert part in text
    assert as_text(doubled, judge(doubled, lambda x: x + x)).startswith("RIGHT: Twice")


def test_an_error_is_shown_as_theirs_shortened_with_its_line():
    source = "def helper(x):\n    return x.no_such_thing\n\ndef doubled(x):\n    y = x\n    return helper(y)\n"
    names = {}
    exec(compile(source, "a cell", "exec"), names)
    verdict = judge(doubled, names["doubled"])
    assert verdict.status == ERROR
    assert "in doubled, line 6" in verdict.detail and "in helper, line 2" in verdict.detail
    assert verdict.detail.splitlines()[-1].startswith("AttributeError")
    assert str(ROOT) not in verdict.detail and len(verdict.detail) < 600


def test_a_wrong_number_of_arguments_is_said_so():
    verdict = judge(doubled, lambda x, y: x)
    assert verdict.status == NOT_YET and "doubled(x)" in verdict.says and "stub" in verdict.hint


def test_a_call_in_place_of_the_function_is_said_so():
    assert "without calling it" in judge(doubled, torch.ones(2)).hint


def test_a_check_leaves_the_notebooks_random_numbers_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    for number in NUMBERS:
        for exercise in LISTED[number]:
            judge(exercise, lambda *args: torch.rand(100))
    assert torch.equal(torch.rand(3), expected)


def test_an_answer_that_spoils_its_inputs_is_judged_by_what_it_gives():
    verdict = judge(doubled, lambda x: x.mul_(3))
    assert verdict.status == NOT_YET and "gives 3 where 2" in verdict.detail


@pytest.mark.parametrize(
    ("got", "says"),
    [(torch.ones(3), r"shape \(3,\) where a tensor of shape \(2,\)"), (1.0, "number"), ("x", "str"),
     (torch.tensor([1.0, float("nan")]), "element 1")],
)  # fmt: skip
def test_same_says_how_it_differs(got, says):
    with pytest.raises(Wrong, match=says):
        same(got, torch.ones(2))


def test_checks_show_and_progress_counts(capsys):
    check = exercises_of(1)
    check.score(lambda denoise, x, sigma: (denoise(x, sigma) - x) / sigma**2)
    check.loss_floor(lambda sigma, d: ...)
    check.progress()
    shown = capsys.readouterr().out
    assert "RIGHT: The score from a denoiser" in shown and "NOT ATTEMPTED: The loss" in shown
    assert "1 of 5 exercises done" in shown and "NOT CHECKED" in shown
    assert set(dir(check)) == {exercise.name for exercise in LISTED["01"]} | {"progress"}


def test_what_does_not_exist_is_said_in_a_sentence():
    with pytest.raises(ValueError, match="there are some for 00"):
        exercises_of("99")
    with pytest.raises(AttributeError, match="no exercise 'speed'; it has score"):
        getattr(exercises_of("01"), "speed")  # noqa: B009


def test_no_two_properties_of_an_exercise_share_a_hint():
    for listed in LISTED.values():
        for exercise in listed:
            hints = [prop.hint for prop in exercise.properties]
            assert len(hints) >= 3 and len(set(hints)) == len(hints)
