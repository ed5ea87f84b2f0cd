// The page for a wrong address looks for the words of the address. What it needs is fetched when
// there are any.
"use strict";

{
  const root = document.documentElement.dataset.content_root;
  const below = decodeURIComponent(location.pathname).replace(decodeURIComponent(root), "");
  // The last part of the address says most.
  const parts = below.replace(/\.html?$/, "").split("/").filter((part) => !/^(?:index|404|[\d\W]*)$/.test(part)).reverse();
  const script = (name) => new Promise((resolve, reject) => {
    const made = document.createElement("script");
    Object.assign(made, { src: `${root}_static/search/${name}`, onload: resolve, onerror: reject });
    document.head.append(made);
  });
  const show = async () => {
    const search = new SiteSearch(gradbookPlaces, { later: true });
    await search.ready;
    const texts = [parts[0], parts.join(" ")].map((text) => text.replace(/[\W_]+/g, " ").slice(0, 200));
    const all = [...texts.flatMap((text) => search.find(text, 4)), ...search.near(texts[0])];
    const found = [...new Map(all.map((place) => [place.address, place])).values()].slice(0, 5);
    const items = found.map((place) => {
      const item = document.createElement("li");
      const link = Object.assign(document.createElement("a"), { href: root + place.address, textContent: place.title });
      const where = Object.assign(document.createElement("span"), { className: "search-where", textContent: place.top });
      item.append(link, " ", where);
      return item;
    });
    const box = document.querySelector(".lost");
    box.querySelector("ol").replaceChildren(...items);
    box.hidden = !items.length;
  };
  if (parts.length) Promise.all(["minisearch.js", "places.js", "search.js"].map(script)).then(show);
}
