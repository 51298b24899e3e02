"""`somagent policy check`, `prove`, `diff` and `explain`. Z3 and NumPy are loaded by these commands only."""

# ruff: noqa: PLC0415 - Z3 and NumPy take half a second to load

from pathlib import Path
from typing import Annotated

import typer

from somagent.cli import output
from somagent.cli.command import command, group
from somagent.cli.connection import Api
from somagent.cli.exit_codes import Code
from somagent.cli.policy.history import explain_recorded
from somagent.cli.policy.sources import ACTIVE, SHIPPED, WHICH, OverlayOption, Source, from_file, source

app = group("policy", "Check, prove, compare, explain and change constitutions.")
ConstitutionArgument = Annotated[str, typer.Argument(metavar="CONSTITUTION", help=WHICH)]
BaseOption = Annotated[
    str, typer.Option("--base", help=f"For an overlay: the constitution that it is applied to. {WHICH}")
]
TimeoutOption = Annotated[
    float, typer.Option("--timeout", min=0.1, max=600, help="Time limit of each proof, in seconds.")
]


@command(app)
def check(
    api: Api, constitution: ConstitutionArgument, overlay: OverlayOption = None, base: BaseOption = SHIPPED
) -> None:
    """Check a constitution or an overlay: every error with its clause, line and column. Proves nothing."""
    from somagent.cli.policy import reviews

    reviews.check(api, *_with_overlays(api, constitution, overlay, base))


@command(app)
def prove(
    api: Api,
    constitution: ConstitutionArgument,
    overlay: OverlayOption = None,
    base: BaseOption = SHIPPED,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Prove what activation requires. Each refuted guarantee is shown with a counterexample; exit code 10 then."""
    from somagent.cli.policy import reviews

    reviews.prove(api, *_with_overlays(api, constitution, overlay, base), seconds=timeout)


@command(app)
def diff(
    api: Api,
    old: Annotated[str, typer.Argument(metavar="OLD", help=WHICH)],
    new: Annotated[str, typer.Argument(metavar="NEW", help=f"{WHICH} An overlay is applied to OLD.")],
    overlay: Annotated[
        list[Path] | None, typer.Option("--overlay", help="File of an overlay to apply to NEW. May be repeated.")
    ] = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Show what is newly allowed, asked and denied, each with an example action. Texts are not compared."""
    from somagent.cli.policy import reviews

    before = source(old, api)
    reviews.diff(api, before, *_with_overlays(api, new, overlay, old), seconds=timeout)


@command(app)
def explain(  # noqa: PLR0913, PLR0917 - the command line's own options
    api: Api,
    constitution: ConstitutionArgument = ACTIVE,
    attribute: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="ATTRIBUTE=VALUE",
            help="`action.egress=open`. Attributes that are not set have ordinary values.",
        ),
    ] = None,
    approval: Annotated[str | None, typer.Option("--approval", help="Explain why this approval is needed.")] = None,
    run: Annotated[str | None, typer.Option("--run", help="Explain a decision of this run; with --seq.")] = None,
    seq: Annotated[int | None, typer.Option("--seq", min=1, help="Number of the decision's receipt.")] = None,
) -> None:
    """Explain why an action is asked or denied, the smallest change that would help, and who can approve it."""
    if (run is None) != (seq is None) or (approval is not None) + (run is not None) + bool(attribute) > 1:
        output.fail("Say one of: --set …, --approval ID, --run RUN --seq N.", code=Code.USAGE)
    if approval or run:
        explain_recorded(api, {"approval": approval} if approval else {"run": run, "seq": seq})
        return
    from somagent.cli.policy import reviews

    reviews.explain(api, source(constitution, api), attribute or [])


def _with_overlays(api: Api, constitution: str, overlay: list[Path] | None, base: str) -> tuple[Source, list[Source]]:
    """Return a constitution and its overlays. Where the constitution is an overlay itself, its base comes first."""
    found, over = source(constitution, api), [from_file(file) for file in overlay or ()]
    return (source(base, api), [found, *over]) if found.kind == "Overlay" else (found, over)
