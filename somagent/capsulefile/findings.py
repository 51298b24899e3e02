"""Collects what is wrong with the meaning of a capsule, each at its place in the file where there is one."""

from capsules.errors import Invalid
from capsules.expressions import compile_expression, expressions_in
from somagent.capsulefile.problems import Path, Places, Problem, problem
from somagent.capsulefile.references import check_expression
from somagent.capsulefile.sight import Sight


class Findings:
    """A growing list of problems."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self.problems: list[Problem] = []

    def add(self, path: Path, message: str, *, expected: str = "", key: bool = False) -> None:
        self.problems.append(problem(self._places, path, message, expected=expected, key=key))

    def expression(self, path: Path, text: str, sight: Sight) -> None:
        """Check that an expression parses and names only what it can see."""
        try:
            program = compile_expression(text)
        except Invalid as error:
            # The parser's words, without its drawing of the place.
            words = error.message.partition(" expecting {")[0].partition("\n")[0]
            self.add(path, words.replace("ERROR: <input>:", "at "), expected="a CEL expression")
            return
        for message, expected in check_expression(text, program, sight):
            self.add(path, message, expected=expected)

    def template(self, path: Path, value: object, sight: Sight) -> None:
        """Check every `${{ expression }}` inside a JSON value."""
        match value:
            case dict():
                for key, item in value.items():
                    self.template((*path, key), item, sight)
            case list() | tuple():
                for index, item in enumerate(value):
                    self.template((*path, index), item, sight)
            case str():
                found = expressions_in(value)
                if value.count("${{") != len(found):
                    self.add(path, "A `${{` is not closed.", expected="`${{ expression }}`")
                for expression in found:
                    self.expression(path, expression, sight)
            case _:
                pass
