/**
 * The page's wiring: the functions of buttons, keys and dialogs.
 */
import { onBack } from "./back.js";
import * as chat from "./chat.js";
import { ask, dialogIsOpen } from "./dialogs.js";
import { warnOfLinks } from "./links.js";
import { menu } from "./menu.js";
import { settings } from "./settings.js";
import { ignoreHeldKeys, onEscapeTwice, pressTwice } from "./shortcut.js";
import { keep, recall } from "./storage.js";
import { save } from "./transcript.js";
import { followVisibleArea } from "./viewport.js";
import { say } from "./words.js";

const ESCAPE_HINT_MS = 1_000;

const $ = (id) => document.getElementById(id);

/** From the start screen; the first time, the safety note comes before. */
async function start() {
  if (!chat.interests.commit()) return; // it says why
  if (!recall("welcomed", false)) {
    if (!(await ask("welcome-dialog"))) return;
    keep("welcomed", true);
  }
  chat.search();
}

const pressed = {
  "start-button": start,
  "waiting-stop": chat.stop,
  "waiting-anyone": chat.matchAnyone,
  invite: chat.invite,
  stop: chat.leave,
  "ended-stop": chat.toStart,
  "ended-next": chat.search,
  "take-over": chat.takeOver,
  "menu-save": () => save(chat.conversation.items),
};
for (const [id, action] of Object.entries(pressed)) $(id).addEventListener("click", () => action());

menu($("more"), $("menu"));
settings([$("settings-button"), $("menu-settings")], { failed: () => chat.view.notice("error.other") });
warnOfLinks($("messages"));

const { view } = chat;
pressTwice($("forget"), $("forget-label"), {
  usual: "settings.forget",
  asking: "settings.forgetSure",
  once: () => view.announce(say("settings.forgetSure")),
  twice: chat.forgetMe,
});
onBack(() => {
  if (!chat.isChatting()) {
    if (view.screen === "chat") chat.toStart(); // the conversation of a chat that is over
    return false;
  }
  ask("leave-dialog").then((answer) => answer && chat.isChatting() && chat.leave());
  return true;
});
const keepPartner = pressTwice($("next"), $("next-label"), {
  usual: "next",
  asking: "next.sure",
  once: () => view.announce(say("next.again")),
  twice: chat.next,
});
chat.onLeft(keepPartner);
onEscapeTwice({
  armed: () => view.screen === "chat" && !dialogIsOpen(),
  once: () => view.toast("next.escape", ESCAPE_HINT_MS),
  over: () => view.hideToast(),
  twice: chat.next,
});
ignoreHeldKeys();
followVisibleArea();
chat.begin();

// Everything is in place. A press that came before is made up for now (boot.js).
const startButton = $("start-button");
startButton.removeAttribute("aria-disabled");
$("start-loading").hidden = true;
if ("pressed" in startButton.dataset && view.screen === "start") start();
