"""Commands `somagent policy check`, `prove`, `diff` and `explain`. Only these import Z3 and NumPy."""

# ruff: noqa: PLC0415 - Z3 and NumPy take half a second to import

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from somagent.cli import output
from somagent.cli.command import command, group
from somagent.cli.connection import Api
from somagent.cli.exit_codes import Code
from somagent.cli.policy.history import explain_recorded
from somagent.cli.policy.sources import ACTIVE, SHIPPED, WHICH, OverlayOption, Source, from_file, source

app = group("policy", "Check, prove, compare, explain, sign and activate constitutions.")
ConstitutionArgument = Annotated[str, Argument(metavar="CONSTITUTION", help=WHICH)]
BaseOption = Annotated[str, Option("--base", help=f"The constitution that an overlay is applied to. {WHICH}")]
TimeoutOption = Annotated[float, Option("--timeout", min=0.1, max=600, metavar="SECONDS", help="Limit of each proof.")]


@command(app)
def check(
    api: Api, constitution: ConstitutionArgument, overlay: OverlayOption = None, base: BaseOption = SHIPPED
) -> None:
    """Check a constitution or an overlay. Every error is listed with its clause, line and column. Proves nothing."""
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
    """Prove what an activation requires. A refuted guarantee is shown with a counterexample; exit code 10 then."""
    from somagent.cli.policy import reviews

    reviews.prove(api, *_with_overlays(api, constitution, overlay, base), seconds=timeout)


@command(app)
def diff(
    api: Api,
    old: Annotated[str, Argument(metavar="OLD", help=WHICH)],
    new: Annotated[str, Argument(metavar="NEW", help=f"{WHICH} An overlay is applied to OLD.")],
    overlay: OverlayOption = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Show which actions would be newly allowed, asked or denied, with examples. Texts are not compared."""
    from somagent.cli.policy import reviews

    before = source(old, api)
    reviews.diff(api, before, *_with_overlays(api, new, overlay, old), seconds=timeout)


@command(app)
def explain(  # noqa: PLR0913, PLR0917 - the command line's own options
    api: Api,
    constitution: ConstitutionArgument = ACTIVE,
    attribute: Annotated[
        list[str] | None,
        Option(
            "--set",
            metavar="ATTRIBUTE=VALUE",
            help="Such as `action.egress=open`. Repeatable. Attributes that are not set have ordinary values.",
        ),
    ] = None,
    approval: Annotated[str | None, Option(metavar="ID", help="Explain why this approval is needed.")] = None,
    run: Annotated[str | None, Option(metavar="RUN", help="Explain a decision of this run; give --seq too.")] = None,
    seq: Annotated[int | None, Option(min=1, metavar="N", help="Number of the decision's receipt.")] = None,
) -> None:
    """Explain a decision: the clauses that force it, the smallest change that would help, and who can approve."""
    if (run is None) != (seq is None) or (approval is not None) + (run is not None) + bool(attribute) > 1:
        output.fail("Give one of: --set …, --approval ID, --run RUN --seq N.", code=Code.USAGE)
    if approval or run:
        explain_recorded(api, {"approval": approval} if approval else {"run": run, "seq": seq})
        return
    from somagent.cli.policy import reviews

    reviews.explain(api, source(constitution, api), attribute or [])


def _with_overlays(api: Api, constitution: str, overlay: list[Path] | None, base: str) -> tuple[Source, list[Source]]:
    """Return a constitution and its overlays. If the constitution itself is an overlay, it is applied to `base`."""
    found, over = source(constitution, api), [from_file(file) for file in overlay or ()]
    return (source(base, api), [found, *over]) if found.kind == "Overlay" else (found, over)
