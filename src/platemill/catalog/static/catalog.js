"use strict";

// Runs in the head, so that a page never shows in the wrong colours first.
const root = document.documentElement;
const THEME = "platemill-catalog-theme";
root.classList.add("scripted");

function remembered() {
  try {
    return localStorage.getItem(THEME);
  } catch {
    return null; // a browser may keep nothing for files
  }
}

function applyTheme(theme) {
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;
}

applyTheme(remembered());

function isDark() {
  if (root.dataset.theme) return root.dataset.theme === "dark";
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

function toggleTheme() {
  const theme = isDark() ? "light" : "dark";
  applyTheme(theme);
  try {
    localStorage.setItem(THEME, theme);
  } catch {
    // Then it holds for this page.
  }
}

// Ages are of the moment of reading: the pages themselves say the same whenever they are made.
function showAges() {
  const units = [["day", 86400], ["hour", 3600], ["minute", 60]];
  for (const age of document.querySelectorAll(".age")) {
    const time = age.parentElement.querySelector("time");
    const seconds = (Date.now() - Date.parse(time.dateTime)) / 1000;
    const [unit, length] = units.find(([, size]) => Math.abs(seconds) >= size) ?? ["minute", 60];
    const many = Math.floor(Math.abs(seconds) / length);
    const said = many === 0 ? "now" : `${many} ${unit}${many === 1 ? "" : "s"}`;
    age.textContent = many === 0 ? "· now" : seconds < 0 ? `· in ${said}` : `· ${said} ago`;
  }
}

async function copy(button) {
  const text = document.getElementById(button.dataset.copy).textContent;
  let done = false;
  try {
    await navigator.clipboard.writeText(text);
    done = true;
  } catch {
    // Over plain http there is no clipboard but the old one.
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    done = document.execCommand("copy");
    area.remove();
  }
  button.textContent = done ? "Copied" : "Copy by hand";
  setTimeout(() => { button.textContent = "Copy"; }, 1600);
}

// A card is found if every word is somewhere in it or in its fields; fields are listed that hold one.
function search(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  let cards = 0, fields = 0;
  for (const card of document.querySelectorAll(".card")) {
    const own = card.dataset.words;
    const missing = words.filter((word) => !own.includes(word));
    let hits = 0;
    for (const field of card.querySelectorAll(".hits > li")) {
      const said = field.dataset.words;
      const hit = words.length > 0 && words.some((word) => said.includes(word)) &&
        missing.every((word) => said.includes(word));
      field.hidden = !hit;
      if (hit) hits += 1;
    }
    const list = card.querySelector(".hits");
    if (list) list.hidden = hits === 0;
    card.hidden = missing.length > 0 && hits === 0;
    if (!card.hidden) cards += 1;
    fields += hits;
  }
  for (const group of document.querySelectorAll(".group")) {
    group.hidden = !group.querySelector(".card:not([hidden])");
  }
  const many = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;
  document.getElementById("found").textContent =
    words.length === 0 ? "" : cards === 0 ? "Nothing is called that." : `${many(cards, "card")}, ${many(fields, "field")}`;
}

function reach(svg, name, from, to) {
  const found = new Set();
  const ahead = [name];
  while (ahead.length) {
    const here = ahead.pop();
    for (const edge of svg.querySelectorAll(".edge")) {
      if (edge.dataset[from] === here && !found.has(edge)) {
        found.add(edge);
        ahead.push(edge.dataset[to]);
      }
    }
  }
  return found;
}

function followLineage(svg) {
  const light = (name) => {
    svg.classList.toggle("following", name !== null);
    const edges = name === null ? new Set() :
      new Set([...reach(svg, name, "from", "to"), ...reach(svg, name, "to", "from")]);
    const nodes = new Set([name]);
    for (const edge of svg.querySelectorAll(".edge")) {
      edge.classList.toggle("lit", edges.has(edge));
      if (edges.has(edge)) nodes.add(edge.dataset.from).add(edge.dataset.to);
    }
    for (const node of svg.querySelectorAll(".node")) {
      node.classList.toggle("lit", nodes.has(node.dataset.node));
    }
  };
  for (const node of svg.querySelectorAll(".node")) {
    const target = node.closest("a") ?? node;
    target.addEventListener("pointerenter", () => light(node.dataset.node));
    target.addEventListener("pointerleave", () => light(null));
    target.addEventListener("focus", () => light(node.dataset.node));
    target.addEventListener("blur", () => light(null));
  }
}

// On a small screen a drawing begins with the box that the page is about.
function showMarked(box) {
  const marked = box.querySelector(".marked");
  if (marked === null) return;
  const [inner, outer] = [marked.getBoundingClientRect(), box.getBoundingClientRect()];
  box.scrollLeft += inner.left - outer.left - (outer.width - inner.width) / 2;
}

document.addEventListener("DOMContentLoaded", () => {
  document.querySelector(".theme").addEventListener("click", toggleTheme);
  for (const button of document.querySelectorAll(".copy")) {
    button.addEventListener("click", () => copy(button));
  }
  for (const svg of document.querySelectorAll("svg.lineage")) followLineage(svg);
  for (const box of document.querySelectorAll(".scroll")) showMarked(box);
  const box = document.getElementById("search");
  if (box) {
    box.addEventListener("input", () => search(box.value));
    if (box.value) search(box.value); // kept by the browser over a reload
    document.addEventListener("keydown", (event) => {
      if (event.key === "/" && document.activeElement !== box) {
        event.preventDefault();
        box.focus();
      }
    });
  }
  showAges();
});
