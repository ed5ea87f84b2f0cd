// A drawing by module: a click or a key puts the inside of a module in the place of the whole.
customElements.get("gradbook-modules") || customElements.define("gradbook-modules",
class extends HTMLElement {
  connectedCallback() {
    if (this.view) return;
    if (this.querySelector("script")) this.build();
    else addEventListener("DOMContentLoaded", () => this.build(), { once: true });
  }

  build() {
    if (this.view) return;
    this.view = this.querySelector(".gb-whole-view");
    const list = this.querySelector(".gb-insides");
    const insides = list ? [...list.querySelectorAll("details[data-module]")] : [];
    this.svgs = new Map(insides.map((one) => [one.dataset.module, one.querySelector("svg")]));
    this.svgs.set(null, this.view.querySelector("svg"));
    list?.remove();
    this.dataset.lmSuppressShortcuts = true;
    this.classList.add("gb-live");
    // A page may have several drawings, and landmarks of one name would not be told apart.
    this.trail = make("div", { className: "gb-trail", role: "group", "aria-label": _("Modules") });
    const zoom = (text, name, by) => make("button", { type: "button", title: name, "aria-label": name,
      onclick: () => this.zoom(by) }, text);
    this.view.before(make("div", { className: "gb-bar" }, this.trail,
      zoom("−", _("Smaller"), 0.8), zoom("+", _("Larger"), 1.25)));
    for (const svg of this.svgs.values()) {
      svg.setAttribute("role", "group");
      for (const box of svg.querySelectorAll(".gb-node[data-module]")) {
        const path = box.dataset.module;
        if (!this.svgs.has(path)) continue;
        box.setAttribute("tabindex", 0);
        box.setAttribute("role", "button");
        box.setAttribute("aria-label", fill(_("open {name}"), { name: box.querySelector("title").textContent }));
        box.onclick = () => this.open([...this.path, path]);
      }
    }
    this.onkeydown = (event) => {
      const path = event.target.dataset?.module;
      if ((event.key === "Enter" || event.key === " ") && path !== undefined && event.target.closest("svg")) {
        event.target.onclick();
      } else if (event.key === "Escape" && this.path.length > 1) this.open(this.path.slice(0, -1));
      else if (event.key === "+") this.zoom(1.25);
      else if (event.key === "-") this.zoom(0.8);
      else return;
      event.preventDefault();
    };
    this.open([null], false);
  }

  open(path, focus = true) {
    const from = this.path?.at(-1);
    this.path = path;
    const svg = this.svgs.get(path.at(-1));
    this.view.replaceChildren(svg);
    this.trail.replaceChildren(...path.map((one, at) => {
      const name = one === null ? _("the whole") : one || _("the model");
      const made = make("button", { type: "button", onclick: () => this.open(path.slice(0, at + 1)) }, name);
      if (at === path.length - 1) made.setAttribute("aria-current", "true");
      return made;
    }));
    this.zoom(0);
    if (!focus) return;
    const box = [...svg.querySelectorAll("[data-module][tabindex]")].find((one) => one.dataset.module === from);
    (box ?? this.trail.lastChild).focus({ preventScroll: !box });
  }

  // It fits the width, until somebody wants it larger.
  zoom(by) {
    const svg = this.view.firstElementChild, wide = svg.getAttribute("width");
    const most = this.view.clientWidth;
    const now = parseFloat(svg.style.width) || Math.min(wide, most);
    const next = Math.min(Math.max(now * by, Math.min(wide, most)), 3 * wide);
    svg.style.width = by && next > Math.min(wide, most) ? `${next}px` : "";
    svg.style.maxWidth = svg.style.width ? "none" : "100%";
  }
});
