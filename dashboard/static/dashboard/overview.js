// Keeps the overview fresh: fetches its content every five seconds while somebody can see it.
"use strict";
(() => {
  const EVERY = 5000, SOONER = 1000, DEADLINE = 15000;
  const overview = document.getElementById("overview");
  const state = document.getElementById("overview-state");
  const verdict = document.getElementById("overview-verdict");
  const pause = document.getElementById("overview-pause");
  let paused = false, timer = 0, busy = false, last = new Date();

  const {clock} = window.fresh;
  const line = () => overview.querySelector("[data-line]")?.dataset.line ?? "";
  const counted = () => overview.querySelector("[data-counted]")?.dataset.counted !== "no";

  function say(text, failed) {
    state.textContent = text;
    state.parentElement.classList.toggle("overview-failed", failed);
  }

  function replace(html) {
    const before = line();
    window.fresh.replace(overview, html);
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
      if (window.fresh.isLoggedOut(answer)) {
        say(window.fresh.LOGGED_OUT, true);
        return;
      }
      if (!answer.ok || !answer.headers.has("X-Overview")) throw new Error(`the service answered ${answer.status}`);
      const html = await answer.text();
      if (paused) return; // meanwhile
      replace(html);
      last = new Date();
      say(`Refreshed at ${clock(last)}; again every ${EVERY / 1000} seconds.`, false);
    } catch (error) {
      if (paused) return;
      const reason = window.fresh.reason(error, DEADLINE);
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
