// Copies the program of an exercise: what it needs, a stub for the answer, and the check.
"use strict";

for (const button of document.querySelectorAll(".take-stub button")) {
  button.addEventListener("click", async () => {
    const bytes = Uint8Array.from(atob(button.dataset.program), (one) => one.charCodeAt(0));
    const told = button.parentElement.querySelector("output");
    try {
      await navigator.clipboard.writeText(new TextDecoder().decode(bytes));
      told.textContent = _("Copied: a program with a place for your answer.");
    } catch {
      told.textContent = _("The browser does not let this page copy.");
    }
  });
}
