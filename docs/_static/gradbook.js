// `_` is Sphinx's own; it gives the text in the language of the site.
const sideways = _("scrolls sideways");

// The keyboard scrolls what overflows. First all is measured, then all is changed: in turns, each
// measure would lay the page out anew. A long page is done part by part, and reacts in between.
const AT_ONCE = 40;
const scrollers = (from = 0) => {
  const all = document.querySelectorAll("article pre, article .table-wrapper, article div.math, article .text_html");
  const boxes = [...all].slice(from, from + AT_ONCE);
  const overflows = boxes.map(box => box.scrollWidth > box.clientWidth);
  boxes.forEach((box, number) => {
    if (overflows[number] && !box.hasAttribute("tabindex")) {
      box.tabIndex = 0;
      box.setAttribute("role", "group");
      box.setAttribute("aria-label", sideways);
    } else if (!overflows[number] && box.getAttribute("aria-label") === sideways) {
      for (const name of ["tabindex", "role", "aria-label"]) box.removeAttribute(name);
    }
  });
  if (from + AT_ONCE < all.length) setTimeout(scrollers, 0, from + AT_ONCE);
};
scrollers();
addEventListener("resize", () => scrollers());
addEventListener("toggle", () => scrollers(), true); // what was folded has no width

// What a cell asserts is unfolded by its mark. All marks of a page are one stop of the keyboard;
// the arrows go from one to the next.
const marks = [...document.querySelectorAll("button.checked")];
const stopAt = at => marks.forEach((mark, number) => { mark.tabIndex = number === at ? 0 : -1; });
stopAt(0);
marks.forEach((mark, at) => {
  mark.addEventListener("focus", () => stopAt(at));
  mark.addEventListener("click", () => {
    const shown = mark.parentElement.querySelector(".checks").classList.toggle("shown");
    mark.setAttribute("aria-expanded", shown);
    scrollers();
  });
  mark.addEventListener("keydown", event => {
    const to = marks[at + ({ ArrowDown: 1, ArrowUp: -1 }[event.key] ?? NaN)];
    if (!to) return;
    event.preventDefault();
    to.focus();
  });
});

// The menu of a cell can copy it, too: one stop of the keyboard for both. When all is loaded, both
// are there.
addEventListener("load", () => {
  for (const button of document.querySelectorAll("div.cell_input:has(button.copymenu) button.copybtn")) button.tabIndex = -1;
});

// The labels that open the theme's drawers become buttons, which the keyboard reaches. The focus
// goes into a drawer that opens; Escape closes it and brings the focus back.
for (const [box, drawer] of [["__navigation", ".sidebar-drawer"], ["__toc", ".toc-drawer"]]) {
  const toggle = document.getElementById(box);
  const panel = document.querySelector(drawer);
  const buttons = [];
  let opener = null;
  const tell = () => {
    for (const button of buttons) button.setAttribute("aria-expanded", toggle.checked);
  };
  for (const label of document.querySelectorAll(`.page label[for=${box}]`)) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = label.className;
    button.setAttribute("aria-label", toggle.getAttribute("aria-label"));
    button.append(...label.childNodes);
    button.addEventListener("click", () => {
      opener = button;
      toggle.click();
    });
    label.replaceWith(button);
    buttons.push(button);
  }
  tell();
  toggle.addEventListener("change", () => {
    tell();
    if (toggle.checked) panel.querySelector("a, input")?.focus();
  });
  panel.addEventListener("keydown", event => {
    if (event.key !== "Escape" || !toggle.checked) return;
    toggle.checked = false;
    tell();
    opener?.focus();
  });
}

// An entry of the Clinic once stood on the page of its group: an old address leads on.
const leadOn = () => {
  const named = document.getElementById(location.hash.slice(1));
  const link = named?.closest(".clinic-entries > li")?.querySelector("a");
  if (link) location.replace(link.href);
};
leadOn();
addEventListener("hashchange", leadOn);

// Stations on a way: one stands out, the others step back. After the last comes the first: a loop.
for (const picture of document.querySelectorAll(".picture.steps")) {
  const panels = [...picture.querySelectorAll("svg")];
  const bar = document.createElement("div");
  const told = document.createElement("output");
  bar.className = "picture-bar";
  let at = -1;
  const go = to => {
    at = (to + panels.length) % panels.length;
    panels.forEach((panel, number) => panel.classList.toggle("away", number !== at));
    const step = _("step {at} of {count}").replace("{at}", at + 1).replace("{count}", panels.length);
    told.textContent = `${step}: ${panels[at].querySelector(".b").textContent}`;
  };
  const back = () => go(Math.max(at, 0) - 1);
  const ways = [["←", _("Previous step"), back], ["→", _("Next step"), () => go(at + 1)]];
  for (const [sign, name, way] of ways) {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", textContent: sign, onclick: way });
    button.setAttribute("aria-label", name);
    bar.append(button);
  }
  bar.append(told);
  bar.addEventListener("keydown", event => {
    const way = { ArrowLeft: back, ArrowRight: () => go(at + 1) }[event.key];
    if (way) {
      event.preventDefault();
      way();
    }
  });
  panels.forEach((panel, number) => panel.addEventListener("click", () => go(number)));
  picture.append(bar);
}

// One search box, opened by / or Ctrl-K wherever one is; what it needs is fetched then.
let palette;
const openPalette = () => {
  palette ??= new Promise((resolve, reject) => {
    const root = document.documentElement.dataset.content_root ?? "./";
    const script = document.createElement("script");
    Object.assign(script, { src: `${root}_static/palette.js`, onload: resolve, onerror: reject });
    document.head.append(script);
  });
  palette.then(() => gradbookPalette.open());
};
addEventListener("keydown", event => {
  const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
  const slash = event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey;
  const letter = event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey) && !event.altKey;
  if (!slash && !letter) return;
  event.preventDefault();
  event.stopImmediatePropagation(); // Sphinx goes to the field of the side bar
  openPalette();
}, true);
for (const button of document.querySelectorAll("[data-palette]")) button.addEventListener("click", openPalette);

// The other language shows the section that the reader has gone to, or what was searched.
for (const link of document.querySelectorAll(".switch-language")) {
  link.addEventListener("click", () => Object.assign(link, { search: location.search, hash: location.hash }));
}
