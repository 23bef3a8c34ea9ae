// Keeps the timeline fresh while the order is pending and somebody can see it, and copies ids.
"use strict";
(() => {
  const EVERY = 5000;
  const timeline = document.getElementById("timeline");
  const spoken = document.getElementById("timeline-spoken");

  const pending = () => timeline.dataset.pending === "yes";

  function offerCopies(part) {
    if (!navigator.clipboard) return;
    part.querySelectorAll("[data-copy]").forEach((button) => { button.hidden = false; });
  }

  timeline.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    spoken.textContent = "Copied.";
    button.firstChild.data = "Copied";
    setTimeout(() => { button.firstChild.data = "Copy"; }, 2000);
  });

  async function read(answer) {
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("timeline");
    if (!fresh) throw new Error("the service answered with something else");
    return fresh;
  }

  function show(fresh) {
    // Not while somebody is selecting text.
    if (String(getSelection()) !== "" && timeline.contains(getSelection().anchorNode)) return;
    const before = timeline.dataset.status;
    offerCopies(fresh);
    window.fresh.replace(timeline, fresh.innerHTML);
    Object.assign(timeline.dataset, fresh.dataset);
    // Screen readers speak it only when it changes.
    if (timeline.dataset.status !== before) spoken.textContent = timeline.querySelector(".timeline-summary").textContent;
  }

  offerCopies(timeline);
  window.fresh.keep({
    name: "timeline", url: location.href, deadline: 20000, every: () => pending() ? EVERY : 0, read, show,
    told: (at) => pending() ? `From ${at}; refreshes every ${EVERY / 1000} seconds while the order is pending.`
      : `From ${at}. The order is final, so this page does not refresh itself.`,
  });
})();
