"""The chat page in headless Chromium. Needs Debian's chromium and chromium-driver, and selenium from PyPI."""
import json
import pathlib

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait


class Checks:
    """Counts what holds and tells what does not."""

    def __init__(self):
        self.passed, self.failed = 0, 0

    def __call__(self, what, condition):
        if condition:
            self.passed += 1
        else:
            self.failed += 1
            print("FAILED:", what)

    def run(self, name, driver, test, pictures):
        """One test in one browser, which is closed after it."""
        try:
            test(driver)
            complaints = [entry["message"] for entry in driver.get_log("browser")
                          if "Content Security Policy" in entry["message"] or "Uncaught" in entry["message"]]
            self(f"{name}: no script errors and nothing blocked: {complaints}", not complaints)
        except Exception as error:  # a failure of one part must not hide those of the others
            self(f"{name}: {type(error).__name__}: {error}", False)
            picture(driver, pictures, "failed-" + name)
        finally:
            driver.quit()

    def end(self):
        print(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed else 0


def browser(url, width, height, dark=False, settings=None):
    options = webdriver.ChromeOptions()
    for option in ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]:
        options.add_argument(option)
    options.binary_location = "/usr/bin/chromium"
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    # What fades in is not visible at first, and what is not visible has no text for the driver.
    still = {"name": "prefers-reduced-motion", "value": "reduce"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme, still]})
    if settings:
        source = f"localStorage.setItem('settings', {json.dumps(json.dumps(settings))})"
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": source})
    driver.get(url)
    return driver


def picture(driver, folder, name):
    if folder:
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
        driver.save_screenshot(str(pathlib.Path(folder, name + ".png")))


def wait(driver, condition, seconds=60):
    return WebDriverWait(driver, seconds, poll_frequency=0.05).until(condition)


def one(driver, selector):
    return driver.find_element(By.CSS_SELECTOR, selector)


def every(driver, selector):
    return driver.find_elements(By.CSS_SELECTOR, selector)


def is_idle(driver):
    return not every(driver, ".busy")


def wait_until_ready(driver):
    wait(driver, lambda d: one(d, "#state").get_attribute("data-state") == "ready")


def say(driver, text):
    one(driver, "#prompt").send_keys(text + Keys.ENTER)


def last_text(driver):
    """The text of the last answer, as far as it has come."""
    return driver.execute_script(
        "return [...document.querySelectorAll('.turn.assistant .prose')].at(-1)?.textContent ?? ''")


def wait_for_answer(driver, seconds=120):
    """The whole text of the last answer."""
    wait(driver, lambda d: is_idle(d) and every(d, ".turn:last-child.assistant .meta"), seconds)
    return last_text(driver)
