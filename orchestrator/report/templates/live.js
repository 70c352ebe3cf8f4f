"use strict";
// Renews the band every two seconds, and the page below it when trials have gone on, every ten at most.
(() => {
  const EVERY = 2000, RELOAD_AFTER = 10000, KEPT = "reading " + location.pathname;
  const begun = Date.now(), version = document.getElementById("live").dataset.version;
  const filter = document.getElementById("filter");
  const folds = () => [...document.querySelectorAll("details")];

  // What was unfolded, filtered and looked at stays so over a renewal
  const kept = JSON.parse(sessionStorage.getItem(KEPT) || "null");
  sessionStorage.removeItem(KEPT);
  if (kept) {
    folds().forEach((node, index) => { node.open = kept.open[index] ?? node.open; });
    filter.value = kept.filter;
    filter.dispatchEvent(new Event("input"));
    window.scrollTo(0, kept.scroll);
  }
  const keep = () => sessionStorage.setItem(KEPT, JSON.stringify({
    open: folds().map(node => node.open), filter: filter.value, scroll: window.scrollY }));

  const isRead = () => document.hidden || String(getSelection()) || document.activeElement === filter
    || document.activeElement.tagName === "SELECT";
  const renew = async () => {
    try {
      const answer = await fetch("band");
      const text = await answer.text();
      if (!answer.ok) throw new Error(text);
      const band = new DOMParser().parseFromString(text, "text/html").getElementById("live");
      document.getElementById("live").replaceWith(band);
      if (band.dataset.version !== version && Date.now() - begun > RELOAD_AFTER && !isRead()) {
        await fetch(location.pathname); // made anew before it is asked for, so that nothing flickers
        keep();
        location.reload();
        return;
      }
    } catch (error) {
      const gone = error instanceof TypeError ? "the server has stopped" : error.message;
      document.getElementById("live-state").textContent = `Not updated: ${gone}.`;
    }
    setTimeout(renew, EVERY);
  };
  setTimeout(renew, EVERY);
})();
