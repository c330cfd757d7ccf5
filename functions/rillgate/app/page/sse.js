// Server-sent events from bytes, cut anywhere: in a line, in a line end, in a UTF-8 character.
// Source: WHATWG HTML, section 9.2 "Server-sent events", read 2026-11-21.

/** Characters of one event; a frame of the gateway has at most 8 MiB. */
const EVENT_CHARACTERS_MAX = 8 * 1024 * 1024;

/**
 * Turns chunks of bytes into events, in linear time.
 *
 * Shape: `data: {…}\n\n` → `[{ event: "message", data: "{…}", id: "" }]`; an incomplete event is kept for the next call.
 * Throws a RangeError for an event past its bound.
 */
export class EventReader {
  #decoder = new TextDecoder(); // drops one leading byte order mark
  #line = "";
  #afterReturn = false; // the last chunk ended with CR: an LF that follows belongs to it
  #data = [];
  #event = "";
  #id = "";
  #characters = 0;

  /** Events completed by `bytes` (a Uint8Array of any length). */
  feed(bytes) {
    return this.#read(this.#decoder.decode(bytes, { stream: true }));
  }

  /** Events still open at the end: some servers leave out the last blank line. */
  end() {
    const events = this.#read(this.#decoder.decode());
    this.#take(this.#line, events);
    this.#line = "";
    this.#take("", events);
    return events;
  }

  #read(text) {
    const events = [];
    if (!text) return events;
    let start = this.#afterReturn && text[0] === "\n" ? 1 : 0;
    this.#afterReturn = text.endsWith("\r");
    const lineEnd = /\r\n|\r|\n/g;
    lineEnd.lastIndex = start;
    for (let match = lineEnd.exec(text); match; match = lineEnd.exec(text)) {
      this.#take(this.#line + text.slice(start, match.index), events);
      this.#line = "";
      start = lineEnd.lastIndex;
    }
    this.#line += text.slice(start);
    if (this.#characters + this.#line.length > EVENT_CHARACTERS_MAX) {
      throw new RangeError(`an event has more than ${EVENT_CHARACTERS_MAX} characters`);
    }
    return events;
  }

  #take(line, events) {
    if (line === "") {
      if (this.#data.length) {
        events.push({ event: this.#event || "message", data: this.#data.join("\n"), id: this.#id });
      }
      this.#data = [];
      this.#event = "";
      this.#characters = 0;
      return;
    }
    this.#characters += line.length;
    const colon = line.indexOf(":");
    if (colon === 0) return; // a comment: the gateway's heartbeat
    const name = colon < 0 ? line : line.slice(0, colon);
    const skip = line[colon + 1] === " " ? 2 : 1; // one space after the colon is not part of the value
    const value = colon < 0 ? "" : line.slice(colon + skip);
    if (name === "data") this.#data.push(value);
    else if (name === "event") this.#event = value;
    else if (name === "id" && !value.includes("\0")) this.#id = value;
  }
}
