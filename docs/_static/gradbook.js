// The keyboard scrolls what overflows.
const scrollers = () => {
  const boxes = "article pre, article .table-wrapper, article div.math";
  for (const box of document.querySelectorAll(boxes)) {
    const overflows = box.scrollWidth > box.clientWidth;
    if (overflows && !box.hasAttribute("tabindex")) {
      box.tabIndex = 0;
      box.setAttribute("role", "group");
      box.setAttribute("aria-label", "scrolls sideways");
    } else if (!overflows && box.getAttribute("aria-label") === "scrolls sideways") {
      for (const name of ["tabindex", "role", "aria-label"]) box.removeAttribute(name);
    }
  }
};
scrollers();
addEventListener("resize", scrollers);
addEventListener("toggle", scrollers, true); // what was folded has no width

// The focus goes into a drawer that opens; Escape closes it and brings the focus back.
for (const [box, drawer] of [["__navigation", ".sidebar-drawer"], ["__toc", ".toc-drawer"]]) {
  const toggle = document.getElementById(box);
  const panel = document.querySelector(drawer);
  toggle?.addEventListener("change", () => {
    if (toggle.checked) panel.querySelector("a, input")?.focus();
  });
  panel?.addEventListener("keydown", event => {
    if (event.key !== "Escape" || !toggle.checked) return;
    toggle.checked = false;
    toggle.focus();
  });
}
