"""Commands `somagent forecast` and `forecasts`: the expected usage of a run, and the accuracy of past forecasts."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from typer import Option

from capsules.actions.verdict import PPM
from capsules.forecasts.forecast import Accuracy, Forecast, Interval, PastRun
from somagent.cli import output
from somagent.cli.command import CapsuleArgument, LimitOption, command, group
from somagent.cli.connection import Api, JsonValue
from somagent.cli.exit_codes import Code
from somagent.cli.inputs import ExampleOption, FieldOption, InputFileOption, InputsOption, capsule_and_inputs
from somagent.cli.output import Lines, table

top = group()
app = group("forecasts", "List past forecasts and show how accurate they were.")
CapsuleOption = Annotated[str | None, Option("--capsule", help="Only runs of this capsule (its name).")]


def _lines(it: Forecast) -> Lines:
    yield it.why
    if it.basis == "static":
        yield f"At most {it.bound.tokens:,} tokens, ${it.bound.micro_usd / PPM:g}."
        return
    yield f"Likely {it.tokens.likely:,} tokens; {it.coverage / PPM:.0%} of runs: {_interval(it.tokens)}."
    if it.micro_usd.high:
        dollars = (it.micro_usd.low, it.micro_usd.likely, it.micro_usd.high)
        low, likely, high = (f"${micro / PPM:.6f}".rstrip("0").rstrip(".") for micro in dollars)
        yield f"Likely {likely}; from {low} to {high}."


def _past_row(one: PastRun) -> tuple[str, ...]:
    it = one.forecast
    if it.basis == "static":
        return one.run, it.basis, "", f"{one.tokens:,}", ""
    held = it.tokens.low <= one.tokens <= it.tokens.high
    forecast = f"{it.tokens.likely:,} ({_interval(it.tokens)})"
    return one.run, it.basis, forecast, f"{one.tokens:,}", "yes" if held else "no"


def _accuracy_row(one: Accuracy) -> tuple[str, ...]:
    coverage = f"{one.covered / one.runs:.1%}" if one.runs else "no data"
    errors = _percent(one.mape), _percent(one.mape_of_mean)
    return one.capsule, one.model, str(one.runs), str(one.covered), coverage, *errors


@command(top, text=_lines)
def forecast(  # noqa: PLR0913, PLR0917 - the command line's own options
    api: Api,
    capsule: CapsuleArgument,
    inputs: InputsOption = None,
    fields: FieldOption = None,
    texts: InputFileOption = None,
    example: ExampleOption = False,
) -> JsonValue:
    """Forecast the usage of a run, with an interval. Nothing is started."""
    _, given = capsule_and_inputs(api, capsule, example=example, file=inputs, fields=fields, files=texts)
    return Forecast.model_validate(api.post("/v1/forecasts", {"capsule": capsule, "inputs": given}))


@command(app, "list", text=table("run", "basis", "forecast", "took", "held", row=_past_row))
def list_forecasts(api: Api, capsule: CapsuleOption = None, limit: LimitOption = 20) -> JsonValue:
    """List the last completed runs with their forecast and their usage."""
    return _list_past(api, capsule, limit)


@command(
    app,
    "accuracy",
    text=table("capsule", "model", "forecasts", "held", "coverage", "MAPE", "MAPE of the mean", row=_accuracy_row),
)
def show_accuracy(
    api: Api,
    capsule: CapsuleOption = None,
    plot: Annotated[
        Path | None, Option(metavar="FILE", dir_okay=False, help="Write a plot of forecasts and usage, .png or .svg.")
    ] = None,
) -> JsonValue:
    """Show how often the usage was within the interval, and the mean error, by capsule and model."""
    if plot is not None:
        _check_plot(plot)
    items = api.get("/v1/forecasts/accuracy", capsule=capsule)["items"]
    found = [Accuracy.model_validate(item) for item in items]
    if plot is not None:
        # Matplotlib takes half a second to import, so only this option imports it.
        from somagent.cli.forecast_plot import draw  # noqa: PLC0415

        draw(_list_past(api, capsule, 500), found, plot)
        output.note(f"Written: {plot}")
    return found


def _check_plot(plot: Path) -> None:
    """End the command when the file's format is unknown or matplotlib is not installed."""
    if plot.suffix not in {".png", ".svg"}:
        output.fail(f"--plot writes .png or .svg, not {plot.name!r}.", code=Code.USAGE)
    if find_spec("matplotlib") is None:
        output.fail(
            "--plot needs matplotlib, which is not installed: run `pip install 'somagent[plots]'`.", code=Code.USAGE
        )


def _list_past(api: Api, capsule: str | None, limit: int) -> list[PastRun]:
    items = api.get("/v1/forecasts", capsule=capsule, limit=min(limit, 500))["items"]
    return [PastRun.model_validate(item) for item in items]


def _interval(tokens: Interval) -> str:
    return f"{tokens.low:,} to {tokens.high:,}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} %"
