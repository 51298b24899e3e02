"""`somagent forecast` and `forecasts`: what a run would take before it is started, and how forecasts came out."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from capsules.forecasts.forecast import Accuracy, Forecast, Past
from somagent.cli import output
from somagent.cli.connection import Api
from somagent.cli.exit_codes import Code
from somagent.cli.formatting import PPM, table
from somagent.cli.inputs import gather
from somagent.cli.options import As, Json, Limit
from somagent.cli.run import Example, Fields, File, Texts, example_of

app = typer.Typer(no_args_is_help=True, help="List forecasts, and show how they came out.")

OfCapsule = Annotated[str | None, typer.Option("--capsule", help="Only runs of this capsule, by name.")]
Plot = Annotated[
    Path | None,
    typer.Option("--plot", metavar="FILE", dir_okay=False, help="Draw intervals and actuals, as .png or .svg."),
]


def register(to: typer.Typer) -> None:
    to.command()(forecast)
    to.add_typer(app, name="forecasts")


def forecast(  # noqa: PLR0913, PLR0917 - the command line's own options
    capsule: Annotated[str, typer.Argument(metavar="CAPSULE", help="`name`, `name@1`, `name@^1.2` or `name@1.2.0`.")],
    inputs: File = None,
    fields: Fields = None,
    texts: Texts = None,
    example: Example = False,
    principal: As = None,
    json: Json = False,
) -> None:
    """Forecast what a run would take, with an interval; nothing is started."""
    with Api(principal=principal, json=json) as api:
        found = api.get(f"/v1/capsules/{capsule}")["capsule"]
        given = gather(
            example=example_of(found, capsule) if example else None, file=inputs, fields=fields or [], files=texts or []
        )
        told = Forecast.model_validate(api.post("/v1/forecasts", {"capsule": capsule, "inputs": given}))
    if json:
        output.emit(told)
        return
    to = output.console()
    to.print(told.why, soft_wrap=True)
    if told.basis == "static":
        to.print(f"At most {told.bound.tokens:,} tokens, ${told.bound.micro_usd / PPM:g}.")
        return
    to.print(f"Likely {told.tokens.likely:,} tokens; {told.coverage / PPM:.0%} of runs: {_ends(told.tokens)}.")
    if told.micro_usd.high:
        dollars = (told.micro_usd.low, told.micro_usd.likely, told.micro_usd.high)
        low, likely, high = (f"${micro / PPM:.6f}".rstrip("0").rstrip(".") for micro in dollars)
        to.print(f"Likely {likely}; from {low} to {high}.")


@app.command("list")
def list_forecasts(capsule: OfCapsule = None, limit: Limit = 20, principal: As = None, json: Json = False) -> None:
    """List the last completed runs: what was forecast, and what each took."""
    past = _past(capsule, limit, principal, json=json)
    if json:
        output.emit(past)
        return
    shown = table("run", "basis", "forecast", "took", "held")
    for one in past:
        static = one.forecast.basis == "static"
        ends = "" if static else f"{one.forecast.tokens.likely:,} ({_ends(one.forecast.tokens)})"
        held = "" if static else "yes" if held_by(one) else "no"
        shown.add_row(one.run, one.forecast.basis, ends, f"{one.tokens:,}", held)
    output.console().print(shown)


@app.command("accuracy")
def show_accuracy(capsule: OfCapsule = None, plot: Plot = None, principal: As = None, json: Json = False) -> None:
    """Show how often intervals held, and the mean error, by capsule and model."""
    if plot is not None:
        _check_plot(plot)
    with Api(principal=principal, json=json) as api:
        items = api.get("/v1/forecasts/accuracy", capsule=capsule)["items"]
    found = [Accuracy.model_validate(item) for item in items]
    if plot is not None:
        # Half a second and a hundred modules, for who wants a picture.
        from somagent.cli.forecast_plot import draw  # noqa: PLC0415

        draw(_past(capsule, 500, principal, json=json), found, plot)
        output.errors().print(f"Written: {plot}", style="dim", soft_wrap=True)
    if json:
        output.emit(found)
        return
    shown = table("capsule", "model", "forecasts", "held", "coverage", "MAPE", "MAPE of the mean")
    for one in found:
        coverage = f"{one.covered / one.runs:.1%}" if one.runs else "no data"
        shown.add_row(
            one.capsule,
            one.model,
            str(one.runs),
            str(one.covered),
            coverage,
            _percent(one.mape),
            _percent(one.mape_of_mean),
        )
    output.console().print(shown)


def held_by(one: Past) -> bool:
    return one.forecast.tokens.low <= one.tokens <= one.forecast.tokens.high


def _check_plot(plot: Path) -> None:
    """End the command where the file's format is unknown, or the library that draws is not installed."""
    if plot.suffix not in {".png", ".svg"}:
        output.fail(f"--plot writes .png or .svg, not {plot.name!r}.", code=Code.USAGE)
    if find_spec("matplotlib") is None:
        output.fail(
            "--plot needs matplotlib, which is not installed: run `pip install 'somagent[plots]'`.", code=Code.USAGE
        )


def _past(capsule: str | None, limit: int, principal: str | None, *, json: bool) -> list[Past]:
    with Api(principal=principal, json=json) as api:
        items: list[Any] = api.get("/v1/forecasts", capsule=capsule, limit=min(limit, 500))["items"]
    return [Past.model_validate(item) for item in items]


def _ends(tokens: Any) -> str:  # noqa: ANN401 - an Interval
    return f"{tokens.low:,} to {tokens.high:,}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} %"
