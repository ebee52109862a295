// Loads the page again if one of its files did not arrive, as when the network changes meanwhile; at most five times.
let lost = false;
addEventListener("error", ({ target }) => {
  if (!(target instanceof HTMLScriptElement || target.rel === "stylesheet")) return;
  lost = true;
  const times = Number(sessionStorage.getItem("lost") ?? 0) + 1;
  if (times > 5) return;
  sessionStorage.setItem("lost", times);
  setTimeout(() => location.reload(), 300 * times);
}, true); // such an event does not bubble
addEventListener("load", () => lost || sessionStorage.removeItem("lost"));
