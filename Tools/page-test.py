#!/usr/bin/env python3
"""Drives the chat page in headless Chromium against a running server, and takes pictures.

    Tools/page-test.py http://127.0.0.1:8080 [--pictures DIR] [--hostile]

Needs Debian's chromium and chromium-driver, and selenium from PyPI. --hostile expects a server whose answers hold
Markdown with script tags in it (the fake one), and checks how they are shown.
"""
import argparse
import json
import pathlib
import re
import sys
import time
import urllib.parse
import urllib.request

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from lib import browser as page  # noqa: E402
from lib.browser import every, is_idle, last_text, one, say, wait, wait_for_answer, wait_until_ready  # noqa: E402
from lib.cuttable import CuttableProxy  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("url")
parser.add_argument("--pictures")
parser.add_argument("--hostile", action="store_true")
arguments = parser.parse_args()
check = page.Checks()


def picture(driver, name):
    page.picture(driver, arguments.pictures, name)


def intercept(driver, status, error, headers={}):
    """Makes the page's next chat request end in an answer of our own."""
    driver.execute_script("""
        const [status, error, headers, real] = [...arguments, window.fetch];
        window.fetch = (address, options) => {
          if (!String(address).includes("chat")) return real(address, options);
          window.fetch = real;
          if (!status) return Promise.reject(new TypeError("network"));
          return Promise.resolve(new Response(JSON.stringify({ error }), { status, headers }));
        };""", status, error, headers)


# Long enough that even a fast server is still writing when Esc comes.
TASK = "Write a very long story about the sea, the wind and a ship.", "Tell every detail of every day."


def test_conversation(driver):
    wait_until_ready(driver)
    with urllib.request.urlopen(arguments.url + "/v1/models") as answer:
        model = json.load(answer)["data"][0]
    check("the model's name is shown", one(driver, "#model-name").text == model["id"])
    check("the context is shown", f"{model['context_length']:,}" in one(driver, "#context-text").text)
    check("the strip shows stages", len(every(driver, "#cluster .stage")) >= 1)
    check("the strip shows layers", "layers 0" in one(driver, "#cluster").text)
    check("the message box has the focus", driver.switch_to.active_element.get_attribute("id") == "prompt")
    check("an empty message cannot be sent", not one(driver, "#send").is_enabled())
    picture(driver, "welcome")

    one(driver, "#prompt").send_keys(TASK[0], Keys.SHIFT, Keys.ENTER, Keys.NULL, TASK[1])
    check("Shift+Enter starts a line", one(driver, "#prompt").get_attribute("value") == "\n".join(TASK))
    one(driver, "#prompt").send_keys(Keys.ENTER)
    wait(driver, lambda d: every(d, ".turn.assistant .prose"))
    check("the send button has become a stop button", one(driver, "#send").get_attribute("aria-label") == "Stop")
    one(driver, "#prompt").send_keys(Keys.ESCAPE)
    wait(driver, is_idle)
    check("Esc stops", "stopped" in one(driver, ".turn.assistant .meta").text)
    check("a stopped answer keeps its text", one(driver, ".turn.assistant .prose").text != "")
    picture(driver, "stopped")
    check("the user's text is as it was typed", one(driver, ".turn.user").text == "\n".join(TASK))

    say(driver, "Tell me more, and take your time.")
    wait(driver, lambda d: is_idle(d) and len(every(d, ".turn.assistant .meta")) == 2)
    check("the answer's figures are shown", "token" in every(driver, ".turn.assistant .meta")[-1].text)
    check("the context has grown", not one(driver, "#context-text").text.startswith("0 "))
    check("the answer is not announced as busy", not every(driver, "[aria-busy]"))
    driver.execute_script("document.getElementById('scroller').scrollTop = 0")
    picture(driver, "conversation")
    if arguments.hostile:
        answer = every(driver, ".turn.assistant")[-1]
        check("a script in an answer stays text", "<script>alert(1)</script>" in answer.text)
        check("code is shown as code", len(answer.find_elements(By.CSS_SELECTOR, ".code pre code")) == 1)
        check("a list is a list", len(answer.find_elements(By.CSS_SELECTOR, "ol li")) == 3)

    driver.refresh()
    wait(driver, lambda d: len(every(d, ".turn")) == 4)
    check("a reload keeps the conversation", every(driver, ".turn.user")[0].text == "\n".join(TASK))


def test_failures(driver):
    wait_until_ready(driver)
    busy = {"message": "The queue is full.", "code": "server_busy"}
    long = {"message": "This model's maximum context length is 2048 tokens.", "code": "context_length_exceeded"}
    for status, error, headers, words in [
        (0, {}, {}, "cannot be reached"), (429, busy, {"retry-after": "3"}, "3 seconds"), (400, long, {}, "Too long"),
        (503, {"message": "loading"}, {}, "Not ready"), (500, {"message": "oh"}, {}, "failed"),
        (401, {}, {}, "API key"),
    ]:
        intercept(driver, status, error, headers)
        say(driver, "hello")
        notice = wait(driver, lambda d: every(d, ".notice"))[0]
        check(f"status {status} is explained", words in notice.text)
        check(f"status {status} is announced", notice.get_attribute("role") == "alert")
        if status == 429:
            picture(driver, "busy")
            notice.find_element(By.TAG_NAME, "button").click()
            wait(driver, lambda d: every(d, ".turn.assistant .meta"))
            check("trying again works", not every(driver, ".notice"))
        one(driver, "#new-chat").click()
    check("a new chat is empty", not every(driver, ".turn") and one(driver, "#welcome").is_displayed())


def test_settings(driver):
    one(driver, "#open-settings").click()
    one(driver, "#set-system").send_keys("Be brief.")
    one(driver, "#set-max").send_keys("3")
    one(driver, "input[value=dark] + span").click()
    picture(driver, "settings")
    one(driver, "dialog .primary").click()
    check("the theme changes", driver.execute_script("return document.documentElement.dataset.theme") == "dark")
    say(driver, "hello")
    wait(driver, lambda d: is_idle(d) and every(d, ".turn.assistant .meta"))
    check("the longest answer is kept to", "length limit" in one(driver, ".turn.assistant .meta").text)


def test_phone(driver):
    wait_until_ready(driver)
    picture(driver, "phone-welcome")
    say(driver, "hello")
    wait(driver, lambda d: is_idle(d) and every(d, ".turn.assistant .meta"))
    one(driver, "#strip summary").click()
    time.sleep(0.7)
    picture(driver, "phone")
    width = driver.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    check("nothing is wider than a phone", max(width) <= 390)
    for button in every(driver, ".bar button, #send"):
        check("buttons are large enough to touch", button.size["height"] >= 32 and button.size["width"] >= 32)


def resumed():
    """How often clients have come back to their requests so far."""
    with urllib.request.urlopen(arguments.url + "/metrics") as answer:
        return sum(map(float, re.findall(r"^dejavu_requests_resumed_total.* (\S+)$", answer.read().decode(), re.M)))


def test_reconnect(driver):
    wait_until_ready(driver)
    say(driver, TASK[0])
    undisturbed = wait_for_answer(driver)
    check("the undisturbed answer is long", len(undisturbed) > 400)
    for way in ("cut", "reload"):
        one(driver, "#new-chat").click()
        before = resumed()
        say(driver, TASK[0])
        wait(driver, lambda d: len(last_text(d)) > 40)
        if way == "cut":
            proxy.cut()
            wait(driver, lambda d: every(d, "[data-cut]"))
            picture(driver, "reconnecting")
            proxy.mend()
        else:
            driver.refresh()
        check(f"{way}: the answer is what it would have been", wait_for_answer(driver) == undisturbed)
        check(f"{way}: the request was taken up again", resumed() > before)
        check(f"{way}: nothing is complained about", not every(driver, ".notice, [data-cut]"))


proxy = CuttableProxy("127.0.0.1", urllib.parse.urlsplit(arguments.url).port)
for name, test, size in [
    ("conversation", test_conversation, (1280, 860)), ("failures", test_failures, (1280, 860)),
    ("settings", test_settings, (1280, 860)), ("phone", test_phone, (390, 800)),
]:
    check.run(name, page.browser(arguments.url, *size), test, arguments.pictures)
if not arguments.hostile:
    greedy = page.browser(proxy.url, 1280, 860, settings={"temperature": 0, "max": 300})
    check.run("reconnect", greedy, test_reconnect, arguments.pictures)
proxy.close()
sys.exit(check.end())
