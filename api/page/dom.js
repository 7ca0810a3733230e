// Elements without markup: text from the server never becomes HTML.

/** An element. Attributes: `onclick` and the like are listeners, `style` an object of properties, `null` and `false`
 *  are left out, `true` is an empty attribute. Children: nodes, texts, arrays of them; `null` and `false` are left out. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [property, text] of Object.entries(value)) made.style.setProperty(property, text);
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  fill(made, children);
  return made;
}

/** Replace the content of an element. */
export function show(parent, ...children) {
  parent.replaceChildren();
  fill(parent, children);
}

function fill(parent, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) parent.append(child);
  }
}

/** Set a text only if it differs, so that no unchanged text causes a layout or an announcement. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export const byId = (id) => document.getElementById(id);

/** Run `work` once before the next frame, regardless of the number of calls. A hidden page has no frames, so it waits. */
export function oncePerFrame(work) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      work();
    });
  };
}
