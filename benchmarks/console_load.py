"""How long each page of the console takes for 20 clients with a request a second, while a job trains.

    .venv/bin/python benchmarks/console_load.py --out benchmarks/results/console_load.json

There are 10,000 jobs, and a run of a million steps. Each page, and each part that pages ask for again and again, is
asked in turn with an empty page of Flask.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import requests
from long_run import write_long_run
from serving_load import ask, empty_server, percentile, server, training, write_dataset, write_jobs

LONG = 1
"""Of the jobs that are there, a training."""
VARIABLES = {"job_id": str(LONG)}
PASSWORD = "a right long sentence"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--seconds", type=int, default=10, help="for each page")
    parser.add_argument("--only", nargs="*", default=[""], help="pages whose address begins so")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the training ends too
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        work = folder / "work"
        write_jobs(work, options.jobs)
        write_long_run(work / "jobs" / str(LONG) / "output", options.steps)
        dataset = write_dataset(folder)
        pages = [page for page in addresses() if page.startswith(tuple(options.only))]
        add_user(work)
        ours = stack.enter_context(server(folder))
        empty = stack.enter_context(empty_server(folder))
        stack.enter_context(training(work, dataset))
        session = logged_in(f"http://127.0.0.1:{ours}")
        while session.get(f"http://127.0.0.1:{ours}/jobs/{LONG}/curves").json()["is_behind"]:
            time.sleep(0.1)
        rows = [measured(page, ours, empty, session, options) for page in pages]
    for row in sorted(rows, key=lambda row: -row["p95_ratio"]):
        print(json.dumps(row))
    result = {"jobs": options.jobs, "steps": options.steps, "clients": options.clients, "load": os.getloadavg()}
    if options.out is not None:
        options.out.write_text(json.dumps({**result, "pages": rows}, indent=1) + "\n")
    print(json.dumps(result))


def addresses() -> list[str]:
    """Find the pages of the console, and the parts that they ask for, of which the log and curves of the long run."""
    from r2d2.engine import EngineClient
    from web.app import create_app
    from web.serve_settings import ServeSettings

    app = create_app(ServeSettings(work_root=Path("none")), EngineClient(Path("none")), None, b"s" * 48)  # type: ignore[arg-type]
    found = []
    for rule in app.url_map.iter_rules():
        if "GET" in (rule.methods or ()) and not rule.endpoint.startswith(("api.", "openapi", "assets", "session.")):
            address = re.sub(r"<(?:\w+:)?(\w+)>", lambda found: VARIABLES.get(found[1], "<"), rule.rule)
            if "<" not in address and not address.endswith((".csv", "/report")):  # downloads are no pages
                found.append(address)
    return [*sorted(found), f"/compare?job={LONG}&job={LONG + 3}"]


def add_user(work_root: Path) -> None:
    from web.accounts.store import open_accounts

    accounts = open_accounts(work_root / "web")
    accounts.add_user("benchmark", "administrator", PASSWORD)
    accounts.close()


def logged_in(address: str) -> requests.Session:
    """Log in, as a browser does."""
    session = requests.Session()
    found = re.search(r'name="csrf_token" value="([^"]+)"', session.get(f"{address}/login").text)
    if found is None:
        raise SystemExit("the page to log in has no form")
    fields = {"name": "benchmark", "password": PASSWORD, "csrf_token": found[1]}
    session.post(f"{address}/login", data=fields).raise_for_status()
    return session


def measured(
    page: str, ours: int, empty: int, session: requests.Session, options: argparse.Namespace
) -> dict[str, object]:
    """Measure one page, and the empty one before and after it."""
    while True:  # what is made on first use is there
        answer = session.get(f"http://127.0.0.1:{ours}{page}")
        if answer.status_code != 200:
            return {"page": page, "status": answer.status_code, "p95_ratio": 0.0}
        if not answer.headers["Content-Type"].startswith("application/json") or not answer.json().get("is_behind"):
            break
        time.sleep(0.1)
    headers = {"Cookie": "; ".join(f"{one.name}={one.value}" for one in session.cookies)}
    beside = ask(empty, "/", {}, options.clients, options.seconds // 2)
    taken = ask(ours, page, headers, options.clients, options.seconds)
    beside += ask(empty, "/", {}, options.clients, options.seconds // 2)
    p95, of_empty = percentile(taken, 95), percentile(beside, 95)
    row = {"page": page, "p50_ms": _ms(percentile(taken, 50)), "p95_ms": _ms(p95), "empty_p95_ms": _ms(of_empty)}
    print(json.dumps(row), file=sys.stderr, flush=True)
    return {**row, "p95_ratio": round(p95 / of_empty, 2), "kilobytes": round(len(answer.content) / 1000, 1)}


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 1)


if __name__ == "__main__":
    main()
