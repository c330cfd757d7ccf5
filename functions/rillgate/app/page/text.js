// Text into DOM nodes as it arrives. Of Markdown it knows code fences and inline code; the rest stays as it was written.
// Nodes are only ever appended to, so that a selection made while the text streams survives.

const FENCE_OPENS = /^ {0,3}(`{3,})([^`\n]*)\n/;
const FENCE_MAY_OPEN = /^ {0,3}(`{0,2}|`{3,}[^`\n]*)$/;
const FENCE_CLOSES = /^ {0,3}(`{3,})[ \t]*(\n|$)/;
const FENCE_MAY_CLOSE = /^ {0,3}`*[ \t]*$/;

/** Writes into one element. `append` takes text cut anywhere; `end` writes what was still undecided. */
export class TextView {
  #root;
  #node; // the text node that grows
  #held = ""; // undecided: it may be, or become, a fence or a delimiter
  #atLineStart = true;
  #fence = ""; // the backticks that opened the block we are in
  #code = null; // the inline code that we are in
  #delimiter = ""; // the backticks that opened it

  constructor(root) {
    this.#root = root;
    this.#node = root.appendChild(document.createTextNode(""));
  }

  append(text) {
    this.#run(text, false);
  }

  end() {
    this.#run("", true);
    this.#undoCode();
  }

  #run(text, atEnd) {
    let rest = this.#held + text;
    while (rest) {
      const step = this.#fence ? this.#inFence(rest, atEnd) : this.#inProse(rest, atEnd);
      if (!step) break;
      rest = rest.slice(step);
    }
    this.#held = rest;
  }

  // Each of the following handles the beginning of `rest` and returns how many characters it used; 0 asks for more.

  #inProse(rest, atEnd) {
    if (this.#atLineStart) {
      const opens = FENCE_OPENS.exec(rest);
      if (opens) return this.#openFence(opens);
      if (!atEnd && FENCE_MAY_OPEN.test(rest)) return 0;
    }
    const [, plain, ticks, newline] = /^([^`\n]*)(`*)(\n?)/.exec(rest);
    if (plain || !ticks) {
      this.#node.appendData(plain);
      this.#atLineStart = false;
      if (!ticks && newline) return plain.length + this.#endLine();
      return plain.length;
    }
    if (!atEnd && ticks.length === rest.length) return 0; // the run of backticks may go on
    this.#takeTicks(ticks);
    this.#atLineStart = false;
    return ticks.length;
  }

  #endLine() {
    this.#undoCode(); // inline code does not cross lines
    this.#node.appendData("\n");
    this.#atLineStart = true;
    return 1;
  }

  #takeTicks(ticks) {
    if (!this.#code) {
      this.#code = this.#root.appendChild(document.createElement("code"));
      this.#node = this.#code.appendChild(document.createTextNode(""));
      this.#delimiter = ticks;
    } else if (ticks === this.#delimiter) {
      this.#code = null;
      this.#node = this.#root.appendChild(document.createTextNode(""));
    } else {
      this.#node.appendData(ticks);
    }
  }

  /** A backtick that nothing closed was just a backtick. */
  #undoCode() {
    if (!this.#code) return;
    this.#node = document.createTextNode(this.#delimiter + this.#code.textContent);
    this.#code.replaceWith(this.#node);
    this.#code = null;
  }

  #openFence([whole, ticks, info]) {
    const block = this.#root.appendChild(document.createElement("pre"));
    block.tabIndex = 0; // long lines scroll, by keyboard too
    const language = info.trim().split(/\s/)[0];
    if (language) block.dataset.language = language;
    const code = block.appendChild(document.createElement("code"));
    this.#node = code.appendChild(document.createTextNode(""));
    this.#fence = ticks;
    return whole.length;
  }

  #inFence(rest, atEnd) {
    if (this.#atLineStart) {
      const closes = FENCE_CLOSES.exec(rest);
      const whole = closes && (closes[2] || atEnd);
      if (whole && closes[1].length >= this.#fence.length) return this.#closeFence(closes[0]);
      if (!atEnd && FENCE_MAY_CLOSE.test(rest)) return 0;
    }
    const newline = rest.indexOf("\n");
    const used = newline < 0 ? rest.length : newline + 1;
    this.#node.appendData(rest.slice(0, used));
    this.#atLineStart = newline >= 0;
    return used;
  }

  #closeFence(whole) {
    this.#fence = "";
    this.#node = this.#root.appendChild(document.createTextNode(""));
    this.#atLineStart = true;
    return whole.length;
  }
}
