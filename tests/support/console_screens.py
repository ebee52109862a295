"""The screens on which the console is tested, the words that it shows on them, and what holds on every page."""

import re
from itertools import product
from typing import NamedTuple

from support.service import ROOT

CONSOLE = ROOT / "api/console"
_STRING = r'"((?:[^"\\]|\\.)*)"'
WORDS = {
    key: {"en": english, "zh": chinese}
    for key, english, chinese in re.findall(rf"(\w+): \[{_STRING}, {_STRING}\]", (CONSOLE / "words.js").read_text())
}
"""The table of words.js: key -> language -> text with {names}."""


class Screen(NamedTuple):
    """A language and a width in pixels."""

    language: str
    width: int

    def word(self, key, **values):
        """Return the text of a key in this language, with {names} replaced."""
        return WORDS[key][self.language].format(**values)

    def __str__(self):
        return f"{self.language}{self.width}"


SCREENS = [Screen(*one) for one in product(("en", "zh"), (1280, 375))]

_OUT_OF_REACH = """() => [...document.querySelectorAll("body *")].filter((one) => {
  if (one.closest(".scroll, .visually-hidden, .skip, .chart") || !one.checkVisibility()) return false;
  const { left, right } = one.getBoundingClientRect();
  return left < 0 || right > innerWidth;
}).map((one) => one.outerHTML.slice(0, 160))"""
_UNTRANSLATED = """() => {
  const found = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const own = "code, pre, [lang=en], script, .loading";
  while (walk.nextNode()) {
    const { data, parentElement: at } = walk.currentNode;
    const text = data.replace(/“[^”]*”/g, ""); // commands, and cells as they were typed
    if (/[a-z]{2,}[:,]? [a-z]{2,}/i.test(text) && !at.closest(own) && at.checkVisibility()) found.push(data);
  }
  return found;
}"""


def check_page(page, axe, where):
    """Assert that axe finds nothing, nothing reaches beyond the window, and a Chinese page has no English sentences."""
    violations = axe.Axe().run(page).response["violations"]
    faults = [(one["id"], one["impact"], [node["html"][:200] for node in one["nodes"][:3]]) for one in violations]
    faults += [("out of reach", html) for html in page.evaluate(_OUT_OF_REACH)]
    if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
        faults.append("the page scrolls sideways")
    if page.locator("html").get_attribute("lang") == "zh-CN":
        faults += [("not translated", words) for words in page.evaluate(_UNTRANSLATED)]
    assert not faults, f"{where}: {faults}"
