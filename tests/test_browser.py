"""docs/browser.md: check without processes, threads and timers; and the page itself in Chromium,
where a stand-in for Pyodide has the same interface and lets this Python compute."""

import contextlib
import io
import json
import queue
import shutil
import subprocess
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tinygrad_rnn.check import apart, check, limits

DOCS = Path(__file__).resolve().parent.parent / "docs"
STATIC = DOCS / "_static"


def test_check_does_without_processes_threads_and_timers(monkeypatch):
    usual = check(DOCS / "my_layers.py", seconds=60)

    def none(*args, **kwargs):
        raise RuntimeError("there is none in a browser")

    monkeypatch.setattr(limits, "ALONE", True)
    monkeypatch.setattr(apart.subprocess, "Popen", none)
    monkeypatch.setattr(threading.Thread, "start", none)
    monkeypatch.setattr(limits.signal, "signal", none)
    monkeypatch.setattr(limits.signal, "setitimer", none, raising=False)
    alone = check(DOCS / "my_layers.py", seconds=60)
    assert [str(report) for report in alone] == [str(report) for report in usual]
    assert alone[0].verdict == "wrong" and alone[0].causes


STANDIN = """
export async function loadPyodide() {
  const names = {};
  let archive = 0;
  return {
    globals: { set: (name, value) => { names[name] = value; } },
    loadPackage: async (name) => { if (name !== "numpy") throw new Error(name); },
    unpackArchive: (buffer, kind) => { if (kind !== "zip") throw new Error(kind);
                                       archive = buffer.byteLength; },
    runPythonAsync: async (code) => {
      const answer = await fetch("/run", { method: "POST",
        body: JSON.stringify({ code, names, archive }) });
      if (!answer.ok) throw new Error(await answer.text());
      return await answer.text();
    },
  };
}
"""
PRESS = """
<script type="module">
const wait = (until) => new Promise((done) => {
  const look = () => until() ? done() : setTimeout(look, 50); look(); });
const tell = (what) => fetch("/told", { method: "POST", body: JSON.stringify(what) });
addEventListener("error", (event) => tell({ error: event.message }));
const boxes = [...document.querySelectorAll("div.python")];
await wait(() => boxes.length === 2 && boxes.every((box) => box.dataset.ready));
const found = [];
boxes.push(boxes[0]);
for (const box of boxes) {
  const [run, stop] = box.querySelectorAll("button"), result = box.querySelector(".result");
  run.click();
  const busy = run.disabled && !stop.disabled;
  await wait(() => !run.disabled);
  const status = box.querySelector(".status").textContent;
  found.push({ busy, result: result.textContent, status, label: run.textContent });
  box.querySelector("textarea").value = "x = 1";  // for the second time
}
tell(found);
</script>
"""


class Server(SimpleHTTPRequestHandler):
    """The files of a site, and a Python that runs what the stand-in sends."""

    told: queue.Queue
    ran: list

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer, status = "", 200
        if self.path == "/told":
            self.told.put(body)
        else:
            self.ran.append(body)
            *statements, last = body["code"].strip().split("\n")
            names = dict(body["names"])
            try:
                exec("\n".join(statements), names)
                answer = eval(last, names)
            except Exception as error:
                answer, status = repr(error), 500
        self.send_response(status)
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *args):
        pass


def test_the_page_in_a_browser(tmp_path, monkeypatch):
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        pytest.skip("Chromium is not installed")
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.chdir(tmp_path)  # where the program in the page writes what was pasted
    boxes = [part.split("```")[0] for part in
             (DOCS / "browser.md").read_text("utf-8").split("```{raw} html\n")[1:]]  # fmt: skip
    page = f'<!doctype html><html lang="ko"><meta charset="utf-8">{"".join(boxes)}{PRESS}'
    (site / "index.html").write_text(page, "utf-8")
    (site / "pyodide.mjs").write_text(STANDIN, "utf-8")
    static = site / "_static"
    static.mkdir()
    shutil.copy(STATIC / "browser.js", static)
    worker = (STATIC / "browser_worker.js").read_text("utf-8")
    assert worker.count("https://cdn.jsdelivr.net/pyodide/") == 1
    address = worker.split('PYODIDE = "')[1].split('"')[0]
    (static / "browser_worker.js").write_text(worker.replace(address, "/pyodide.mjs"), "utf-8")
    for name in ("my_layers.py", "engine_in_60_lines.py", "engine_tried.py"):
        shutil.copy(DOCS / name, static)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("tinygrad_rnn/__init__.py", "")
    (static / "tinygrad_rnn.zip").write_bytes(archive.getvalue())

    Server.told, Server.ran = queue.Queue(), []
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    browser = subprocess.Popen(
        [chromium, "--headless", "--no-sandbox", "--disable-gpu",
         f"--user-data-dir={tmp_path / 'browser'}", f"http://127.0.0.1:{server.server_port}/"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    found = None
    try:
        for _ in range(300):  # far more than it takes on any machine
            with contextlib.suppress(queue.Empty):
                found = Server.told.get(timeout=1)
                break
            if browser.poll() is not None:
                pytest.skip(f"Chromium ends by itself here, with status {browser.returncode}")
    finally:
        browser.kill()
        browser.wait()
        server.shutdown()
        server.server_close()
    assert isinstance(found, list), found
    checked, ran, none = found
    assert all(each["busy"] and not each["status"] for each in found)
    assert (checked["label"], ran["label"]) == ("검사", "실행")
    assert "LSTM: 틀림" in checked["result"] and "유력한 원인" in checked["result"]
    assert "dg *= 1 - g ** 2" in checked["result"]
    assert none["result"].endswith("layers.py에 계층이 없습니다(forward가 있는 클래스가 없음)")
    assert ran["result"].startswith("loss ") and "W.grad" in ran["result"]
    assert all(run["archive"] == len(archive.getvalue()) for run in Server.ran)
