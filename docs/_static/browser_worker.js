// Python for the page "In the browser". The version is one whose NumPy is at least 2.1.
const PYODIDE = "https://cdn.jsdelivr.net/pyodide/v0.28.2/full/pyodide.mjs";

const PROGRAMS = {
  check: `
from html import escape
from pathlib import Path
from tinygrad_rnn.check import check
from tinygrad_rnn.check.loading import LoadError
from tinygrad_rnn.check.page import STYLE, fragment
from tinygrad_rnn.check.words import in_language, say
Path("layers.py").write_text(source, "utf-8")
try:
    reports = check("layers.py", seconds=60)
    said = "" if reports else say("{path} has no layer: no class with forward", path="layers.py")
except LoadError as error:
    reports, said = [], error.args[0]
made = "".join(fragment(report, language) for report in reports)
f"<style>{STYLE}</style>{made}<p>{escape(str(in_language(said, language)))}</p>"
`,
  run: `
import contextlib, io, traceback
printed = io.StringIO()
with contextlib.redirect_stdout(printed):
    try:
        exec(compile(source, "engine.py", "exec"), {"__name__": "__main__"})
    except BaseException:
        traceback.print_exc(file=printed)
printed.getvalue()
`,
};

async function load() {
  postMessage({ status: "loading Python ..." });
  const { loadPyodide } = await import(PYODIDE);
  const python = await loadPyodide();
  postMessage({ status: "loading NumPy ..." });
  await python.loadPackage("numpy");
  const zip = await fetch(new URL("tinygrad_rnn.zip", import.meta.url));
  python.unpackArchive(await zip.arrayBuffer(), "zip");
  return python;
}

let loaded;
onmessage = async ({ data }) => {
  try {
    const python = await (loaded ??= load());
    postMessage({ status: "running ..." });
    python.globals.set("source", data.source);
    python.globals.set("language", data.language);
    const result = await python.runPythonAsync(PROGRAMS[data.program]);
    postMessage({ [data.program === "check" ? "html" : "text"]: result, done: true });
  } catch (error) {
    postMessage({ failed: String(error.message ?? error) });
  }
};
