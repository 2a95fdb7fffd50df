"use strict";
(() => {
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const source = document.getElementById("seconds");
  const data = source ? JSON.parse(source.textContent) : null;

  // The command, to the clipboard.
  const copy = document.querySelector("[data-copy]");
  if (copy && navigator.clipboard) {
    copy.hidden = false;
    copy.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.querySelector("[data-command]").textContent);
      copy.textContent = "Copied";
      setTimeout(() => { copy.textContent = "Copy"; }, 1500);
    });
  }

  // Series, shown and hidden.
  for (const button of all("[data-toggle]")) {
    button.addEventListener("click", () => {
      const shown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(shown));
      for (const shape of all(`[data-series="${button.dataset.toggle}"]`)) {
        shape.style.display = shown ? "" : "none";
      }
    });
  }

  // The reading line: one place in time, in all plots at once.
  if (!data || data.buckets.length === 0) return;
  const plots = all("[data-plot]");
  const last = data.buckets.length - 1;
  const time = (us) => us >= 1e6 ? `${(us / 1e6).toFixed(2)} s` : us >= 1e4 ? `${Math.round(us / 1e3)} ms` : `${(us / 1e3).toFixed(1)} ms`;
  const read = (bucket) => {
    const [ok, fail, info, p50, p99] = data.buckets[bucket];
    const from = bucket * data.width, to = from + data.width;
    const faults = data.faults.flatMap(([start, end], at) => start < to && end > from ? [at + 1] : []);
    const latency = p99 > 0 ? `; p50 ${time(p50)}, p99 ${time(p99)}` : "";
    const during = faults.length > 0 ? `; fault ${faults.slice(0, 8).join(", ")}` : "";
    return `${from / 1000} to ${to / 1000} s: ${ok} ok, ${fail} failed, ${info} unknown${latency}${during}`;
  };
  const show = (bucket) => {
    const text = read(bucket);
    const middle = Math.min((bucket + 0.5) * data.width / data.end, 1);
    for (const plot of plots) {
      const cursor = plot.querySelector(".cursor");
      cursor.hidden = false;
      cursor.style.left = `${middle * 100}%`;
      plot.setAttribute("aria-valuenow", bucket);
      plot.setAttribute("aria-valuetext", text);
    }
    for (const readout of all("[data-readout]")) readout.textContent = text;
  };
  const clamp = (bucket) => Math.max(0, Math.min(last, bucket));
  for (const plot of plots) {
    plot.setAttribute("aria-valuemax", last);
    plot.setAttribute("aria-valuetext", read(0));
    plot.addEventListener("pointermove", (event) => {
      const box = plot.getBoundingClientRect();
      const at = (event.clientX - box.left) / box.width * data.end / data.width;
      show(clamp(Math.floor(at)));
    });
    plot.addEventListener("keydown", (event) => {
      const now = Number(plot.getAttribute("aria-valuenow"));
      const to = { ArrowRight: now + 1, ArrowUp: now + 1, ArrowLeft: now - 1, ArrowDown: now - 1,
        PageUp: now + 10, PageDown: now - 10, Home: 0, End: last }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      show(clamp(to));
    });
  }
})();
