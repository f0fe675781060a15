// Elements of the page, made anew for each change and put in only where they differ: what a mouse
// is about to press stays where it is.

/** An element; attributes that are undefined or false are left out. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== undefined));
  return made;
}

/** Makes `wanted` the children of `parent`. */
export function show(parent, wanted) {
  wanted.forEach((child, place) => {
    const there = parent.children[place];
    if (there?.isEqualNode(child)) return;
    if (there?.dataset.key === child.dataset.key) there?.replaceWith(child);
    if (child.parentNode !== parent) parent.insertBefore(child, there ?? null);
  });
  while (parent.children.length > wanted.length) parent.lastElementChild.remove();
}
