// Keeps the timeline fresh while the order is pending and somebody can see it, and copies ids.
"use strict";
(() => {
  const EVERY = 5000, DEADLINE = 20000;
  const timeline = document.getElementById("timeline");
  const state = document.getElementById("timeline-state");
  const spoken = document.getElementById("timeline-spoken");
  const pause = document.getElementById("timeline-pause");
  let paused = false, timer = 0, busy = false, last = new Date();

  const {clock} = window.fresh;
  const pending = () => timeline.dataset.pending === "yes";

  function say(text, failed) {
    state.textContent = text;
    state.parentElement.classList.toggle("timeline-failed", failed);
  }

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

  function replace(fresh) {
    const before = timeline.dataset.status;
    offerCopies(fresh);
    window.fresh.replace(timeline, fresh.innerHTML);
    Object.assign(timeline.dataset, fresh.dataset);
    // Spoken only when it changes.
    if (timeline.dataset.status !== before) spoken.textContent = timeline.querySelector(".timeline-summary").textContent;
  }

  async function refresh() {
    if (busy || paused || document.hidden || !pending()) return;
    busy = true;
    clearTimeout(timer);
    try {
      const answer = await fetch(location.href, {
        credentials: "same-origin", redirect: "manual", signal: AbortSignal.timeout(DEADLINE),
      });
      if (window.fresh.isLoggedOut(answer)) {
        say(window.fresh.LOGGED_OUT, true);
        return;
      }
      if (!answer.ok) throw new Error(`the service answered ${answer.status}`);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("timeline");
      if (!fresh) throw new Error("the service answered with something else");
      if (paused) return; // meanwhile
      // Somebody marks a text: not now.
      if (String(getSelection()) === "" || !timeline.contains(getSelection().anchorNode)) replace(fresh);
      last = new Date();
      told();
    } catch (error) {
      if (paused) return;
      const reason = window.fresh.reason(error, DEADLINE);
      say(`Could not refresh at ${clock(new Date())}: ${reason}. What is shown is from ${clock(last)}; trying on.`, true);
    } finally {
      busy = false;
    }
    wait();
  }

  function told() {
    pause.hidden = !pending();
    say(pending()
      ? `From ${clock(last)}; refreshes every ${EVERY / 1000} seconds while the order is pending.`
      : `From ${clock(last)}. The order is final, so this page does not refresh itself.`, false);
  }

  function wait() {
    clearTimeout(timer);
    if (!paused && pending()) timer = setTimeout(refresh, EVERY);
  }

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
  offerCopies(timeline);
  told();
  wait();
})();
