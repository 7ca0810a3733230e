// The package ws. Prints the negotiated extensions, then each message, one per line.
import WebSocket from "ws";

const [url, subscribe] = process.argv.slice(2);
const socket = new WebSocket(url);
socket.on("open", () => {
  console.log(socket.extensions);
  socket.send(subscribe);
});
socket.on("message", (data) => console.log(data.toString("utf8")));
