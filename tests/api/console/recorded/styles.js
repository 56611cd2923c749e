// A line for each element, with what it owes to the style: what it has not from its parent, nor without any style.
() => {
  const FROM_PARENT = ["color", "text-align", "white-space", "overflow-wrap", "font-weight", "fill", "stroke", "print-color-adjust"];
  const OWN = [
    "display", "background-color", "position", "overflow-x", "border-bottom-style", "border-bottom-color",
    "border-left-style", "border-left-color", "grid-column-start", "flex-wrap", "order", "justify-content", "text-decoration-line",
    "clip-path", "break-inside",
  ];
  const bare = document.body.appendChild(document.createElement("iframe")).contentDocument;
  const without = (element) => getComputedStyle(bare.body.appendChild(bare.importNode(element.cloneNode(false))));
  const named = (element) => element.localName + [...element.classList].map((name) => `.${name}`).join("");
  return [...document.querySelectorAll("body > :not(iframe, style), body > :not(iframe, style) *")].map((element) => {
    const style = getComputedStyle(element), parent = getComputedStyle(element.parentElement), plain = without(element);
    const isSeen = (name) => !name.startsWith("border") || style[name.replace("color", "style")] !== "none";
    const names = [
      ...FROM_PARENT.filter((name) => style[name] !== parent[name]),
      ...OWN.filter((name) => style[name] !== plain[name] && isSeen(name)),
    ];
    const text = names.map((name) => `${name}: ${style[name]}`).join("; ");
    return `${named(element.parentElement)} > ${named(element)} {${text && ` ${text} `}}`;
  });
}
