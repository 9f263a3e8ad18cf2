/**
 * Blocking and reporting: a dialog that says what will happen, the request, and what became of it.
 */
import { ask } from "./dialogs.js";

const $ = (id) => document.getElementById(id);

/**
 * Make the menu's two buttons work. `request(event, ...args)` asks the server; `over(reason)` is called when the room has
 * ended by it ("blocked" or "reported"), `failed(error)` when it has not.
 */
export function safety({ request, over, failed }) {
  const act = async (reason, ...asked) => {
    try {
      await request(...asked);
      over(reason);
    } catch (error) {
      failed(error);
    }
  };

  $("menu-block").addEventListener("click", async () => {
    if (await ask("block-dialog")) act("blocked", "block-partner");
  });
  $("menu-report").addEventListener("click", async () => {
    $("report-form").reset();
    await ask("report-dialog");
  });
  $("report-form").addEventListener("submit", (event) => {
    event.preventDefault(); // only once a reason was chosen: the browser sees to that
    const { reason, details } = Object.fromEntries(new FormData($("report-form")));
    $("report-dialog").close("sent");
    act("reported", "report-partner", details.trim() ? { reason, details: details.trim() } : { reason });
  });
}
