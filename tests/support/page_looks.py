"""How pages look in a browser: screens, colours, contrast, and what is cut off."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image
from selenium.webdriver import Chrome

__all__ = ["CLIPPED", "CONTRAST", "picture", "prefer", "screen"]

# Every text against what lies below it, by WCAG's formula. A large text may have 3, all others 4.5.
CONTRAST = """
const channel = (v) => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; };
const light = ([r, g, b]) => .2126 * channel(r) + .7152 * channel(g) + .0722 * channel(b);
const parse = (text) => {
  const found = text.match(/rgba?\\(([^)]+)\\)/);
  if (!found) return [0, 0, 0, 0];
  const [r, g, b, a = 1] = found[1].split(/[ ,/]+/).filter(Boolean).map(Number);
  return [r, g, b, a];
};
const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
const backing = (element) => {
  const layers = [];
  for (let e = element; e; e = e.parentElement) {
    layers.push(parse(getComputedStyle(e).backgroundColor));
  }
  // Inside a drawing the boxes are rects, drawn below the texts of their group.
  const rect = element.closest("g") && element.closest("g").querySelector("rect");
  if (rect) layers.unshift(parse(getComputedStyle(rect).fill));
  let colour = [255, 255, 255];
  for (const layer of layers.reverse()) colour = over(layer, colour);
  return colour;
};
const bad = [];
let seen = 0;
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node = walker.nextNode(); node; node = walker.nextNode()) {
  const element = node.parentElement;
  if (!node.data.trim() || element.closest("title, script, style")) continue;
  if (!element.checkVisibility() || element.getBoundingClientRect().left < -1000) continue;
  const style = getComputedStyle(element);
  const below = backing(element);
  const own = parse(element instanceof SVGElement ? style.fill : style.color);
  const [a, b] = [light(over(own, below)), light(below)].sort((x, y) => y - x);
  const ratio = (a + .05) / (b + .05);
  const large = parseFloat(style.fontSize) >= 24;
  seen += 1;
  if (ratio < (large ? 3 : 4.5)) bad.push(`${node.data.trim().slice(0, 40)}: ${ratio.toFixed(2)}`);
}
return [seen, bad];
"""

# Texts that are cut off: wider than the box that hides what overflows, and no way to scroll there.
CLIPPED = """
return [...document.querySelectorAll("main *")].filter((e) => e.checkVisibility() &&
  !(e instanceof SVGElement) && e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0 &&
  ["hidden", "clip"].includes(getComputedStyle(e).overflowX) &&
  getComputedStyle(e).textOverflow !== "ellipsis").map((e) => e.outerHTML.slice(0, 80));
"""


def screen(browser: Chrome, width: int, height: int = 900) -> None:
    """A screen of that size, a phone's if it is narrow."""
    given = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", given)


def prefer(browser: Chrome, scheme: str) -> None:
    """Let the system prefer ``light`` or ``dark``."""
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def picture(browser: Chrome) -> np.ndarray:
    """What is on the screen, as shades of grey [h, w]."""
    data = base64.b64decode(browser.get_screenshot_as_base64())
    return np.asarray(Image.open(io.BytesIO(data)).convert("L"), dtype=np.float64)
