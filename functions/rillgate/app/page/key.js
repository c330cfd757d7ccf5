// The form that asks for a key. What is typed here goes to `onKey`, and is kept nowhere else.

/** Error code → what the form says first. The gateway's own sentence follows. */
const TITLES = {
  missing_api_key: "This gateway asks for a key.",
  invalid_api_key: "That key is not right.",
  key_expired: "The key has expired.",
  key_revoked: "The key was revoked.",
  invalid_ticket: "That ticket is not right.",
  ticket_expired: "The ticket has expired.",
};
const MISSING = "Paste the one that you were given: it begins with rill_.";
/** Keys and tickets; whatever else was pasted, a provider's key perhaps, is not sent anywhere. */
const LOOKS_LIKE_OURS = /^rillt?_[\w.-]+$/;

export class KeyForm {
  #form = document.getElementById("key-form");
  #field = document.getElementById("key");

  /** Hands every key that was entered to `onKey`; the page then says `ask` again, or `accept`. */
  constructor(onKey) {
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      const key = this.#field.value.trim();
      if (LOOKS_LIKE_OURS.test(key)) onKey(key);
      else this.#refuse("That is no key of this gateway.", "Its keys begin with rill_.");
    });
  }

  get shown() {
    return !this.#form.hidden;
  }

  /** Show the form and say why, in the words of `failure`. */
  ask({ code, message }) {
    this.#form.hidden = false;
    if (code === "missing_api_key") this.#say(TITLES[code], MISSING, false);
    else this.#refuse(TITLES[code] ?? "The gateway did not take the key.", message);
  }

  focus() {
    this.#field.focus();
    this.#field.select();
  }

  /** The key was right: forget what was typed, and go. Returns whether the focus was here and is needed elsewhere. */
  accept() {
    const hadFocus = this.#form.contains(document.activeElement);
    this.#field.value = "";
    this.#form.hidden = true;
    return hadFocus;
  }

  #refuse(title, text) {
    this.#say(title, text, true);
    if (this.#form.contains(document.activeElement)) this.focus(); // to type or paste over what was wrong
  }

  #say(title, text, wrong) {
    document.getElementById("key-title").textContent = title;
    document.getElementById("key-text").textContent = text;
    this.#form.classList.toggle("wrong", wrong);
    this.#field.setAttribute("aria-invalid", String(wrong));
  }
}
