// The page "In the browser": each box runs Python in a worker of its own, so that the page stays
// alive, and Stop can end what never ends. The worker is browser_worker.js beside this file.

const here = new URL(".", import.meta.url);

const WORDS = {
  ko: { "Check": "검사", "Run": "실행", "Stop": "멈춤", "stopped": "멈췄습니다",
        "loading Python ...": "Python을 불러오는 중 ...",
        "loading NumPy ...": "NumPy를 불러오는 중 ...", "running ...": "실행 중 ..." },
  ja: { "Check": "検査", "Run": "実行", "Stop": "停止", "stopped": "停止しました",
        "loading Python ...": "Python を読み込み中 ...",
        "loading NumPy ...": "NumPy を読み込み中 ...", "running ...": "実行中 ..." },
};
const say = (text) => WORDS[document.documentElement.lang]?.[text] ?? text;

class Box {
  constructor(root) {
    this.root = root;
    this.text = root.querySelector("textarea");
    this.result = root.querySelector(".result");
    this.status = root.querySelector(".status");
    [this.run, this.stop] = root.querySelectorAll("button");
    for (const button of [this.run, this.stop]) button.textContent = say(button.textContent);
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
      if (data.status) this.status.textContent = say(data.status);
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
    this.status.textContent = say(why);
  }

  busy(is) {
    this.run.disabled = is;
    this.stop.disabled = !is;
  }
}

document.querySelectorAll("div.python").forEach((root) => new Box(root));
