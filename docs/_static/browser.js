// The page "In the browser": each box runs Python in a worker of its own, so that the page stays
// alive, and Stop can end what never ends. The worker is browser_worker.js beside this file.

const here = new URL(".", import.meta.url);

class Box {
  constructor(root) {
    this.root = root;
    this.text = root.querySelector("textarea");
    this.result = root.querySelector(".result");
    this.status = root.querySelector(".status");
    [this.run, this.stop] = root.querySelectorAll("button");
    this.run.onclick = () => this.start();
    this.stop.onclick = () => this.end("stopped");
    this.text.onkeydown = (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.start();
    };
    this.fill();
  }

  async fill() {
    const names = [this.text.dataset.from, this.text.dataset.then].filter(Boolean);
    const texts = names.map(async (name) => (await fetch(new URL(name, here))).text());
    this.text.value = (await Promise.all(texts)).join("").trimEnd() + "\n";
    this.root.dataset.ready = "yes";
  }

  start() {
    this.worker ??= this.begin();
    this.busy(true);
    this.result.replaceChildren();
    this.worker.postMessage({ program: this.root.dataset.program, source: this.text.value,
                              language: document.documentElement.lang });
  }

  begin() {
    const worker = new Worker(new URL("browser_worker.js", here), { type: "module" });
    worker.onmessage = ({ data }) => {
      if (data.status) this.status.textContent = data.status;
      if (data.html !== undefined) this.result.innerHTML = data.html; // escaped where it was made
      if (data.text !== undefined) this.result.textContent = data.text;
      if (data.done) { this.busy(false); this.status.textContent = ""; }
      if (data.failed) this.end(data.failed);
    };
    worker.onerror = (event) => this.end(event.message || "the worker could not be started");
    return worker;
  }

  end(why) {
    this.worker?.terminate();
    this.worker = undefined;
    this.busy(false);
    this.status.textContent = why;
  }

  busy(is) {
    this.run.disabled = is;
    this.stop.disabled = !is;
  }
}

document.querySelectorAll("div.python").forEach((root) => new Box(root));
