// Keeps the overview fresh: fetches its content every five seconds while somebody can see it.
"use strict";
(() => {
  const EVERY = 5000, SOONER = 1000, DEADLINE = 15000;
  const overview = document.getElementById("overview");
  const state = document.getElementById("overview-state");
  const verdict = document.getElementById("overview-verdict");
  const pause = document.getElementById("overview-pause");
  let paused = false, timer = 0, busy = false, last = new Date();

  const clock = (moment) => moment.toLocaleTimeString([], {hour12: false});
  const line = () => overview.querySelector("[data-line]")?.dataset.line ?? "";
  const counted = () => overview.querySelector("[data-counted]")?.dataset.counted !== "no";

  function say(text, failed) {
    state.textContent = text;
    state.parentElement.classList.toggle("overview-failed", failed);
  }

  function replace(html) {
    const open = [...overview.querySelectorAll("details[open]")].map((element) => element.id);
    const scrolled = [...overview.querySelectorAll(".desk-scroll")].map((element) => [element.scrollLeft, element.scrollTop]);
    const focusable = () => [...overview.querySelectorAll("a[href], summary, [tabindex='0']")];
    const focused = focusable().indexOf(document.activeElement);
    const before = line();
    overview.innerHTML = html;
    open.forEach((id) => { const element = document.getElementById(id); if (element) element.open = true; });
    overview.querySelectorAll(".desk-scroll").forEach((element, number) => {
      if (scrolled[number]) [element.scrollLeft, element.scrollTop] = scrolled[number];
    });
    if (focused >= 0) focusable()[focused]?.focus({preventScroll: true});
    // Spoken only when it changes.
    if (line() !== before) verdict.textContent = line();
  }

  async function refresh() {
    if (busy || paused || document.hidden) return;
    busy = true;
    clearTimeout(timer);
    try {
      const answer = await fetch(overview.dataset.url, {
        credentials: "same-origin", redirect: "manual", signal: AbortSignal.timeout(DEADLINE),
      });
      if (answer.type === "opaqueredirect" || answer.status === 403) {
        say("Not refreshed any more: you are logged out. Load the page again.", true);
        return;
      }
      if (!answer.ok || !answer.headers.has("X-Overview")) throw new Error(`the service answered ${answer.status}`);
      replace(await answer.text());
      last = new Date();
      say(`Refreshed at ${clock(last)}; again every ${EVERY / 1000} seconds.`, false);
    } catch (error) {
      const reason = error.name === "TimeoutError" ? `no answer within ${DEADLINE / 1000} seconds`
        : error instanceof TypeError ? "the service cannot be reached" : error.message;
      say(`Could not refresh at ${clock(new Date())}: ${reason}. What is shown is from ${clock(last)}; trying on.`, true);
    } finally {
      busy = false;
    }
    wait();
  }

  function wait() {
    clearTimeout(timer);
    if (!paused) timer = setTimeout(refresh, counted() ? EVERY : SOONER);
  }

  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Go on" : "Pause";
    if (paused) {
      clearTimeout(timer);
      say(`Paused. What is shown is from ${clock(last)}.`, false);
    } else {
      refresh();
    }
  });
  document.addEventListener("visibilitychange", refresh);
  say(`Loaded at ${clock(last)}; refreshes every ${EVERY / 1000} seconds.`, false);
  wait();
})();
