#!/usr/bin/env python3
"""Kills workers from the demo's page in mid-answer and looks at what becomes of the answer.

    Tools/demo-test.py http://127.0.0.1:8080 [--pictures DIR]

For a server that was started with --demo.
"""
import argparse
import json
import pathlib
import sys
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from lib import browser as page  # noqa: E402
from lib.browser import every, last_text, one, say, wait, wait_for_answer, wait_until_ready  # noqa: E402

TASK = "Write a long story about the sea, the wind and a ship."
parser = argparse.ArgumentParser()
parser.add_argument("url")
parser.add_argument("--pictures")
arguments = parser.parse_args()
check = page.Checks()


def cluster():
    with urllib.request.urlopen(arguments.url + "/cluster", timeout=10) as answer:
        return json.load(answer)["cluster"]


def wait_for_replicas(seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        stages = [stage for pipeline in cluster()["pipelines"] for stage in pipeline["stages"]]
        if all(stage["worker"] and stage["replica_ready"] for stage in stages):
            return
        time.sleep(0.1)
    raise AssertionError("some stage has no replica")


def test_kill(driver):
    wait_until_ready(driver)
    say(driver, TASK)
    undisturbed = wait_for_answer(driver)
    check("the undisturbed answer is long", len(undisturbed) > 400)
    check("without a death there is no recovery to tell of", not one(driver, "#recovery").is_displayed())
    workers = len(cluster()["workers"])
    check("every worker has its button", len(every(driver, "#cluster .kill")) == workers)
    for number in range(2):
        wait_for_replicas()
        lost = cluster()["workers_lost"]
        one(driver, "#new-chat").click()
        say(driver, TASK)
        wait(driver, lambda d: len(last_text(d)) > 150)
        check("the answer is still being written", every(driver, ".busy"))
        # Pressed as a person would: the first stage's button, then the second's.
        every(driver, "#cluster .stage .kill")[number].click()
        text = wait_for_answer(driver)
        check(f"kill {number + 1}: the answer is what it would have been", text == undisturbed)
        check(f"kill {number + 1}: a worker has died", cluster()["workers_lost"] == lost + 1)
        check(f"kill {number + 1}: nothing is complained about", not every(driver, ".notice"))
        wait(driver, lambda d: "paused" in one(d, "#recovery").text)
    wait_for_replicas()
    wait(driver, lambda d: len(every(d, "#cluster .stage .copy")) == 2 and "no copy" not in one(d, "#cluster").text)
    driver.execute_script("document.getElementById('scroller').scrollTop = 0")
    page.picture(driver, arguments.pictures, "demo")


settings = {"temperature": 0, "max": 300}
check.run("kill", page.browser(arguments.url, 1280, 860, settings=settings), test_kill, arguments.pictures)
sys.exit(check.end())
