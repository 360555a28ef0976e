"""A regular expression that the whole text must match, as a deterministic automaton over the alphabet's characters.

Python's own parser reads the expression; Thompson's construction makes a nondeterministic automaton of it, and the
subset construction a deterministic one (Aho, Sethi & Ullman 1986, ch. 3). States from which no end can be reached are
forbidden, so a search never follows a prefix that cannot match any more.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ctcrec.errors import InputError

__all__ = ["compile_mask"]

_MOST_STATES = 20_000
_parser: Any = re._parser  # type: ignore[attr-defined]  # the standard library's; it has no public name


def compile_mask(pattern: str, symbols: Sequence[str]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """The automaton of `pattern` over `symbols` (strings; those of several characters match nothing).

    Literals, `.`, classes (`[a-z]`, `\\d`, `\\w`, `\\s`), groups, `|`, and greedy repeats are understood; look-around,
    back-references, anchors, flags and lazy repeats are not (the expression is matched against the whole text anyway).

    Returns:
        (M, A) next state after each symbol, -1 if forbidden, and (M,) whether the text may end; state 0 is the first.

    Raises:
        InputError: the expression is wrong, uses something else, or matches no text over this alphabet.
    """
    try:
        parsed = _parser.parse(pattern)
    except re.error as error:
        raise InputError(f"mask {pattern!r} is not a regular expression: {error}") from error
    if parsed.state.flags & ~re.UNICODE:
        raise InputError(f"mask {pattern!r}: flags are not supported; spell the alternatives out, as in [Aa]")
    nfa = _Nfa(symbols, pattern)
    first, last = nfa.state(), nfa.state()
    nfa.sequence(list(parsed), first, last)
    table, final = _determinize(nfa, first, last, len(symbols))
    return _trim(table, final, pattern)


class _Nfa:
    """States with edges by a set of symbols, and empty edges."""

    def __init__(self, symbols: Sequence[str], pattern: str) -> None:
        self.symbols = symbols
        self.pattern = pattern
        self.edges: list[list[tuple[frozenset[int], int]]] = []
        self.empty: list[list[int]] = []

    def state(self) -> int:
        self.edges.append([])
        self.empty.append([])
        if len(self.edges) > 10 * _MOST_STATES:
            raise InputError(f"mask {self.pattern!r} is too large; use smaller repeat counts")
        return len(self.edges) - 1

    def sequence(self, items: list[Any], start: int, end: int) -> None:
        for item in items:
            following = self.state()
            self.item(item, start, following)
            start = following
        self.empty[start].append(end)

    def item(self, item: tuple[Any, Any], start: int, end: int) -> None:
        operation, argument = str(item[0]), item[1]
        match operation:
            case "LITERAL" | "NOT_LITERAL" | "ANY" | "IN":
                self.edges[start].append((self.matching(operation, argument), end))
            case "SUBPATTERN":
                self.sequence(list(argument[-1]), start, end)
            case "BRANCH":
                for branch in argument[1]:
                    self.sequence(list(branch), start, end)
            case "MAX_REPEAT":
                self.repeat(argument, start, end)
            case _:
                raise InputError(f"mask {self.pattern!r}: {operation.lower().replace('_', ' ')} is not supported")

    def repeat(self, argument: tuple[int, int, Any], start: int, end: int) -> None:
        least, most, body = argument
        for _ in range(least):
            following = self.state()
            self.sequence(list(body), start, following)
            start = following
        if most == _parser.MAXREPEAT:
            loop = self.state()
            self.empty[start].append(loop)
            self.sequence(list(body), loop, loop)
            start = loop
        else:
            for _ in range(int(most) - least):
                self.empty[start].append(end)
                following = self.state()
                self.sequence(list(body), start, following)
                start = following
        self.empty[start].append(end)

    def matching(self, operation: str, argument: Any) -> frozenset[int]:
        single = ((number, text) for number, text in enumerate(self.symbols) if len(text) == 1)
        return frozenset(number for number, text in single if _matches(operation, argument, text))


def _matches(operation: str, argument: Any, text: str) -> bool:
    match operation:
        case "LITERAL":
            return ord(text) == argument
        case "NOT_LITERAL":
            return ord(text) != argument
        case "ANY":
            return text != "\n"
        case "RANGE":
            return bool(argument[0] <= ord(text) <= argument[1])
        case "CATEGORY":
            name = str(argument)
            kind = name.removeprefix("CATEGORY_").removeprefix("NOT_")
            inside = {"DIGIT": text.isdecimal(), "WORD": text.isalnum() or text == "_", "SPACE": text.isspace()}[kind]
            return inside != ("NOT_" in name)
        case _:  # IN
            negated = bool(argument) and str(argument[0][0]) == "NEGATE"
            return any(_matches(str(op), arg, text) for op, arg in argument[negated:]) != negated


def _determinize(nfa: _Nfa, first: int, last: int, symbols: int) -> tuple[list[npt.NDArray[np.int32]], list[bool]]:
    def closure(states: set[int]) -> frozenset[int]:
        stack = list(states)
        while stack:
            for following in nfa.empty[stack.pop()]:
                if following not in states:
                    states.add(following)
                    stack.append(following)
        return frozenset(states)

    number = {closure({first}): 0}
    queue = list(number)
    table: list[npt.NDArray[np.int32]] = []
    final: list[bool] = []
    for states in queue:  # grows while it is read
        targets: dict[int, set[int]] = {}
        for state in states:
            for accepted, following in nfa.edges[state]:
                for symbol in accepted:
                    targets.setdefault(symbol, set()).add(following)
        row = np.full(symbols, -1, np.int32)
        closed: dict[frozenset[int], int] = {}
        for symbol, reached in targets.items():
            key = frozenset(reached)
            if key not in closed:
                subset = closure(reached)
                if subset not in number:
                    number[subset] = len(queue)
                    queue.append(subset)
                closed[key] = number[subset]
            row[symbol] = closed[key]
        table.append(row)
        final.append(last in states)
        if len(queue) > _MOST_STATES:
            raise InputError(f"mask {nfa.pattern!r} needs more than {_MOST_STATES} states; use smaller repeat counts")
    return table, final


def _trim(
    rows: list[npt.NDArray[np.int32]], ends: list[bool], pattern: str
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """Forbid the steps into states from which the text can never end."""
    table, final = np.stack(rows), np.array(ends)
    useful = final.copy()
    while True:
        grown = useful | (useful[table] & (table >= 0)).any(axis=1)
        if (grown == useful).all():
            break
        useful = grown
    if not useful[0]:
        raise InputError(f"mask {pattern!r} matches no text that these tokens can write")
    return np.where((table >= 0) & useful[table], table, -1).astype(np.int32), final
