// Give names to the theme's two side bars, and let the keyboard scroll what overflows.
const scrollers = () => {
  for (const box of document.querySelectorAll("article pre, article .table-wrapper")) {
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
document.querySelector("aside.sidebar-drawer")?.setAttribute("aria-label", "Site");
document.querySelector("aside.toc-drawer")?.setAttribute("aria-label", "This page");
scrollers();
addEventListener("resize", scrollers);
