"""What the pages of the console weigh, when they are first painted, and whether a server or a page left open grows.

    .venv/bin/python benchmarks/console_browser.py --out benchmarks/results/console_browser.json

Weight is what comes over the line at a first visit, compressed, without NiiVue; first paint is Chromium's, at a second
visit too. An hour of a page left open is 3600 seconds of the page's own clock, in which a training goes on: its process
is halted, and its events are written here.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from console_load import LONG, PASSWORD, add_user, addresses, logged_in
from long_run import write_long_run
from playwright.sync_api import Browser, Page, sync_playwright
from serving_load import server, training, write_dataset, write_jobs

from r2d2.engine.processes import processes_of

ROUNDS = 3
WITHOUT = "niivue"
VIEWS = 1000
EVERY_S = 2
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--seconds", type=int, default=3600, help="of the page's clock")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        work = folder / "work"
        write_jobs(work, options.jobs)
        write_long_run(work / "jobs" / str(LONG) / "output", 100_000)
        dataset = write_dataset(folder)
        add_user(work)
        port = stack.enter_context(server(folder))
        address = f"http://127.0.0.1:{port}"
        job = stack.enter_context(training(work, dataset))
        attempt = work / "jobs" / str(job) / "attempts" / "1"
        for process in processes_of(attempt):
            if "r2d2.engine.supervisor" not in Path(f"/proc/{process.pid}/cmdline").read_text():
                os.kill(process.pid, signal.SIGSTOP)
        chromium = shutil.which("chromium")
        browser = stack.enter_context(sync_playwright()).chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--js-flags=--expose-gc"]
        )
        state, events = logged_in_at(browser, address), work / "jobs" / str(job) / "output" / "events.jsonl"
        result = {
            "load": os.getloadavg(),
            "pages": [of_page(browser, state, f"{address}{page}") for page in whole_pages()],
            "server": of_server(address, port),
            "hour": of_hour(browser, state, f"{address}/jobs/{job}", events, options.seconds),
        }
        browser.close()
    print(json.dumps(result, indent=1))
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


def whole_pages() -> list[str]:
    """Give the pages, without the parts that they ask for."""
    parts = ("/part", "/now", "/results", "/curves", "/log", "/openapi.json", "/health")
    return [one for one in addresses() if not one.partition("?")[0].endswith(parts)]


def logged_in_at(browser: Browser, address: str) -> Any:
    """Log in once; gives the cookies."""
    page = browser.new_page()
    page.goto(f"{address}/login")
    page.get_by_label("Name").fill("benchmark")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("button", name="Log out").wait_for()
    state = page.context.storage_state()
    page.close()
    return state


def of_page(browser: Browser, state: Any, address: str) -> dict[str, Any]:
    """Weigh a page, with an empty cache, and say when it is first painted."""
    paints: dict[str, list[float]] = {"first": [], "again": []}
    weight = 0.0
    for _ in range(ROUNDS):
        context = browser.new_context(viewport={"width": 1280, "height": 900}, storage_state=state)
        page = context.new_page()
        session = context.new_cdp_session(page)
        session.send("Network.enable")
        sent: list[Any] = []
        received: list[Any] = []
        session.on("Network.requestWillBeSent", sent.append)
        session.on("Network.loadingFinished", received.append)
        for visit in ("first", "again"):
            page.goto(address)
            page.wait_for_timeout(1500)
            paints[visit].append(page.evaluate(PAINT))
            if visit == "first":
                counted = {one["requestId"] for one in sent if WITHOUT not in one["request"]["url"]}
                weight = sum(one["encodedDataLength"] for one in received if one["requestId"] in counted)
        context.close()
    row = {"page": urlsplit(address)._replace(scheme="", netloc="").geturl(), "kilobytes": round(weight / 1000, 1)}
    return row | {f"paint_{visit}_ms": round(statistics.median(times)) for visit, times in paints.items()}


def of_server(address: str, port: int) -> dict[str, float]:
    """Give the memory of the server's process before and after many page views."""
    session = logged_in(address)
    pages = whole_pages()
    worker = serving_process(port)
    for page in pages * 3:  # what is made on first use is there
        session.get(f"{address}{page}")
    before = memory_mb(worker)
    for number in range(VIEWS):
        session.get(f"{address}{pages[number % len(pages)]}")
    return {"views": VIEWS, "before_mb": before, "after_mb": memory_mb(worker)}


def serving_process(port: int) -> int:
    """Find the process of gunicorn that answers: the child of the one that has the port and is no engine."""
    inode = next(
        line.split()[9]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"
    )
    holders = [int(path.parts[2]) for path in Path("/proc").glob("[0-9]*/fd/*") if _leads_to(path, f"socket:[{inode}]")]
    return max(holders, key=memory_mb)


def _leads_to(path: Path, target: str) -> bool:
    try:
        return str(path.readlink()) == target
    except OSError:
        return False


def memory_mb(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return round(int(text.partition("VmRSS:")[2].split()[0]) / 1000, 1)


def of_hour(browser: Browser, state: Any, address: str, events: Path, seconds: int) -> dict[str, Any]:
    """Leave the page of a run open while its clock goes on by an hour; gives what the page holds, from time to time."""
    page = browser.new_page(storage_state=state)
    page.clock.install()
    page.goto(address)
    session = page.context.new_cdp_session(page)
    step = 0
    held: list[dict[str, float]] = []
    with events.open("a") as file:
        for second in range(0, seconds, EVERY_S):
            for _ in range(EVERY_S):
                step += 1
                event = {"event": "step", "time": second, "step": 10_000 + step, "epoch": 1, "loss": 1 / step}
                event |= {"learning_rate": 0.001, "seconds": 1.0, "images_per_second": 8.0}
                file.write(json.dumps(event) + "\n")
            file.flush()
            page.clock.run_for(EVERY_S * 1000)
            page.wait_for_timeout(20)
            if second % 300 == 0:
                held.append(in_page(page, session) | {"second": second})
    held.append(in_page(page, session) | {"second": seconds})
    page.context.close()
    return {"held": held}


def in_page(page: Page, session: Any) -> dict[str, float]:
    """Give what a page holds once rubbish is gone."""
    page.wait_for_timeout(500)
    session.send("HeapProfiler.collectGarbage")
    heap = session.send("Runtime.getHeapUsage")["usedSize"]
    found = session.send("Memory.getDOMCounters")
    return {"heap_mb": round(heap / 1e6, 2), "nodes": found["nodes"], "listeners": found["jsEventListeners"]}


if __name__ == "__main__":
    main()
