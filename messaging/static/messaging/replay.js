/* Keeps the page of a replay up to date: asks for what changes, and replaces only the parts that have changed, so that
   a button does not go away under somebody's finger. */
"use strict";

(() => {
  const live = document.getElementById("live");
  if (!live || live.dataset.live !== "yes") return;
  const every = Number(live.dataset.every);
  let worked = new Date();

  async function refresh() {
    try {
      const answer = await fetch(live.dataset.progress + window.location.search, {
        credentials: "same-origin",
        redirect: "error", // a login page is no progress
        signal: AbortSignal.timeout(10000),
      });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of fresh.querySelectorAll("[data-part]")) {
        const shown = document.getElementById(part.id);
        if (shown && shown.outerHTML !== part.outerHTML) shown.replaceWith(document.importNode(part, true));
      }
      worked = new Date();
      if (document.getElementById("part-state").dataset.live !== "yes") return;
    } catch (error) {
      document.getElementById("part-refreshed").textContent =
        `Not refreshed since ${worked.toLocaleTimeString()}: the server does not answer (${error.message}). It is asked again.`;
    }
    window.setTimeout(refresh, every);
  }

  window.setTimeout(refresh, every);
})();
