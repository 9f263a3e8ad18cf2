/**
 * `<animochat-chat lobby="help"></animochat-chat>`: the chat of the server that this file comes from, on another page.
 *
 * The chat is a frame, so that neither page can touch the other one's content or data. The server's EMBED_ORIGINS says
 * which pages may have it. `lobby` may be left out; height and width are set as for any block.
 */

const SERVER = new URL("./", import.meta.url);

const sheet = new CSSStyleSheet();
sheet.replaceSync(`
  :host { display: block; height: 40rem; max-width: 100%; }
  :host([hidden]) { display: none; }
  iframe { display: block; width: 100%; height: 100%; border: 0; }
`);

class ChatElement extends HTMLElement {
  static observedAttributes = ["lobby"];
  #frame = document.createElement("iframe");

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [sheet];
    this.#frame.title = "Chat";
    root.append(this.#frame);
  }

  connectedCallback() {
    this.#load();
  }

  attributeChangedCallback() {
    if (this.isConnected) this.#load();
  }

  #load() {
    const address = new URL(SERVER);
    const lobby = this.getAttribute("lobby");
    if (lobby) address.searchParams.set("lobby", lobby);
    if (this.#frame.src !== address.href) this.#frame.src = address.href;
  }
}

if (!customElements.get("animochat-chat")) customElements.define("animochat-chat", ChatElement);
