"""URL of a run: it contains the run's id with `~` for each `/`. The id is then one segment and needs no escaping.

Run `acme/hello/k1` is `/v1/runs/acme~hello~k1`; its child `summarise` is `/v1/runs/acme~hello~k1~summarise`.
"""


def run_path(run: str, *more: str, root: str = "/v1/runs") -> str:
    """Return the path of a run, or of something below it. root: `/v1/budgets/runs` is the path of its budget."""
    return "/".join((root, run.replace("/", "~"), *more))


def run_id(segment: str) -> str:
    """Return the run's id that a segment of a path stands for."""
    return segment.replace("~", "/")
