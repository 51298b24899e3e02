"""`somagent policy`: check, prove, compare and explain constitutions; test one on what runs did; change the active one.

Files are read, proved and compared here, without a server. Z3 and NumPy are loaded by these commands only.
"""

from pathlib import Path
from typing import Annotated

import typer

from somagent.cli import output, policy_change, policy_history, policy_sign
from somagent.cli.exit_codes import Code
from somagent.cli.options import As, Json
from somagent.cli.policy_sources import ACTIVE, SHIPPED, Source, from_file, source

app = typer.Typer(no_args_is_help=True, help="Check, prove, compare, explain and change constitutions.")

WHICH = f"A file, `{SHIPPED}` for the shipped one, `{ACTIVE}` for the one in force, or a digest."
Which = Annotated[str, typer.Argument(metavar="CONSTITUTION", help=WHICH)]
Overlays = Annotated[
    list[Path] | None, typer.Option("--overlay", help="An overlay's file, laid over it. May be given again.")
]
Seconds = Annotated[
    float, typer.Option("--timeout", min=0.1, max=600, help="How long each property may take, in seconds.")
]


Base = Annotated[str, typer.Option("--base", help=f"For an overlay: what it is laid over. {WHICH}")]


def register(to: typer.Typer) -> None:
    for part in (policy_history, policy_sign, policy_change):
        part.register(app)
    policy_sign.register(app)
    to.add_typer(app, name="policy")


@app.command()
def check(
    constitution: Which,
    overlay: Overlays = None,
    base: Base = SHIPPED,
    principal: As = None,
    json: Json = False,
) -> None:
    """Read and type a constitution or an overlay: every fault with its clause, line and column. Proves nothing."""
    from somagent.cli import policy_reviews  # noqa: PLC0415 - Z3 and NumPy take half a second to load

    found, over = _laid(constitution, overlay, base, principal, json=json)
    policy_reviews.check(found, over, json=json)


@app.command()
def prove(  # noqa: PLR0913, PLR0917 - the command line's own options
    constitution: Which,
    overlay: Overlays = None,
    base: Base = SHIPPED,
    timeout: Seconds = 10.0,
    principal: As = None,
    json: Json = False,
) -> None:
    """Prove what activation needs. What is refuted is shown with an action that contradicts it; code 10 then."""
    from somagent.cli import policy_reviews  # noqa: PLC0415 - as above

    found, over = _laid(constitution, overlay, base, principal, json=json)
    policy_reviews.prove(found, over, seconds=timeout, json=json)


@app.command()
def diff(  # noqa: PLR0913, PLR0917 - the command line's own options
    old: Annotated[str, typer.Argument(metavar="OLD", help=WHICH)],
    new: Annotated[str, typer.Argument(metavar="NEW", help=f"{WHICH} An overlay is laid over OLD.")],
    overlay: Annotated[
        list[Path] | None, typer.Option("--overlay", help="An overlay's file, laid over NEW. May be given again.")
    ] = None,
    timeout: Seconds = 10.0,
    principal: As = None,
    json: Json = False,
) -> None:
    """Say what is newly allowed, asked and denied, each with an action that shows it. Texts are not compared."""
    from somagent.cli import policy_reviews  # noqa: PLC0415 - as above

    before = source(old, principal=principal, json=json)
    after, over = _laid(new, overlay, old, principal, json=json)
    policy_reviews.diff(before, after, over, seconds=timeout, json=json)


@app.command()
def explain(  # noqa: PLR0913, PLR0917 - the command line's own options
    constitution: Annotated[str, typer.Argument(metavar="CONSTITUTION", help=WHICH)] = ACTIVE,
    attribute: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="ATTRIBUTE=VALUE", help="`action.egress=open`; what is not set is ordinary."),
    ] = None,
    approval: Annotated[str | None, typer.Option("--approval", help="Explain why this approval is asked for.")] = None,
    run: Annotated[str | None, typer.Option("--run", help="Explain a decision of this run; with --seq.")] = None,
    seq: Annotated[int | None, typer.Option("--seq", min=1, help="The number of the decision's receipt.")] = None,
    principal: As = None,
    json: Json = False,
) -> None:
    """Say why an action is asked or denied, the smallest change after which it would not be, and who can approve it."""
    if (run is None) != (seq is None) or (approval is not None) + (run is not None) + bool(attribute) > 1:
        output.fail("Say one of: --set …, --approval ID, --run RUN --seq N.", code=Code.USAGE)
    if approval or run:
        policy_history.explain(approval=approval, run=run, seq=seq, principal=principal, json=json)
        return
    from somagent.cli import policy_reviews  # noqa: PLC0415 - as above

    found = source(constitution, principal=principal, json=json)
    policy_reviews.explain(found, attribute or [], json=json)


def _laid(
    constitution: str, overlay: list[Path] | None, base: str, principal: str | None, *, json: bool
) -> tuple[Source, list[Source]]:
    """Return a constitution and what is laid over it; where an overlay is named, its base comes first."""
    found = source(constitution, principal=principal, json=json)
    over = [from_file(file, json=json) for file in overlay or ()]
    if found.kind == "Overlay":
        return source(base, principal=principal, json=json), [found, *over]
    return found, over
