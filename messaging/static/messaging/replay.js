/* Keeps the page of a replay up to date: asks for what changes, and replaces only the parts that have changed, so that
   a button does not go away under somebody's finger. */
"use strict";

(() => {
  const live = document.getElementById("live");
  if (!live || live.dataset.live !== "yes") return;
  const every = Number(live.dataset.every), DEADLINE = 10000;
  let worked = new Date();

  function say(text) {
    document.getElementById("part-refreshed").textContent = text;
  }

  async function refresh() {
    try {
      const answer = await fetch(live.dataset.progress + window.location.search, {
        credentials: "same-origin",
        redirect: "manual", // a login page is no progress
        signal: AbortSignal.timeout(DEADLINE),
      });
      if (window.fresh.isLoggedOut(answer)) {
        say(window.fresh.LOGGED_OUT);
        return;
      }
      if (!answer.ok) throw new Error(`the service answered ${answer.status}`);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of fresh.querySelectorAll("[data-part]")) {
        const shown = document.getElementById(part.id);
        if (!shown || shown.outerHTML === part.outerHTML) continue;
        window.fresh.replace(shown, part.innerHTML);
        Object.assign(shown.dataset, part.dataset);
      }
      worked = new Date();
      if (document.getElementById("part-state").dataset.live !== "yes") return;
    } catch (error) {
      const reason = window.fresh.reason(error, DEADLINE);
      say(`Not refreshed since ${window.fresh.clock(worked)}: ${reason}. It is asked again.`);
    }
    window.setTimeout(refresh, every);
  }

  window.setTimeout(refresh, every);
})();
