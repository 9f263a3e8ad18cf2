/**
 * Two short notes, made by the browser itself: there is no file to load.
 */
const NOTES = [660, 880]; // hertz
const NOTE_S = 0.12;
const VOLUME = 0.08;

let context = null;

/** Play them. Browsers that want a press on the page before any sound stay silent until there was one. */
export function chime() {
  try {
    context ??= new AudioContext();
    context.resume();
    NOTES.forEach((frequency, i) => {
      const start = context.currentTime + i * NOTE_S;
      const note = new OscillatorNode(context, { frequency, type: "sine" });
      const volume = new GainNode(context, { gain: 0 });
      volume.gain.setValueAtTime(0, start);
      volume.gain.linearRampToValueAtTime(VOLUME, start + 0.01); // no click at either end
      volume.gain.exponentialRampToValueAtTime(0.001, start + NOTE_S);
      note.connect(volume).connect(context.destination);
      note.start(start);
      note.stop(start + NOTE_S);
    });
  } catch {
    // No sound here.
  }
}
