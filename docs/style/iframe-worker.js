// The search runs in a worker, and browsers start none for pages opened from disk. There its script runs in a hidden
// frame instead, so that the search works on a site without a network. The offline plugin knows this file by its name.
(() => {
  if (location.protocol !== "file:") return;

  const load = (inside, url) => new Promise((resolve, reject) => {
    const script = inside.document.createElement("script");
    script.src = url;
    script.onload = resolve;
    script.onerror = () => reject(new Error(`Cannot load ${url}`));
    inside.document.head.append(script);
  });

  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.onmessage = this.onerror = null;
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.frame.srcdoc = "<!doctype html><title>worker</title>";
      this.started = new Promise(resolve => this.frame.addEventListener("load", resolve, {once: true})).then(() => {
        const inside = this.frame.contentWindow;
        inside.postMessage = data => this.tell(new MessageEvent("message", {data}));
        inside.importScripts = (...urls) =>
          urls.reduce((before, each) => before.then(() => load(inside, each)), Promise.resolve());
        return load(inside, new URL(url, location.href).href).then(() => inside);
      });
      this.started.catch(error => this.tell(new ErrorEvent("error", {error, message: error.message})));
      document.body.append(this.frame);
    }

    postMessage(data) {
      this.started.then(inside => inside.dispatchEvent(new inside.MessageEvent("message", {data})), () => {});
    }

    terminate() {
      this.frame.remove();
    }

    tell(event) {
      this.dispatchEvent(event);
      this[`on${event.type}`]?.(event);
    }
  };
})();
