// One search box on every page, opened by / or Ctrl-K: a word, a name, a message, a whole traceback.
// What it needs is fetched when it is first opened.
"use strict";

const gradbookPalette = (() => {
  const root = document.documentElement.dataset.content_root ?? "./";
  const KINDS = [
    ["learn/", _("Learn")], ["clinic/", _("Clinic")], ["howto/", _("How-to")], ["deeper/", _("Deeper")],
    ["reference/api", _("API")], ["reference/", _("Reference")],
  ];
  const kindOf = (address) => KINDS.find(([start]) => address.startsWith(start))?.[1] ?? _("About");
  const script = (name) => new Promise((resolve, reject) => {
    const made = Object.assign(document.createElement("script"), { src: `${root}_static/${name}`, onload: resolve, onerror: reject });
    document.head.append(made);
  });
  const load = async () => {
    const missing = [];
    if (typeof MiniSearch === "undefined") missing.push("search/minisearch.js");
    if (typeof gradbookPlaces === "undefined") missing.push("search/places.js");
    if (typeof SiteSearch === "undefined") missing.push("search/search.js");
    if (typeof ClinicSearch === "undefined") missing.push("clinic-search.js");
    await Promise.all(missing.map(script));
    const site = new SiteSearch(gradbookPlaces, { later: true });
    await site.ready;
    return [site, await clinicAnswers.search()];
  };

  const make = (tag, values = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), values);
    made.append(...children);
    return made;
  };
  const field = make("textarea", { rows: 1, spellcheck: false, autocomplete: "off", className: "palette-field" });
  field.setAttribute("aria-label", _("A word, a name, a message or a whole traceback"));
  field.placeholder = _("A word, a name, a message or a whole traceback");
  const filters = make("div", { className: "palette-filters" });
  filters.setAttribute("role", "group");
  filters.setAttribute("aria-label", _("Show only"));
  const status = make("p", { className: "palette-status" });
  status.setAttribute("role", "status");
  const list = make("ol", { className: "palette-results" });
  const close = make("button", { type: "button", className: "palette-close", textContent: "✕" });
  close.setAttribute("aria-label", _("Close"));
  const box = make("dialog", { className: "palette" }, field, close, filters, status, list);
  box.setAttribute("aria-label", _("Search"));
  document.body.append(box);
  close.addEventListener("click", () => box.close());
  box.addEventListener("click", (event) => { if (event.target === box) box.close(); });

  let tools = null, only = null, shown = [];
  const badge = (address) => make("span", { className: "palette-kind", textContent: kindOf(address) });
  const item = (place) => {
    const link = make("a", { href: root + place.address }, place.kind === "name" ? make("code", {}, place.title) : place.title);
    const excerpt = SiteSearch.excerpt(place.text, place.terms, 110).map(([text, found]) => (found ? make("mark", {}, text) : text));
    return make("li", {}, badge(place.address), link, make("p", {}, ...excerpt));
  };
  const draw = () => {
    const kinds = [...new Set(shown.map(([kind]) => kind))];
    filters.replaceChildren(...(kinds.length > 1 ? kinds : []).map((kind) => {
      const button = make("button", { type: "button", textContent: kind });
      button.setAttribute("aria-pressed", kind === only);
      button.addEventListener("click", () => { only = only === kind ? null : kind; draw(); });
      return button;
    }));
    list.replaceChildren(...shown.filter(([kind]) => only === null || kind === only).map(([, element]) => element));
  };
  const show = () => {
    const text = field.value.trim();
    field.rows = Math.min(6, Math.max(1, field.value.split("\n").length));
    if (!tools || !text) {
      shown = [];
      status.textContent = text ? _("Loading") : "";
      return draw();
    }
    const [site, clinic] = tools;
    const message = text.includes("\n") || /\b\w+(?:Error|Exception|Warning)\b/.test(text) ? clinic.find(text) : [];
    const answers = message.map((one) => {
      const entry = clinicAnswers.answer(clinic, one, text);
      entry.prepend(badge("clinic/"));
      return [kindOf("clinic/"), entry];
    });
    const ids = new Set(message.map(({ entry }) => entry.path));
    const places = text.length < 400 ? site.find(text, 24).filter(({ address }) => !ids.has(address)) : [];
    shown = [...answers, ...places.map((place) => [kindOf(place.address), item(place)])];
    const known = shown.length || clinic.nearest(text, 1).length;
    if (!shown.length) {
      const offered = (link) => [kindOf("clinic/"), make("li", {}, badge("clinic/"), link)];
      shown = clinicAnswers.near(clinic, text, 4).map((entry) => offered(clinicAnswers.link(entry)));
      shown.push(offered(clinicAnswers.tree()));
    }
    if (only !== null && !shown.some(([kind]) => kind === only)) only = null;
    status.replaceChildren(...(message.length ? clinicAnswers.place(text) : []),
      known ? "" : _("Nothing found with these words. Most asked:"));
    draw();
  };
  let timer;
  field.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(show, 80); });
  const links = () => [...list.querySelectorAll("a")];
  box.addEventListener("keydown", (event) => {
    const all = links(), at = all.indexOf(document.activeElement);
    if (event.key === "Escape") {
      box.close();
    } else if (event.key === "Enter" && event.target === field && !event.shiftKey) {
      event.preventDefault();
      all[0]?.click();
    } else if (event.key === "ArrowDown" && all.length && (event.target !== field || !field.value.includes("\n"))) {
      event.preventDefault();
      all[Math.min(at + 1, all.length - 1)].focus();
    } else if (event.key === "ArrowUp" && at >= 0) {
      event.preventDefault();
      (at ? all[at - 1] : field).focus();
    }
  });
  // A link to a place on this page leads away from the box, too.
  list.addEventListener("click", (event) => { if (event.target.closest("a")) box.close(); });

  return {
    open() {
      if (!box.open) box.showModal();
      field.focus();
      field.select();
      load().then((loaded) => { tools ??= loaded; show(); });
    },
  };
})();
