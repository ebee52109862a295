// The widget knows themes by attribute only; this follows the system's.
const dark = window.matchMedia("(prefers-color-scheme: dark)");

function dress() {
  const colours = dark.matches
    ? { theme: "dark", "bg-color": "#10171c", "text-color": "#dbe4e8", "primary-color": "#4fc3a1", "nav-bg-color": "#0b1115" }
    : { theme: "light", "bg-color": "#ffffff", "text-color": "#1d2a30", "primary-color": "#0b6b57", "nav-bg-color": "#f1f5f4" };
  const reference = document.getElementById("reference");
  for (const [name, value] of Object.entries(colours)) reference.setAttribute(name, value);
  reference.setAttribute("nav-text-color", colours["text-color"]);
  reference.setAttribute("nav-accent-color", colours["primary-color"]);
}

dark.addEventListener("change", dress);
dress();
