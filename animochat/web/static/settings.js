/**
 * The settings: language, look, sound and notification. Each holds as soon as it is chosen.
 */
import { ask } from "./dialogs.js";
import { chime } from "./sound.js";
import { keep, recall } from "./storage.js";
import { speak, write } from "./words.js";

const $ = (id) => document.getElementById(id);

/** Make `buttons` open the settings. `failed()` is called when a language could not be loaded. */
export function settings(buttons, { failed }) {
  for (const button of buttons) button.addEventListener("click", open);

  $("language").addEventListener("change", async () => {
    try {
      await speak($("language").value);
    } catch {
      $("language").value = document.documentElement.lang;
      failed();
    }
  });
  look("theme", "theme", "system");
  look("text-size", "textSize", "normal");
  $("sound").addEventListener("change", () => {
    keep("sound", $("sound").checked);
    if ($("sound").checked) chime(); // so that one knows what to listen for
  });
  $("notify").addEventListener("change", async () => {
    const wanted = $("notify").checked;
    const allowed = wanted && (await Notification.requestPermission()) === "granted";
    keep("notify", allowed);
    $("notify").checked = allowed;
    $("notify-note").hidden = !wanted || allowed;
    if (wanted && !allowed) write($("notify-note"), "settings.denied");
  });
}

/** A choice that boot.js carries out, on each visit before anything is painted. */
function look(id, name, usual) {
  $(id).addEventListener("change", () => {
    keep(name, $(id).value === usual ? null : $(id).value);
    document.dispatchEvent(new Event("look"));
  });
}

function open() {
  $("theme").value = recall("theme", "system");
  $("text-size").value = recall("textSize", "normal");
  $("language").value = document.documentElement.lang;
  $("sound").checked = recall("sound", false);
  const able = "Notification" in window;
  $("notify").checked = able && recall("notify", false) && Notification.permission === "granted";
  $("notify").disabled = !able;
  $("notify-note").hidden = able;
  if (!able) write($("notify-note"), "settings.unsupported");
  ask("settings-dialog");
}
