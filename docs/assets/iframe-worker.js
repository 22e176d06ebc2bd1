// The search runs in a worker, and a browser starts no worker from a file. When the site is opened from a folder, a
// hidden frame takes the worker's place: it loads the same script, and messages go to and fro as with a worker.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.onmessage = null;
      this.waiting = [];
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.appendChild(frame);
      const inside = frame.contentWindow;
      const give = (data) => {
        const event = new MessageEvent("message", { data });
        if (this.onmessage) this.onmessage(event);
        this.dispatchEvent(event);
      };
      inside.postMessage = (data) => setTimeout(give, 0, data);
      // Scripts that the worker asks for are loaded one after the other; the caller goes on when the last one is there.
      inside.importScripts = (...urls) =>
        urls.reduce((before, one) => before.then(() => this.load(frame, one)), Promise.resolve());
      this.frame = frame;
      this.load(frame, url).then(() => {
        this.ready = true;
        this.waiting.splice(0).forEach((data) => this.postMessage(data));
      });
    }
    load(frame, url) {
      return new Promise((done, failed) => {
        const script = frame.contentDocument.createElement("script");
        script.src = new URL(url, document.baseURI).href;
        script.onload = done;
        script.onerror = failed;
        frame.contentDocument.body.appendChild(script);
      });
    }
    postMessage(data) {
      if (!this.ready) {
        this.waiting.push(data);
        return;
      }
      const event = new MessageEvent("message", { data });
      if (this.frame.contentWindow.onmessage) this.frame.contentWindow.onmessage(event);
      this.frame.contentWindow.dispatchEvent(event);
    }
    terminate() {
      this.frame.remove();
    }
  };
}
