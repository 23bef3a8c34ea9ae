// Keeps the overview fresh: fetches its content every five seconds while somebody can see it.
"use strict";
(() => {
  const EVERY = 5000, SOONER = 1000;
  const overview = document.getElementById("overview");
  const verdict = document.getElementById("overview-verdict");

  const line = () => overview.querySelector("[data-line]")?.dataset.line ?? "";
  const counted = () => overview.querySelector("[data-counted]")?.dataset.counted !== "no";

  function read(answer) {
    if (!answer.headers.has("X-Overview")) throw new Error(`the service answered ${answer.status}`);
    return answer.text();
  }

  function show(html) {
    const before = line();
    window.fresh.replace(overview, html);
    // Screen readers speak it only when it changes.
    if (line() !== before) verdict.textContent = line();
  }

  window.fresh.keep({
    name: "overview", url: overview.dataset.url, deadline: 15000, every: () => counted() ? EVERY : SOONER, read, show,
    told: (at, isFirst) => isFirst ? `Loaded at ${at}; refreshes every ${EVERY / 1000} seconds.`
      : `Refreshed at ${at}; again every ${EVERY / 1000} seconds.`,
  });
})();
