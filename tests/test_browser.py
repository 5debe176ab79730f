"""What a reader does: JupyterLab in a real browser, run all cells of 01, drag a slider, see the picture change."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
DONE = """() => {
    const panel = window.jupyterapp.shell.currentWidget;
    const kernel = panel.context.sessionContext.session?.kernel;
    const code = panel.content.model.toJSON().cells.filter(c => c.cell_type === 'code');
    const failed = code.flatMap(c => c.outputs).filter(o => o.output_type === 'error').map(o => o.evalue);
    const waiting = code.filter(c => c.execution_count === null).length;
    return {failed, waiting, idle: kernel?.status === 'idle'};
}"""


def find_browser() -> str | None:
    named = os.environ.get("CANVASLAB_BROWSER")
    return named or next((path for name in BROWSERS if (path := shutil.which(name))), None)


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = find_browser()
    if path is None:
        pytest.skip(f"no browser found ({', '.join(BROWSERS)}); install one or name it in CANVASLAB_BROWSER")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=path, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """JupyterLab on a copy of the notebooks, with its settings and run files in a folder of its own."""
    home = tmp_path_factory.mktemp("lab")
    shutil.copytree(NOTEBOOKS, home / "notebooks")
    settings = home / "settings" / "@jupyterlab"
    quiet = {"fetchNews": "false", "checkForUpdates": False}
    wanted = {"notebook-extension/tracker": {"windowingMode": "none"}, "apputils-extension/notification": quiet}
    for name, value in wanted.items():
        target = settings / f"{name}.jupyterlab-settings"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(value))
    environment = {
        **os.environ, "CANVASLAB_TIER": "smoke", "OMP_NUM_THREADS": "1", "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTER_CONFIG_DIR": str(home / "config"), "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
    }  # fmt: skip
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser",
               "--port=0", "--IdentityProvider.token=", f"--ServerApp.root_dir={home / 'notebooks'}"]  # fmt: skip
    with open(home / "log", "w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        yield _address(process, home)
    finally:
        process.terminate()
        process.wait(20)


def _address(process: subprocess.Popen, home: Path) -> str:
    for _ in range(240):
        for info in (home / "runtime").glob("jpserver-*.json"):
            return json.loads(info.read_text())["url"]
        assert process.poll() is None, (home / "log").read_text()[-2000:]
        time.sleep(0.25)
    raise AssertionError(f"JupyterLab did not start: {(home / 'log').read_text()[-2000:]}")


def run_all(page, seconds: float = 300) -> None:
    """Run every cell and wait until the last is done; fails on the first error output."""
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells') }")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        state = page.evaluate(DONE)
        assert not state["failed"], state["failed"]
        if state["idle"] and not state["waiting"]:
            return
        page.wait_for_timeout(500)
    raise AssertionError(f"the notebook was not through after {seconds:.0f} s: {state}")


@pytest.mark.browser
def test_a_reader_runs_notebook_01_and_moves_its_slider(browser, server, tmp_path):
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.goto(f"{server}lab/tree/01_from_noise_to_data.ipynb?reset", timeout=120_000)
    page.wait_for_function("() => window.jupyterapp?.shell.currentWidget?.context?.isReady", timeout=120_000)
    page.wait_for_function(
        "() => window.jupyterapp.shell.currentWidget.context.sessionContext?.session?.kernel?.status === 'idle'",
        timeout=120_000,
    )
    run_all(page)
    picture = page.locator(".jp-OutputArea-output .widget-image").first
    picture.scroll_into_view_if_needed()
    before, source = picture.screenshot(), picture.get_attribute("src")
    handle = page.locator(".jp-OutputArea-output .noUi-handle").first
    handle.focus()
    for _ in range(6):
        handle.press("ArrowRight")
    changed, image = "([image, old]) => image.src !== old", picture.element_handle()
    page.wait_for_function(changed, arg=[image, source], timeout=20_000)
    page.wait_for_timeout(500)
    assert picture.screenshot() != before, "the slider moved, the picture did not change"
    if folder := os.environ.get("CANVASLAB_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / "lab.png")


def test_a_lecturer_opens_live_slides(browser, server):
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    page.goto(f"{server}rise/00_start_here.ipynb", timeout=120_000)
    page.wait_for_selector(".reveal .slides section.present h1", timeout=120_000)
    shown = page.locator(".reveal .slides section.present h1").first
    assert "Start here" in shown.inner_text()
    page.wait_for_selector(".reveal .slides section.present img", state="attached", timeout=60_000)
    page.keyboard.press("Space")
    page.wait_for_function("() => /slide-1/.test(location.hash)", timeout=20_000)
    assert page.locator(".reveal .slides section section").count() >= 15
