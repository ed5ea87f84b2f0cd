// The player of a backward pass. The table of steps in the element is its only data:
// a row tells the node (data-node), where gradients go (data-to), and what a leaf got.
{
// A site in another language knows what to say instead; a notebook says it in English.
const _ = (text) => (typeof Documentation === "undefined" ? text : Documentation.gettext(text));
customElements.get("gradbook-player") || customElements.define("gradbook-player",
class extends HTMLElement {
  connectedCallback() {
    if (this.rows) return;
    // The parser may call this before the children are there.
    if (this.querySelector("tbody tr")) this.build();
    else addEventListener("DOMContentLoaded", () => this.build(), { once: true });
  }

  disconnectedCallback() {
    this.pause();
  }

  build() {
    if (this.rows) return;
    this.rows = [...this.querySelectorAll("tbody tr")];
    this.at = 0; // steps done
    const make = (tag, values = {}, ...children) => {
      const made = Object.assign(document.createElement(tag), values);
      made.append(...children);
      return made;
    };
    const button = (sign, name, act) => {
      const made = make("button", { type: "button", textContent: sign, title: name });
      made.setAttribute("aria-label", name);
      // A disabled button would lose the focus of who steps by keyboard.
      made.onclick = () => made.getAttribute("aria-disabled") !== "true" && act();
      return made;
    };
    this.first = button("|◀", _("To the start"), () => this.go(0));
    this.back = button("◀", _("One step back"), () => this.go(this.at - 1));
    this.forward = button("▶", _("One step forward"), () => this.go(this.at + 1));
    this.last = button("▶|", _("To the end"), () => this.go(this.rows.length));
    this.toggle = button(_("Play"), _("Play"), () => (this.timer ? this.pause() : this.play()));
    this.speed = make("select", { title: _("Speed") });
    this.speed.setAttribute("aria-label", _("Speed"));
    for (const [name, wait] of [[_("slow"), 3000], [_("normal"), 1500], [_("fast"), 500]]) {
      this.speed.append(make("option", { value: wait, textContent: name, selected: wait === 1500 }));
    }
    this.speed.onchange = () => this.timer && this.play();
    this.count = make("span");
    const bar = make("div", { className: "gb-bar" },
      this.first, this.back, this.forward, this.last, this.toggle, this.speed, this.count);
    bar.setAttribute("role", "group");
    bar.setAttribute("aria-label", _("Backward pass, step by step; arrow keys work too"));
    this.panel = make("div", { className: "gb-panel" });
    this.panel.setAttribute("aria-live", "polite");
    this.leaves = make("ul", { className: "gb-leaves" });
    this.leaves.setAttribute("aria-label", _("Gradients of the leaves"));
    this.querySelector(".gb-side").replaceChildren(bar, this.panel, this.leaves);
    this.rows.forEach((row, index) => {
      for (const node of this.nodes(row)) {
        node.classList.add("gb-playable");
        node.onclick = () => this.go(index + 1);
        // On hover the node tells what it does with the gradient.
        const words = [...row.cells].slice(1).flatMap((cell) => [...cell.querySelectorAll("p, li")]);
        const lines = words.map((one) => one.textContent);
        node.querySelector("title").append(`\n${lines.join("\n")}`);
      }
    });
    this.onkeydown = (event) => {
      if (event.target === this.speed || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.target.closest(".gb-scroll, summary")) return;
      const to = { ArrowLeft: this.at - 1, ArrowRight: this.at + 1, Home: 0,
        End: this.rows.length }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      this.go(to);
    };
    this.show();
  }

  nodes(row) {
    return this.querySelectorAll(`.gb-stage [data-node="${row.dataset.node}"]`);
  }

  play() {
    clearInterval(this.timer);
    if (this.at === this.rows.length) this.at = 0;
    this.timer = setInterval(() => {
      this.move(this.at + 1);
      if (this.at === this.rows.length) this.pause();
    }, this.speed.value);
    this.show();
  }

  pause() {
    clearInterval(this.timer);
    this.timer = 0;
    if (this.toggle) this.show();
  }

  go(to) {
    clearInterval(this.timer);
    this.timer = 0;
    this.move(to);
  }

  move(to) {
    this.at = Math.max(0, Math.min(this.rows.length, to));
    this.show();
  }

  show() {
    const { at, rows } = this;
    const now = rows[at - 1];
    for (const [one, off] of [[this.first, !at], [this.back, !at],
      [this.forward, at === rows.length], [this.last, at === rows.length]]) {
      one.setAttribute("aria-disabled", off);
    }
    const label = this.timer ? _("Pause") : _("Play");
    this.toggle.textContent = this.toggle.title = label;
    this.toggle.setAttribute("aria-label", label);
    this.count.textContent = _("step {at} of {count}").replace("{at}", at).replace("{count}", rows.length);
    // The graph: what is done, what runs, where its gradients go.
    rows.forEach((row, index) => {
      for (const node of this.nodes(row)) {
        node.classList.toggle("gb-now", row === now);
        node.classList.toggle("gb-done", index < at - 1);
      }
    });
    for (const edge of this.querySelectorAll(".gb-stage path[data-src]")) {
      edge.classList.toggle("gb-flow", !!now && edge.dataset.src === now.dataset.node);
    }
    // The panel: the row of the table, as a text.
    this.panel.replaceChildren();
    if (now) {
      const title = document.createElement("p");
      const name = document.createElement("b");
      name.append(...[...now.cells[1].cloneNode(true).childNodes]);
      title.append(`${_("Step {at}").replace("{at}", at)}: `, name);
      this.panel.append(title, ...[...now.cells[2].cloneNode(true).childNodes]);
    } else {
      this.panel.textContent = _("Before backward. Step forward to see the first node run.");
    }
    // The leaves: their gradient after so many steps.
    this.leaves.replaceChildren(...rows.flatMap((row, index) => {
      if (row.dataset.leaf === undefined) return [];
      const item = document.createElement("li");
      const code = document.createElement("code");
      code.textContent = `${row.dataset.leaf}.grad = ${index < at ? row.dataset.grad : row.dataset.before}`;
      if (row === now) item.className = "gb-new";
      item.append(code);
      return [item];
    }));
  }
});
}
