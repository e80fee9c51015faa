"use strict";
// The little of Markdown that models write, as elements. Text only ever becomes text: nothing is parsed as HTML.

const make = (name, className, text) => {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
};

const markdown = {
  render(source) {
    const fragment = document.createDocumentFragment();
    const lines = source.replace(/\r\n?/g, "\n").split("\n");
    for (let at = 0; at < lines.length;) at = this.block(lines, at, fragment, 0);
    return fragment;
  },

  // Renders the block that starts at a line; returns the line behind it.
  block(lines, at, parent, depth) {
    const line = lines[at];
    if (!line.trim()) return at + 1;
    const fence = /^\s*(`{3,}|~{3,})\s*([\w+#.-]*)/.exec(line);
    if (fence) return this.code(lines, at, parent, fence);
    const heading = /^(#{1,6})\s+(.*?)\s*#*$/.exec(line);
    if (heading) {
      const element = make("h" + Math.min(5, heading[1].length + 2));
      this.inline(heading[2], element);
      parent.append(element);
      return at + 1;
    }
    if (/^\s*([-*_])(\s*\1){2,}\s*$/.test(line)) {
      parent.append(make("hr"));
      return at + 1;
    }
    if (/^\s*>/.test(line) && depth < 4) return this.quote(lines, at, parent, depth);
    if (this.item(line) && depth < 6) return this.list(lines, at, parent, depth);
    if (line.includes("|") && at + 1 < lines.length && /^\s*\|?\s*:?-{2,}[\s|:-]*$/.test(lines[at + 1]) && lines[at + 1].includes("|"))
      return this.table(lines, at, parent);
    return this.paragraph(lines, at, parent);
  },

  code(lines, at, parent, fence) {
    const body = [];
    let next = at + 1;
    while (next < lines.length && !lines[next].trim().startsWith(fence[1])) body.push(lines[next++]);
    const box = make("div", "code");
    const head = make("header");
    const copy = make("button", "", "Copy");
    copy.type = "button";
    copy.addEventListener("click", () => copyText(body.join("\n"), copy));
    head.append(make("span", "", fence[2] || "text"), copy);
    const pre = make("pre");
    pre.tabIndex = 0;
    pre.append(make("code", "", body.join("\n")));
    box.append(head, pre);
    parent.append(box);
    return next + 1;
  },

  quote(lines, at, parent, depth) {
    const inner = [];
    while (at < lines.length && /^\s*>/.test(lines[at])) inner.push(lines[at++].replace(/^\s*>\s?/, ""));
    const element = make("blockquote");
    for (let next = 0; next < inner.length;) next = this.block(inner, next, element, depth + 1);
    parent.append(element);
    return at;
  },

  item: (line) => /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/.exec(line),

  list(lines, at, parent, depth) {
    const first = this.item(lines[at]);
    const indent = first[1].length;
    const ordered = /\d/.test(first[2]);
    const list = make(ordered ? "ol" : "ul");
    if (ordered) list.start = parseInt(first[2], 10);
    while (at < lines.length) {
      const match = this.item(lines[at]);
      if (!match || match[1].length < indent || /\d/.test(match[2]) !== ordered) break;
      const item = make("li");
      this.inline(match[3], item);
      at += 1;
      // What is indented further belongs to the item.
      const inner = [];
      const width = match[1].length + 2;
      while (at < lines.length && (lines[at].search(/\S/) >= width || (!lines[at].trim() && lines[at + 1]?.search(/\S/) >= width)))
        inner.push(lines[at++].slice(width));
      for (let next = 0; next < inner.length;) next = this.block(inner, next, item, depth + 1);
      list.append(item);
      if (at + 1 < lines.length && !lines[at].trim() && this.item(lines[at + 1])) at += 1;
    }
    parent.append(list);
    return at;
  },

  table(lines, at, parent) {
    const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|");
    const table = make("table");
    const row = (line, name) => {
      const element = make("tr");
      for (const cell of cells(line)) {
        const box = make(name);
        this.inline(cell.trim(), box);
        element.append(box);
      }
      table.append(element);
    };
    row(lines[at], "th");
    at += 2;
    while (at < lines.length && lines[at].includes("|") && lines[at].trim()) row(lines[at++], "td");
    const wrap = make("div", "table");
    wrap.append(table);
    parent.append(wrap);
    return at;
  },

  paragraph(lines, at, parent) {
    const element = make("p");
    let isFirst = true;
    do {
      if (!isFirst) element.append(make("br"));
      this.inline(lines[at++].trim(), element);
      isFirst = false;
    } while (at < lines.length && lines[at].trim() && !/^(\s*(`{3,}|~{3,}|>)|#{1,6}\s)/.test(lines[at]) && !this.item(lines[at]));
    parent.append(element);
    return at;
  },

  inline(text, parent, depth = 0) {
    const pattern = /(`+)(.+?)\1|\*\*(.+?)\*\*|__(.+?)__|~~(.+?)~~|\*(\S(?:.*?\S)?)\*|\[([^\]]+)\]\(([^()\s]+)\)|\\([\\`*_~[\]()#>|-])/g;
    let last = 0;
    for (const match of depth < 6 ? text.matchAll(pattern) : []) {
      parent.append(text.slice(last, match.index));
      last = match.index + match[0].length;
      const [, ticks, code, strong, strong2, struck, emphasis, label, address, escaped] = match;
      if (ticks) parent.append(make("code", "", code.trim() || code));
      else if (escaped) parent.append(escaped);
      else if (label) parent.append(this.link(label, address));
      else {
        const element = make(strong || strong2 ? "strong" : struck ? "s" : "em");
        this.inline(strong ?? strong2 ?? struck ?? emphasis, element, depth + 1);
        parent.append(element);
      }
    }
    parent.append(text.slice(last));
  },

  // Only web and mail addresses become links; anything else stays as it was written.
  link(label, address) {
    if (!/^(https?:\/\/|mailto:)/i.test(address)) return document.createTextNode("[" + label + "](" + address + ")");
    const link = make("a", "", label);
    link.href = address;
    link.target = "_blank";
    link.rel = "noopener noreferrer";
    link.title = address;
    return link;
  },
};

const copyText = async (text, button) => {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Not allowed";
  }
  setTimeout(() => { button.textContent = before; }, 1400);
};
