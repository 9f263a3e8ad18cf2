// A chat in React: `useChat` of clients/js has the connection, the state and the messages.
import { useChat } from "animochat-client/react";
import { useState } from "react";
import { createRoot } from "react-dom/client";

function Chat({ url }) {
  const { phase, partner, messages, connection, chat } = useChat(url);
  const [draft, setDraft] = useState("");
  const send = (event) => {
    event.preventDefault();
    if (!draft.trim()) return;
    chat.send(draft);
    setDraft("");
  };
  if (connection === "closed") return <button type="button" onClick={() => chat.connect()}>Connect</button>;
  if (phase === "idle") return <button type="button" onClick={() => chat.find()}>Start chatting</button>;
  if (phase === "waiting") return <p>Looking for someone…</p>;
  return (
    <form onSubmit={send}>
      <ul>{messages.map(({ key, own, content, state }) => <li key={key} className={own ? "own" : "partner"} data-state={state}>{content}</li>)}</ul>
      <p>{partner.typing && "Typing…"} {partner.left && "Your partner has left."}</p>
      <input value={draft} disabled={phase === "ended"} aria-label="Message" onChange={({ target }) => { setDraft(target.value); chat.typing(target.value !== ""); }} />
      <button type="button" onClick={() => chat.next()}>Next</button>
    </form>
  );
}

const place = document.getElementById("chat");
createRoot(place).render(<Chat url={place.dataset.url} />);
