"""Declaration of CLI commands: groups, the options that several commands share, and the decorator `command`."""

import inspect
from collections.abc import Callable
from contextlib import closing
from typing import Annotated, Any, Concatenate

import typer
from typer import Argument, Option

from capsules.errors import SomaError
from somagent.cli.connection import Api, JsonValue
from somagent.cli.output import TextFunction

AsOption = Annotated[
    str | None,
    Option(
        "--as",
        metavar="NAME",
        help="Principal of the local stack to act as. Unset: operator. Not used if SOMAGENT_TOKEN is set.",
    ),
]
JsonOption = Annotated[bool, Option("--json", help="Write JSON instead of text.")]
LimitOption = Annotated[int, Option("--limit", "-n", metavar="N", min=1, max=10_000, help="Highest number of items.")]
RunArgument = Annotated[str, Argument(metavar="RUN", help="Id of a run: see `somagent runs list`.")]
CapsuleArgument = Annotated[str, Argument(metavar="CAPSULE", help="`name`, `name@1`, `name@^1.2` or `name@1.2.0`.")]
KeyOption = Annotated[
    str | None,
    Option("--key", help="Idempotency key: the same command with the same key again returns the first result."),
]
ReasonOption = Annotated[str, Option("--reason", help="Reason to record.")]
CommentOption = Annotated[str, Option("--comment", help="Comment to record.")]
ProjectOption = Annotated[
    str | None, Option("--project", metavar="PROJECT", help="Project whose budget is spent. Unset: the tenant's.")
]

_AS = inspect.Parameter("principal", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=AsOption)
_JSON = inspect.Parameter("json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=JsonOption)


def group(name: str | None = None, description: str | None = None) -> typer.Typer:
    """Return a group of commands. Commands of a group without a name become commands of the group that contains it."""
    return typer.Typer(name=name, help=description, no_args_is_help=True)


def command[**P](
    app: typer.Typer, name: str | None = None, *, text: TextFunction | None = None, json: bool = True
) -> Callable[[Callable[Concatenate[Api, P], JsonValue]], Callable[Concatenate[Api, P], JsonValue]]:
    """Register a function of an Api and options as a command, and give it `--as` and `--json`.

    The function's docstring is the help; lists of commands show its first sentence. The function's result is written
    as JSON with `--json` and as the lines of `text` without. A function that ends with its own exit code writes its
    result with `Api.show` and returns None. A SomaError ends the command like an error of the API. `json=False`: the
    command has no `--json`.
    """

    def register(function: Callable[Concatenate[Api, P], JsonValue]) -> Callable[Concatenate[Api, P], JsonValue]:
        def run(*, principal: str | None, json: bool = False, **options: Any) -> None:  # noqa: ANN401 - its own options
            with closing(Api(principal=principal, json=json)) as api:
                try:
                    result = function(api, **options)  # type: ignore[call-arg]
                except SomaError as error:
                    api.end_with_error(error)
                if result is not None:
                    api.show(result, text)

        _, *own = inspect.signature(function).parameters.values()
        run.__signature__ = inspect.Signature([*own, _AS, *([_JSON] if json else [])])  # type: ignore[attr-defined]
        description = inspect.getdoc(function) or ""
        first, _, _ = description.partition(". ")
        app.command(name or function.__name__, help=description, short_help=first.removesuffix(".") + ".")(run)
        return function

    return register
