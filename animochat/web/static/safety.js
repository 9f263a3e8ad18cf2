/**
 * Blocking and reporting: a dialog that explains it, the request, and its outcome.
 *
 * Both are about one room: the present one, or the last one that ended, for as long as the server takes a report on it
 * (`limits.reportAfterMs`). So someone who abuses and leaves can still be reported, and an open report outlives its chat.
 */
import { ask, dismissDialogs } from "./dialogs.js";
import { explain, write } from "./words.js";

const $ = (id) => document.getElementById(id);

export class Safety {
  #request;
  #done;
  #failed;
  #room = null; // {roomId, over, blocked}
  #afterMs = 0;
  #withMessages = true;
  #late = 0; // the timer that ends the time for a report

  /**
   * `request(event, ...args)` asks the server. `done(reason, roomId)` is called when it has done so ("blocked" or
   * "reported"), `failed(error)` when someone could not be blocked.
   */
  constructor({ request, done, failed }) {
    this.#request = request;
    this.#done = done;
    this.#failed = failed;
    for (const button of document.querySelectorAll("[data-safety]")) {
      const reports = button.dataset.safety === "report";
      button.addEventListener("click", () => (reports ? this.#report() : this.#block()));
    }
    $("report-form").addEventListener("submit", (event) => {
      event.preventDefault(); // only once a reason was chosen: the browser sees to that
      this.#send();
    });
    this.#show();
  }

  /** `session.limits` and, where there is one, `session.lastRoom`. */
  session({ reportAfterMs = 0, reportsIncludeMessages = true } = {}, lastRoom = null) {
    this.#afterMs = reportAfterMs;
    this.#withMessages = reportsIncludeMessages;
    if (lastRoom && (!this.#room || this.#room.over)) {
      if (this.#room?.roomId !== lastRoom.roomId) this.#room = { roomId: lastRoom.roomId };
      this.ended();
    }
  }

  /** There is a chat. */
  entered(roomId) {
    clearTimeout(this.#late);
    if (this.#room?.roomId !== roomId) this.#forget();
    this.#room = { ...this.#room, roomId, over: false };
    this.#show();
  }

  /** The chat is over, for any reason. */
  ended() {
    if (!this.#room) return;
    this.#room.over = true;
    clearTimeout(this.#late);
    if (this.#afterMs > 0 && !this.#room.reported) this.#late = setTimeout(() => this.#forget(), this.#afterMs);
    else this.#forget();
    this.#show();
  }

  #forget() {
    this.#room = null;
    dismissDialogs("block-dialog", "report-dialog"); // they were about that room
    this.#show();
  }

  #show() {
    const { over = false, blocked = false } = this.#room ?? {};
    for (const button of document.querySelectorAll("[data-safety]")) {
      button.hidden = !this.#room || (blocked && button.dataset.safety === "block");
    }
    $("last").hidden = !over;
    write($("block-text"), over ? "block.over" : "block.text");
    write($("report-evidence"), this.#withMessages ? "report.evidence" : "report.noEvidence");
    write($("report-ends"), over ? "report.over" : "report.ends");
  }

  async #block() {
    const room = this.#room;
    if (!(await ask("block-dialog"))) return;
    try {
      await this.#request("block-partner", ...(this.#afterMs ? [{ roomId: room.roomId }] : []));
      room.blocked = true;
      this.#show();
      this.#done("blocked", room.roomId);
    } catch (error) {
      this.#failed(error);
    }
  }

  async #report() {
    $("report-form").reset();
    $("report-note").hidden = true;
    await ask("report-dialog");
  }

  /** The dialog stays, with its text, until the server has the report. */
  async #send() {
    const room = this.#room;
    if (!room || $("report-send").ariaDisabled === "true") return;
    const { reason, details } = Object.fromEntries(new FormData($("report-form")));
    const report = { reason };
    if (details.trim()) report.details = details.trim();
    if (this.#afterMs) report.roomId = room.roomId;
    $("report-send").ariaDisabled = "true";
    try {
      await this.#request("report-partner", report);
      room.reported = true;
      $("report-dialog").close("sent");
      this.#done("reported", room.roomId);
      if (room === this.#room) this.ended();
    } catch (error) {
      const [key, values] = explain(error);
      write($("report-note"), key, values);
      $("report-note").hidden = false;
    } finally {
      $("report-send").ariaDisabled = "false";
    }
  }
}
