"""Declaration of CLI commands: groups, options that several commands share, and one way to call the API and answer."""

import inspect
from collections.abc import Callable
from contextlib import closing
from typing import Annotated, Any, Concatenate

import typer

from capsules.errors import SomaError
from somagent.cli.connection import Api, JsonValue
from somagent.cli.output import TextFunction

AsOption = Annotated[
    str | None,
    typer.Option(
        "--as", metavar="NAME", help="Principal of the local stack, when SOMAGENT_TOKEN is not set: operator, approver."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Write one JSON document instead of text.")]
LimitOption = Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="Highest number of items to show.")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, as `somagent runs list` shows it.")]
CapsuleArgument = Annotated[
    str, typer.Argument(metavar="CAPSULE", help="`name`, `name@1`, `name@^1.2` or `name@1.2.0`.")
]
KeyOption = Annotated[
    str | None,
    typer.Option("--key", help="Idempotency key: the same key returns the first result instead of a second one."),
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for the record.")]
CommentOption = Annotated[str, typer.Option("--comment", help="Why, for the record.")]
ProjectOption = Annotated[
    str | None, typer.Option("--project", metavar="PROJECT", help="Project whose budget is spent. Unset: the tenant's.")
]

_AS = inspect.Parameter("principal", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=AsOption)
_JSON = inspect.Parameter("json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=JsonOption)


def group(name: str | None = None, description: str | None = None) -> typer.Typer:
    """Return a group of commands. Commands of a group without a name stand at the top of the command line."""
    return typer.Typer(name=name, help=description, no_args_is_help=True)


def command[**P](
    app: typer.Typer, name: str | None = None, *, text: TextFunction | None = None, json: bool = True
) -> Callable[[Callable[Concatenate[Api, P], JsonValue]], Callable[Concatenate[Api, P], JsonValue]]:
    """Register a function of an Api and options as a command, and give it `--as` and `--json`.

    What the function returns is the result: one JSON document with `--json`, else the lines of `text`. A function that
    ends with an exit code of its own writes its result with `Api.show` and returns None. A SomaError ends the command
    as a refusal of the API does. `json=False`: the command has no `--json`.
    """

    def register(
        function: Callable[Concatenate[Api, P], JsonValue],
    ) -> Callable[Concatenate[Api, P], JsonValue]:
        def run(*, principal: str | None, json: bool = False, **options: Any) -> None:  # noqa: ANN401 - its own options
            with closing(Api(principal=principal, json=json)) as api:
                try:
                    result = function(api, **options)  # type: ignore[call-arg]
                except SomaError as error:
                    api.refuse(error)
                if result is not None:
                    api.show(result, text)

        _, *own = inspect.signature(function).parameters.values()
        run.__signature__ = inspect.Signature([*own, _AS, *([_JSON] if json else [])])  # type: ignore[attr-defined]
        app.command(name or function.__name__, help=inspect.getdoc(function))(run)
        return function

    return register
