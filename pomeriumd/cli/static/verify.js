// The live parts of `pomeriumd verify`: a clock, an echo, the hash of an upload.
"use strict";

const by = (id) => document.getElementById(id);

const clock = new EventSource("/clock");
clock.onmessage = (event) => { by("clock").textContent = event.data; };
clock.onerror = () => { by("clock").textContent = "interrupted"; };

let socket = null;

function open() {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  socket = new WebSocket(`${scheme}//${location.host}/echo`);
  socket.onopen = () => { by("echo-state").textContent = "open"; };
  socket.onclose = (event) => {
    by("echo-state").textContent = `closed (${event.code})`;
    socket = null;
  };
  socket.onmessage = (event) => {
    const item = document.createElement("li");
    item.textContent = event.data;
    by("echoed").append(item);
    while (by("echoed").children.length > 20) by("echoed").firstChild.remove();
  };
}

by("echo").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = by("say").value;
  if (socket === null) open();
  if (socket.readyState === WebSocket.OPEN) socket.send(text);
  else socket.addEventListener("open", () => socket.send(text));
});

by("file").addEventListener("change", async () => {
  const file = by("file").files[0];
  if (!file) return;
  by("hashed").textContent = "…";
  try {
    const answer = await fetch("/upload", { method: "PUT", body: file });
    const said = await answer.json();
    by("hashed").textContent = said.sha256 || said.error || `answered ${answer.status}`;
  } catch (error) {
    by("hashed").textContent = String(error);
  }
});

open();
